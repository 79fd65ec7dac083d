// Masters and slaves end and come back. Tunnels outlive the master, and end with their slave; the view is right again
// within one reconnect. Twenty of the hundred tunnels are held by `ssh`, eighty by ssh2's client in this process.

import { beforeAll, describe, expect, test } from 'vitest'

import {
  callApi,
  connectClient,
  eventually,
  holdTunnel,
  makeFolder,
  makeKey,
  makeManyKeys,
  openDevice,
  openVisit,
  startCluster,
  startEcho,
  startSlave,
  visit,
  type Cluster,
  type Device,
  type HeldTunnel,
  type Key,
  type Slave,
} from '../kit/index.ts'

const BY_SSH = 20
const ALL = 100

function slaveOf(cluster: Cluster, n = 0): Slave {
  const slave = cluster.slaves[n]
  if (slave === undefined) throw new Error(`no slave ${n}`)
  return slave
}

/** What a tunnel is, beside when its slave was seen: a restart of the master may change nothing of it. */
async function view(cluster: Cluster) {
  const tunnels = await cluster.tunnels()
  return tunnels
    .map(({ device, slave, epoch, connectedAt, forwards, fingerprint }) => ({
      device,
      slave,
      epoch,
      connectedAt,
      forwards,
      fingerprint,
    }))
    .sort((a, b) => a.device.localeCompare(b.device))
}

const listed = (cluster: Cluster, count: number) =>
  eventually(
    async () => {
      const tunnels = await view(cluster)
      expect(tunnels).toHaveLength(count)
      return tunnels
    },
    { within: 20_000, message: `${count} tunnels are listed` },
  )

describe('a master with a hundred live tunnels', () => {
  let cluster: Cluster
  let folder: string
  let keys: Key[]
  let devices: Device[]
  let held: HeldTunnel[]

  beforeAll(async () => {
    folder = makeFolder()
    cluster = await startCluster({ slaves: 2, forwardPorts: 100 })
    keys = makeManyKeys(folder, ALL)
    await Promise.all(keys.map((key, n) => cluster.addDevice(`device-${n}`, key)))
    const echo = await startEcho()
    devices = keys
      .slice(0, BY_SSH)
      .map((key, n) =>
        openDevice({ slave: slaveOf(cluster, n % 2), key, forwards: [`0:localhost:${echo.port}`] }),
      )
    held = await Promise.all(
      keys.slice(BY_SSH).map((key, n) => holdTunnel({ slave: slaveOf(cluster, n % 2), key })),
    )
    await Promise.all(devices.map((device) => device.port()))
    await listed(cluster, ALL)
  }, 120_000)

  test.each(['SIGKILL', 'SIGTERM'] as const)(
    'ends by %s: no tunnel drops, visits go on, a stranger is refused in bounded time, and the view comes back as it was (T050, T110, T112, T113)',
    async (signal) => {
      const before = await view(cluster)
      const [some, other] = [devices[0], held[0]]
      if (some === undefined || other === undefined) throw new Error('no devices')
      const [bySsh, byClient] = [
        await openVisit({ host: '127.0.0.1', port: await some.port() }),
        await openVisit({ host: '127.0.0.1', port: other.port }),
      ]
      const stranger = await makeKey(folder)
      cluster.master.process.signal(signal)
      await cluster.master.process.exited
      for (const talk of [bySsh, byClient]) {
        talk.send('still there?')
        expect((await talk.receive(12)).toString()).toBe('still there?')
      }
      for (const { statusUrl } of cluster.slaves) {
        expect(await callApi({ url: statusUrl }, 'GET', '/readyz')).toMatchObject({ status: 200 })
      }
      const at = performance.now()
      const refused = openDevice({ slave: slaveOf(cluster), key: stranger })
      expect((await refused.exited).status).toBe(255)
      expect(refused.output).toContain('try again later')
      expect(performance.now() - at).toBeLessThan(10_000)

      const from = performance.now()
      await cluster.restartMaster(signal)
      const after = await listed(cluster, ALL)
      // One reconnect: the slaves try again within seconds, with jitter.
      expect(performance.now() - from).toBeLessThan(15_000)
      expect(after).toEqual(before)
      expect(devices.every(({ exit }) => exit === undefined)).toBe(true)
      expect(held.every(({ ended }) => !ended)).toBe(true)
      expect((await cluster.cluster()).totals).toMatchObject({ slaves: 2, tunnels: ALL })
    },
  )

  test('is away while devices that it let in before come, go and move: when it is back the view is what is real (T045, T112)', async () => {
    const [gone, moved] = [held.at(-1), held.at(-2)]
    const [goneKey, movedKey, newKey] = [keys.at(-1), keys.at(-2), await makeKey(folder)]
    if (!gone || !moved || !goneKey || !movedKey) throw new Error('no devices')
    await cluster.addDevice('newcomer', newKey)
    // Known to the slave that it will come to, without a tunnel.
    const before = await holdTunnel({ slave: slaveOf(cluster, 0), key: newKey })
    before.close()
    await listed(cluster, ALL)
    cluster.master.process.signal('SIGKILL')
    await cluster.master.process.exited
    gone.close()
    const newcomer = await holdTunnel({ slave: slaveOf(cluster, 0), key: newKey })
    // `moved` was on the other slave; its answer is remembered only where it was asked.
    const again = await holdTunnel({
      slave: slaveOf(cluster, (ALL - BY_SSH - 2) % 2),
      key: movedKey,
    })
    await eventually(() => moved.ended)
    await cluster.restartMaster('SIGKILL')
    await eventually(
      async () => {
        const ids = (await cluster.tunnels()).map(({ device }) => device)
        expect(ids).toHaveLength(ALL)
        expect(ids).toContain('newcomer')
        expect(ids).not.toContain(`device-${ALL - 1}`)
      },
      { within: 20_000 },
    )
    const tunnel = (await cluster.tunnels()).find(({ device }) => device === `device-${ALL - 2}`)
    expect(tunnel?.forwards.map(({ port }) => port)).toEqual([again.port])
    expect(newcomer.ended).toBe(false)
  })
})

describe('a slave', () => {
  test('that is killed takes its tunnels along; started again it takes devices at once (T110, T115, T117)', async () => {
    const cluster = await startCluster({ slaves: 2 })
    const folder = makeFolder()
    const keys = [await makeKey(folder), await makeKey(folder), await makeKey(folder)]
    for (const [n, key] of keys.entries()) await cluster.addDevice(`device-${n}`, key)
    const [first, second, third] = keys
    if (!first || !second || !third) throw new Error('no keys')
    await openDevice({ slave: slaveOf(cluster, 0), key: first }).port()
    await openDevice({ slave: slaveOf(cluster, 1), key: second }).port()
    const held = openDevice({ slave: slaveOf(cluster, 1), key: third })
    await held.port()
    await listed(cluster, 3)
    const events = await cluster.events()
    const dying = slaveOf(cluster, 1)
    dying.process.signal('SIGKILL')
    expect((await held.exited).status).toBe(255)
    await events.next('slave.stale', { slave: 'slave-2', tunnels: 2 })
    await events.next('slave.lost', { slave: 'slave-2', tunnels: 2 })
    for (const device of ['device-1', 'device-2'])
      await events.next('tunnel.down', { device, slave: 'slave-2' })
    expect((await view(cluster)).map(({ device }) => device)).toEqual(['device-0'])
    expect(await cluster.cluster()).toMatchObject({ slaves: [{ id: 'slave-1' }], totals: { tunnels: 1 } })

    const { id, port, folder: home, forwardPorts } = dying
    await startSlave({
      master: cluster.master,
      id,
      folder: home,
      forwardPorts,
      sshListen: `127.0.0.1:${port}`,
    })
    await events.next('slave.ready', { slave: 'slave-2' })
    // It is the least busy one now.
    const slot = await callApi<{ slave: string }>({ url: cluster.master.url }, 'POST', '/connect')
    expect(slot.body.slave).toBe('slave-2')
    await openDevice({ slave: dying, key: third }).port()
    await listed(cluster, 2)
  })

  test('that is stopped in order says good-bye: its tunnels are gone at once, not after a grace', async () => {
    const cluster = await startCluster({ slaves: 1, masterFlags: ['--slave-grace', '1h'] })
    const key = await makeKey(makeFolder())
    await cluster.addDevice('barn', key)
    const device = openDevice({ slave: slaveOf(cluster), key })
    await device.port()
    await listed(cluster, 1)
    const events = await cluster.events()
    expect(await slaveOf(cluster).process.stop(10_000)).toMatchObject({ status: 0 })
    await events.next('slave.lost', { slave: 'slave-1' })
    await listed(cluster, 0)
    expect((await device.exited).status).toBe(255)
    expect(device.output).toMatch(/sshoal: /)
  })
})

describe('a device that drops while it is set up', () => {
  let cluster: Cluster
  beforeAll(async () => {
    cluster = await startCluster({ slaves: 1, slaveFlags: ['--penalty', '0'] })
  })

  const devices = async (): Promise<number> => {
    const { body } = await callApi<string>({ url: slaveOf(cluster).statusUrl }, 'GET', '/metrics')
    return Number(/^sshoal_tunnels (\d+)$/m.exec(body)?.[1])
  }

  test('at any step leaves no record behind, and gets in afterwards (T098)', async () => {
    const key = await makeKey(makeFolder())
    await cluster.addDevice('barn', key)
    const slave = slaveOf(cluster)
    for (let round = 0; round < 20; round++) {
      const client = await connectClient({ slave, key })
      client.forwardIn('localhost', 0, () => {})
      // Later and later: before the request is sent, on its way, being admitted, just answered.
      setTimeout(() => client.destroy(), round)
      await new Promise<void>((resolve) => client.once('close', () => resolve()))
    }
    await eventually(async () => expect([await devices(), await cluster.tunnels()]).toEqual([0, []]))
    expect(await openDevice({ slave, key }).port()).toBeGreaterThan(0)
    await listed(cluster, 1)
  })

  test('while its master does not answer leaves no record behind either (T096, T098)', async () => {
    const key = await makeKey(makeFolder())
    await cluster.addDevice('mill', key)
    const slave = slaveOf(cluster)
    // So that the slave knows the key when the master is silent.
    const once = await holdTunnel({ slave, key })
    once.close()
    await eventually(async () => (await cluster.tunnels()).every(({ device }) => device !== 'mill'))
    const others = await devices()
    cluster.master.process.signal('SIGSTOP')
    try {
      const dropping = await connectClient({ slave, key })
      dropping.forwardIn('localhost', 0, () => {})
      // Its request is being put to the master when the next one's is sent over the same loop.
      const staying = holdTunnel({ slave, key })
      dropping.destroy()
      // The slave decides by itself after a deadline: a silent master locks nobody out.
      expect((await staying).port).toBeGreaterThan(0)
      expect(await devices()).toBe(others + 1)
    } finally {
      cluster.master.process.signal('SIGCONT')
    }
    await eventually(
      async () => {
        const mine = (await cluster.tunnels()).filter(({ device }) => device === 'mill')
        expect(mine).toHaveLength(1)
      },
      { within: 20_000 },
    )
  })

  test('is kicked: its connection ends with a reason and it may come back; an unknown one is a clear answer (T099, T100)', async () => {
    const key = await makeKey(makeFolder())
    const slave = slaveOf(cluster)
    await cluster.addDevice('kiln', key)
    expect(await cluster.api('POST', '/devices/kiln/kick')).toMatchObject({
      status: 409,
      body: { code: 'NOT_CONNECTED' },
    })
    expect(await cluster.api('POST', '/devices/nobody/kick')).toMatchObject({
      status: 404,
      body: { code: 'UNKNOWN_DEVICE' },
    })
    const echo = await startEcho({ whole: true })
    const device = openDevice({ slave, key, forwards: [`0:localhost:${echo.port}`] })
    const port = await device.port()
    await eventually(async () => (await cluster.tunnels()).some(({ device }) => device === 'kiln'))
    expect(await cluster.api('POST', '/devices/kiln/kick')).toMatchObject({ status: 200, body: { cut: 1 } })
    expect((await device.exited).status).toBe(255)
    expect(device.output).toContain('sshoal: an operator ended this connection')
    const back = openDevice({ slave, key, forwards: [`0:localhost:${echo.port}`] })
    expect(await back.port()).toBe(port)
    expect((await visit({ host: '127.0.0.1', port }, 'hello')).toString()).toBe('hello')
  })
})
