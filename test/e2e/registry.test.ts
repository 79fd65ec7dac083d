// The registry and its store: who is let in, at once and everywhere; what was acknowledged is never lost.

import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { beforeAll, describe, expect, test } from 'vitest'

import {
  callApi,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  runSshoal,
  startCluster,
  startMaster,
  type Cluster,
  type Key,
  type Slave,
} from '../kit/index.ts'

interface DeviceView {
  id: string
  name?: string
  keys: { fingerprint: string; label?: string }[]
  tunnel: { slave: string } | null
  lastSeen: { at: string; where: string; why: string } | null
}

/** As good as any for a registry, and made in no time. */
function randomKey(): { line: string; fingerprint: string } {
  const type = 'ssh-ed25519'
  const field = (bytes: Buffer): Buffer => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    return Buffer.concat([length, bytes])
  }
  const wire = Buffer.concat([field(Buffer.from(type)), field(randomBytes(32))])
  const digest = createHash('sha256').update(wire).digest('base64').replace(/=+$/, '')
  return { line: `${type} ${wire.toString('base64')}`, fingerprint: `SHA256:${digest}` }
}

describe('a cluster with two slaves', () => {
  let cluster: Cluster
  let folder: string

  beforeAll(async () => {
    folder = makeFolder()
    // No penalties, because these tests are refused on purpose and often.
    cluster = await startCluster({ slaves: 2, slaveFlags: ['--penalty', '0'] })
  })

  function slave(n: 1 | 2): Slave {
    const found = cluster.slaves[n - 1]
    if (found === undefined) throw new Error(`no slave ${n}`)
    return found
  }

  const sshoal = (...args: string[]) =>
    runSshoal(args, {
      cwd: folder,
      env: { SSHOAL_URL: cluster.master.url, SSHOAL_TOKEN: cluster.master.adminToken },
    })

  const device = async (id: string): Promise<DeviceView> =>
    (await cluster.api<DeviceView>('GET', `/devices/${id}`)).body

  async function refused(n: 1 | 2, key: Key): Promise<string> {
    const stranger = openDevice({ slave: slave(n), key })
    expect((await stranger.exited).status).toBe(255)
    return stranger.output
  }

  test('a key that is deleted is refused and its tunnels are cut within a second, on both slaves', async () => {
    const [first, second] = [await makeKey(folder), await makeKey(folder)]
    await cluster.addDevice('barn', first)
    await cluster.addDevice('mill', second)
    // Both keys are remembered by both slaves.
    for (const n of [1, 2] as const) {
      for (const key of [first, second]) {
        const once = openDevice({ slave: slave(n), key })
        await once.port()
        await once.stop()
      }
    }
    const barn = openDevice({ slave: slave(1), key: first })
    const mill = openDevice({ slave: slave(2), key: second })
    await Promise.all([barn.port(), mill.port()])
    await eventually(async () => expect(await cluster.tunnels()).toHaveLength(2))

    let from = performance.now()
    const path = `/devices/barn/keys/${encodeURIComponent(first.fingerprint)}`
    expect(await cluster.api('DELETE', path)).toMatchObject({ status: 200, body: { cut: 1 } })
    await barn.exited
    expect(performance.now() - from).toBeLessThan(1_000)
    expect(barn.output).toContain('sshoal: this key is no longer accepted')
    for (const n of [1, 2] as const) expect(await refused(n, first)).toContain(first.fingerprint)

    from = performance.now()
    expect(await cluster.api('DELETE', '/devices/mill')).toMatchObject({ status: 200, body: { cut: 1 } })
    await mill.exited
    expect(performance.now() - from).toBeLessThan(1_000)
    for (const n of [1, 2] as const) expect(await refused(n, second)).toContain(second.fingerprint)
    expect(await cluster.tunnels()).toEqual([])
    expect(await cluster.api('GET', '/devices/mill')).toMatchObject({ status: 404 })
    // The first device is still there and takes a new key, which gets in at once.
    const third = await makeKey(folder)
    const added = await cluster.api('POST', '/devices/barn/keys', { key: third.publicKey, label: '2030' })
    expect(added).toMatchObject({ status: 201, body: { keys: [{ label: '2030' }] } })
    await openDevice({ slave: slave(1), key: third }).port()
  })

  test('a key that was refused is listed, and let in by its fingerprint alone', async () => {
    const key = await makeKey(folder)
    await refused(1, key)
    await refused(2, key)
    const listed = await eventually(async () => {
      const { body } = await cluster.api<{ refused: Record<string, unknown>[] }>('GET', '/devices/refused')
      const found = body.refused.find(({ fingerprint }) => fingerprint === key.fingerprint)
      return found?.count === 2 ? found : false
    })
    expect(listed).toMatchObject({ code: 'KEY_UNKNOWN', remoteAddress: '127.0.0.1', username: 'device' })
    expect(listed.key).toBe(key.publicKey.split(' ').slice(0, 2).join(' '))
    expect((await sshoal('device', 'refused')).stdout).toContain(key.fingerprint)
    expect(await sshoal('device', 'add', 'shed', '--refused', key.fingerprint)).toMatchObject({ status: 0 })
    await openDevice({ slave: slave(2), key }).port()
    const unknown = await sshoal('device', 'add', 'hut', '--refused', `SHA256:${'A'.repeat(43)}`)
    expect(unknown).toMatchObject({ status: 1, stderr: expect.stringContaining('UNKNOWN_REFUSED') })
  })

  test('many devices come from a file of JSON lines, each taken whole or not at all', async () => {
    const [one, two] = [await makeKey(folder), await makeKey(folder)]
    const lines = [
      { id: 'line-1', keys: [one.publicKey], name: 'first of many' },
      { id: 'line-2', keys: [two.publicKey], ports: [1] },
      { id: 'line-3', keys: ['this is no key'] },
      { id: 'line-4', keys: [one.publicKey] },
      { id: 'line-5', keys: [two.publicKey], region: 'eu' },
    ]
    const file = join(folder, 'devices.jsonl')
    writeFileSync(file, `${lines.map((line) => JSON.stringify(line)).join('\n')}\nnot JSON\n`)
    const { status, stdout } = await sshoal('device', 'import', file)
    expect(status).toBe(1)
    const [summary] = stdout.split('\n')
    const problems = [...stdout.matchAll(/^line (\d+): .* \(([A-Z_]+)\)$/gm)].map(([, line, code]) => [
      line,
      code,
    ])
    const lost = problems.map(([line]) => line)
    expect(lost).toEqual(expect.arrayContaining(['3', '4', '6']))
    expect(summary).toBe(
      `${6 - problems.length} registered, 0 were there already, ${problems.length} refused`,
    )
    expect(await device('line-1')).toMatchObject({ name: 'first of many' })
    expect(await cluster.api('GET', '/devices/line-3')).toMatchObject({ status: 404 })
    // Once more changes nothing.
    writeFileSync(file, `${JSON.stringify(lines[0])}\n`)
    expect(await sshoal('device', 'import', file)).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^0 registered, 1 were there already/),
    })
  })

  test('devices are found by a part of their name, and by a whole fingerprint', async () => {
    const key = await makeKey(folder)
    await cluster.addDevice('crane-7', key, { name: 'harbour north', mac: '02:00:5E:10:00:01' })
    for (const q of ['crane', 'HARBOUR', '02:00:5e:10', key.fingerprint]) {
      const { body } = await cluster.api<{ devices: DeviceView[] }>(
        'GET',
        `/devices?q=${encodeURIComponent(q)}`,
      )
      expect({ q, ids: body.devices.map(({ id }) => id) }).toEqual({ q, ids: ['crane-7'] })
    }
  })

  test('a device says when, where and why it was last seen', async () => {
    const key = await makeKey(folder)
    await cluster.addDevice('kiln', key)
    expect(await device('kiln')).toMatchObject({ tunnel: null, lastSeen: null })
    const held = openDevice({ slave: slave(2), key })
    await held.port()
    await eventually(async () =>
      expect(await device('kiln')).toMatchObject({
        tunnel: { slave: 'slave-2' },
        lastSeen: { where: expect.stringContaining('127.0.0.1') },
      }),
    )
    const { lastSeen: up } = await device('kiln')
    await held.stop()
    await eventually(async () => {
      const { tunnel, lastSeen } = await device('kiln')
      expect(tunnel).toBeNull()
      expect(lastSeen?.why).not.toBe(up?.why)
      expect(Date.parse(lastSeen?.at ?? '')).toBeGreaterThanOrEqual(Date.parse(up?.at ?? ''))
    })
    expect((await sshoal('device', 'show', 'kiln')).stdout).toMatch(/last seen/i)
  })
})

describe('the store', () => {
  test('loses no acknowledged device when the master is killed while it writes, and has no half of any', async () => {
    const dataDir = makeFolder()
    const keys: { line: string; fingerprint: string }[] = []
    const acknowledged: string[] = []
    const unexpected: unknown[] = []
    let next = 0
    for (let round = 0; round < 3; round++) {
      const master = await startMaster({ dataDir })
      const api = { url: master.url, token: master.adminToken }
      const killAt = performance.now() + 150 + Math.random() * 500
      const write = async (): Promise<void> => {
        for (;;) {
          const n = next++
          const body = { id: `d${n}`, keys: [(keys[n] = randomKey()).line], name: `number ${n}` }
          const answer = await callApi(api, 'POST', '/devices', body).catch(() => undefined)
          if (answer === undefined) return
          if (answer.status === 201) acknowledged.push(`d${n}`)
          else unexpected.push(answer)
        }
      }
      const writers = Promise.all([write(), write(), write(), write()])
      await eventually(() => performance.now() >= killAt && acknowledged.length > round, { every: 5 })
      master.process.signal('SIGKILL')
      await writers
    }
    const master = await startMaster({ dataDir })
    const api = { url: master.url, token: master.adminToken }
    const found = new Map<string, DeviceView>()
    for (let cursor: string | null = ''; cursor !== null;) {
      const query: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`
      const { body } = await callApi<{ devices: DeviceView[]; next: string | null }>(
        api,
        'GET',
        `/devices?limit=1000${query}`,
      )
      for (const one of body.devices) found.set(one.id, one)
      cursor = body.next
    }
    expect(unexpected).toEqual([])
    expect(acknowledged.length).toBeGreaterThan(3)
    expect(acknowledged.filter((id) => !found.has(id))).toEqual([])
    for (const [id, { name, keys: held }] of found) {
      const n = Number(id.slice(1))
      expect({ id, name, key: held[0]?.fingerprint }).toEqual({
        id,
        name: `number ${n}`,
        key: keys[n]?.fingerprint,
      })
    }
    // A key came with its device or not at all, so nobody else can have it.
    const [some = ''] = [...found.keys()]
    const body = { id: randomUUID(), keys: [keys[Number(some.slice(1))]?.line] }
    const taken = await callApi(api, 'POST', '/devices', body)
    expect(taken).toMatchObject({ status: 409, body: { code: 'KEY_TAKEN' } })
  })

  test('is refused to a second process, which says whose it is', async () => {
    const master = await startMaster()
    const second = await runSshoal(['master', '--listen', '127.0.0.1:0', '--data', master.dataDir])
    expect(second.status).not.toBe(0)
    expect(second.stderr).toContain(master.dataDir)
    expect(second.stderr).toContain(
      `is in use by process ${master.process.pid}; stop it, or name another --data`,
    )
    const { status } = await callApi({ url: master.url }, 'GET', '/readyz')
    expect(status).toBe(200)
  })
})
