// Which slave a device is sent to, seen from outside: `/connect` is asked as any device would ask it.

import { beforeAll, beforeEach, describe, expect, test } from 'vitest'

import {
  callApi,
  eventually,
  makeDropbearKey,
  makeFolder,
  makeKey,
  openDevice,
  run,
  startCluster,
  type Cluster,
  type ClusterOptions,
} from '../kit/index.ts'

interface Slot {
  slave: string
  host: string
  port: number
  hostKeys: string[]
  expiresInMs: number
}

const connect = (cluster: Cluster, query = '') =>
  callApi<Slot>({ url: cluster.master.url }, 'POST', `/connect${query}`)

async function slots(cluster: Cluster, count: number, query = ''): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (let n = 0; n < count; n++) {
    const { status, body } = await connect(cluster, query)
    if (status !== 200) throw new Error(`no slot: ${status} ${JSON.stringify(body)}`)
    counts[body.slave] = (counts[body.slave] ?? 0) + 1
  }
  return counts
}

/** Starts one for all tests of this group; each begins without slots and tunnels. */
function share(options: ClusterOptions): { readonly cluster: Cluster } {
  let cluster: Cluster
  beforeAll(async () => {
    cluster = await startCluster(options)
  })
  beforeEach(() =>
    eventually(async () =>
      expect((await cluster.cluster()).totals).toMatchObject({ reserved: 0, tunnels: 0 }),
    ),
  )
  return {
    get cluster() {
      return cluster
    },
  }
}

describe('with two slaves alike', () => {
  const shared = share({ slaves: 2 })

  test('ten slots on two empty slaves go five to each, and end by themselves (T003, T005, T006, T007, T014)', async () => {
    expect(await slots(shared.cluster, 10)).toEqual({ 'slave-1': 5, 'slave-2': 5 })
    expect((await shared.cluster.cluster()).totals.reserved).toBe(10)
    await eventually(async () => expect((await shared.cluster.cluster()).totals.reserved).toBe(0), {
      within: 5_000,
    })
  })

  test('ten devices that ask at once are spread evenly too', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => connect(shared.cluster)))
    expect(answers.filter(({ body }) => body.slave === 'slave-1')).toHaveLength(5)
  })

  test('a slot says where to connect and which host keys to expect, and is not to be stored (T003, T004)', async () => {
    const { status, body, headers } = await connect(shared.cluster)
    expect(status).toBe(200)
    const slave = shared.cluster.slaves.find(({ id }) => id === body.slave)
    expect(body).toMatchObject({ host: '127.0.0.1', port: slave?.port })
    expect(body.expiresInMs).toBeGreaterThan(0)
    expect(body.expiresInMs).toBeLessThanOrEqual(2_500)
    expect(headers.get('cache-control')).toContain('no-store')
    const scanned = await run('ssh-keyscan', ['-p', String(body.port), '-t', 'ed25519', body.host])
    const offered = scanned.stdout.trim().split(' ').slice(1).join(' ')
    expect(body.hostKeys.map((key) => key.split(' ').slice(0, 2).join(' '))).toContain(offered)
  })

  test.each(['openssh', 'dropbear'] as const)(
    'the text form alone lets a device with %s find its slave and trust it',
    async (client) => {
      const folder = makeFolder()
      const key = await (client === 'openssh' ? makeKey(folder) : makeDropbearKey(folder))
      await shared.cluster.addDevice(`by-${client}`, key)
      const { body } = await callApi<string>(
        { url: shared.cluster.master.url },
        'GET',
        '/connect?format=text',
      )
      const [first = '', ...knownHosts] = body.trimEnd().split('\n')
      const [host = '', port] = first.split(' ')
      expect(knownHosts.length).toBeGreaterThan(0)
      const slave = { host, port: Number(port) }
      expect(await openDevice({ slave, key, client, knownHosts }).port()).toBeGreaterThan(0)
    },
  )

  test('the slave with fewer tunnels gets the next device (T005)', async () => {
    const [busy] = shared.cluster.slaves
    if (busy === undefined) throw new Error('no slave')
    const folder = makeFolder()
    for (let n = 0; n < 3; n++) {
      const key = await makeKey(folder)
      await shared.cluster.addDevice(`device-${n}`, key)
      await openDevice({ slave: busy, key }).port()
    }
    await eventually(async () => expect((await shared.cluster.cluster()).totals.tunnels).toBe(3))
    expect(await slots(shared.cluster, 3)).toEqual({ 'slave-2': 3 })
  })

  test('an arrival takes the place of its slot (T008)', async () => {
    const key = await makeKey(makeFolder())
    await shared.cluster.addDevice('arrives', key)
    const { body } = await connect(shared.cluster)
    const slave = shared.cluster.slaves.find(({ id }) => id === body.slave)
    if (slave === undefined) throw new Error('no slave')
    const expires = performance.now() + body.expiresInMs
    await openDevice({ slave, key }).port()
    await eventually(
      async () => expect((await shared.cluster.cluster()).totals).toMatchObject({ tunnels: 1, reserved: 0 }),
      { within: 1_000 },
    )
    // Else it was the end of the slot that took it away, and this test saw nothing.
    expect(performance.now()).toBeLessThan(expires)
  })

  test('a device that can only use port 443 gets no slot where no slave has it', async () => {
    const { status, body } = await connect(shared.cluster, '?port=443')
    expect({ status, body }).toMatchObject({ status: 503, body: { code: 'NO_SLAVE' } })
  })
})

describe('with slaves in regions', () => {
  const shared = share({
    slaves: 2,
    slaveFlags: (n) => ['--region', n === 0 ? 'eu' : 'us'],
    masterFlags: ['--region-fallback', 'asia=us'],
  })

  test('a device that asks for a region is sent to a slave there (T010, T012)', async () => {
    expect(await slots(shared.cluster, 4, '?region=us')).toEqual({ 'slave-2': 4 })
  })

  test('a region without slaves falls back only where the operator said so (T011)', async () => {
    expect(await slots(shared.cluster, 2, '?region=asia')).toEqual({ 'slave-2': 2 })
    expect(await connect(shared.cluster, '?region=africa')).toMatchObject({
      status: 503,
      body: { code: 'NO_SLAVE' },
    })
  })
})

test('a slave with twice the capacity gets twice the devices', async () => {
  const cluster = await startCluster({ slaves: 2, slaveFlags: (n) => ['--capacity', n === 0 ? '10' : '20'] })
  expect(await slots(cluster, 9)).toEqual({ 'slave-1': 3, 'slave-2': 6 })
})

test('a slave that says no region is in none, and the reservations of a dead slave die with it (T013, T015)', async () => {
  const cluster = await startCluster({ slaves: 2, slaveFlags: (n) => (n === 0 ? [] : ['--region', 'us']) })
  expect(await slots(cluster, 2, '?region=us')).toEqual({ 'slave-2': 2 })
  const events = await cluster.events()
  cluster.slaves[1]?.process.signal('SIGKILL')
  await events.next('slave.lost', { slave: 'slave-2' })
  expect((await cluster.cluster()).totals.reserved).toBe(0)
  expect(await connect(cluster, '?region=us')).toMatchObject({ status: 503, body: { code: 'NO_SLAVE' } })
  expect(await slots(cluster, 2)).toEqual({ 'slave-1': 2 })
})

test('a device that can only use port 443 is sent to the slave that has it', async () => {
  const cluster = await startCluster({
    slaves: 2,
    slaveFlags: (n) => (n === 1 ? ['--public-port', '443'] : []),
  })
  expect(await slots(cluster, 2, '?port=443')).toEqual({ 'slave-2': 2 })
})

test('a draining slave gets no more devices', async () => {
  const cluster = await startCluster({ slaves: 2 })
  const drain = await cluster.api('POST', '/cluster/slaves/slave-1/drain', { seconds: 60 })
  expect(drain.status).toBeLessThan(300)
  expect(await slots(cluster, 4)).toEqual({ 'slave-2': 4 })
})

test('a killed slave gets no more devices, from the moment its link breaks (T115)', async () => {
  const cluster = await startCluster({ slaves: 2 })
  const events = await cluster.events()
  cluster.slaves[0]?.process.signal('SIGKILL')
  await events.next('slave.stale', { slave: 'slave-1' })
  expect(await slots(cluster, 4)).toEqual({ 'slave-2': 4 })
  await events.next('slave.lost', { slave: 'slave-1' })
})

test('without any slave the answer is 503 and says so (T009)', async () => {
  const cluster = await startCluster()
  await cluster.slaves[0]?.process.stop()
  await eventually(async () => {
    expect(await connect(cluster)).toMatchObject({ status: 503, body: { code: 'NO_SLAVE' } })
  })
})
