// `validate_device` as devices and operators meet it: a hook in a file, two slaves, real ssh.

import { beforeAll, describe, expect, test } from 'vitest'

import {
  eventually,
  makeFolder,
  makeKey,
  makeSteeredHook,
  openDevice,
  startCluster,
  type Cluster,
  type Device,
  type DeviceOptions,
  type Key,
  type Slave,
  type SteeredHook,
} from '../kit/index.ts'

const DEADLINE_MS = 3_000

let cluster: Cluster
let hook: SteeredHook
let folder: string

beforeAll(async () => {
  hook = makeSteeredHook()
  folder = makeFolder()
  cluster = await startCluster({
    slaves: 2,
    hook: hook.file,
    masterFlags: ['--hook-deadline', `${DEADLINE_MS}ms`],
    slaveFlags: (n) => ['--region', n === 0 ? 'eu' : 'us'],
  })
})

function slave(n: 1 | 2): Slave {
  const found = cluster.slaves[n - 1]
  if (found === undefined) throw new Error(`no slave ${n}`)
  return found
}

// A source of its own for every test, so that the penalties of one are not served by another.
let sources = 1
const newSource = (): string[] => ['-b', `127.0.7.${sources++}`]

interface Tried {
  output: string
  ms: number
}

/** A device that must not get in: what it was told, and how long that took. */
async function refusedDevice(options: Omit<DeviceOptions, 'slave'> & { n?: 1 | 2 }): Promise<Tried> {
  const { n = 1, ...rest } = options
  const from = performance.now()
  const device = openDevice({ slave: slave(n), ...rest })
  const { status } = await device.exited
  expect({ status, output: device.output }).toMatchObject({ status: 255 })
  return { output: device.output, ms: performance.now() - from }
}

async function upDevice(options: Omit<DeviceOptions, 'slave'> & { n?: 1 | 2 }): Promise<Device> {
  const { n = 1, ...rest } = options
  const device = openDevice({ slave: slave(n), ...rest })
  await device.port()
  return device
}

const tunnelOf = (id: string) =>
  eventually(async () => (await cluster.tunnels()).find(({ device }) => device === id) ?? false, {
    message: `the tunnel of ${id} is listed`,
  })

const gone = (id: string, within?: number) =>
  eventually(async () => (await cluster.tunnels()).every(({ device }) => device !== id), {
    message: `the tunnel of ${id} is gone`,
    ...(within === undefined ? {} : { within }),
  })

const known = (client_key: string, more: object = {}) => ({ answer: { client_key, ...more } })

describe('a device that the hook knows', () => {
  test('gets in, and what else the hook said travels with its tunnel (T040, T041, T043, T044)', async () => {
    const key = await makeKey(folder)
    hook.on(key, known('mill', { customer: 'Weber', floor: 3, keepalive: '20s' }))
    await upDevice({ key, username: 'someone', options: newSource() })
    const { details, fingerprint } = await tunnelOf('mill')
    // `countersigned` comes from the package that lies beside the hook.
    expect(details).toEqual({ customer: 'Weber', floor: 3, countersigned: true })
    expect(fingerprint).toBe(key.fingerprint)
    expect(hook.asked(key)).toEqual([
      { publicKey: key.wire, algorithm: 'ssh-ed25519', fingerprint: key.fingerprint, username: 'someone' },
    ])
  })

  test('gets the fixed ports of its answer in order, and no more forwards than it says', async () => {
    const key = await makeKey(folder)
    const ports = [slave(1).forwardPorts.last, slave(1).forwardPorts.last - 1]
    hook.on(key, known('press', { ports, maxForwards: 2 }))
    const forwards = ['0:localhost:1', '0:localhost:2']
    const device = openDevice({ slave: slave(1), key, forwards, options: newSource() })
    expect([await device.port(), await device.port(1)]).toEqual(ports)
    await device.stop()
    await gone('press')
    const events = await cluster.events()
    const more = openDevice({
      slave: slave(1),
      key,
      forwards: [...forwards, '0:localhost:3'],
      options: newSource(),
    })
    expect((await more.exited).status).toBe(255)
    await events.next('device.refused', { device: 'press', code: 'TOO_MANY_FORWARDS' })
  })

  test('is cut by the keepalive of its answer when it falls silent', async () => {
    const [quick, usual] = [await makeKey(folder), await makeKey(folder)]
    hook.on(quick, known('quick', { keepalive: '1s' }))
    hook.on(usual, known('usual'))
    const silent = await upDevice({ key: quick, options: newSource() })
    const other = await upDevice({ key: usual, options: newSource() })
    for (const device of [silent, other]) device.signal('SIGSTOP')
    await gone('quick', 8_000)
    await tunnelOf('usual')
    for (const device of [silent, other]) device.signal('SIGCONT')
    expect((await silent.exited).status).toBe(255)
    await other.stop()
  })

  test('is let in only in the region of its answer, and told so elsewhere', async () => {
    const key = await makeKey(folder)
    hook.on(key, known('kiln', { region: 'us' }))
    const { output } = await refusedDevice({ n: 1, key, options: newSource() })
    expect(output).toMatch(/sshoal: this device belongs to region us/)
    await upDevice({ n: 2, key, options: newSource() })
    expect(await tunnelOf('kiln')).toMatchObject({ slave: 'slave-2' })
  })

  test('is cut when the answer ends, reads why, and is refused from then on', async () => {
    const key = await makeKey(folder)
    const expiresAt = new Date(Date.now() + 3_000).toISOString()
    hook.on(key, known('guest', { expiresAt, cacheSeconds: 60 }))
    const device = await upDevice({ key, options: newSource() })
    expect((await device.exited).status).toBe(255)
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiresAt))
    expect(device.output).toContain('sshoal: the time of this key is over')
    await gone('guest')
    const { output } = await refusedDevice({ key, options: newSource() })
    expect(output).toContain('sshoal: this key has expired')
  })
})

describe('a device that the hook does not know', () => {
  test.each([
    ['nothing', null],
    ['an object without client_key', { name: 'nobody' }],
    ['an empty client_key', { client_key: '' }],
    ['client_key null', { client_key: null }],
  ])(
    'is refused at once, on both slaves, with its own fingerprint and no more: %s (T042, T048)',
    async (_name, answer) => {
      const key = await makeKey(folder)
      hook.on(key, { answer })
      const events = await cluster.events()
      for (const n of [1, 2] as const) {
        const { output, ms } = await refusedDevice({ n, key, options: newSource() })
        expect(output).toContain(key.fingerprint)
        expect(output).toContain('Permission denied (publickey)')
        expect(ms).toBeLessThan(DEADLINE_MS)
      }
      await events.next('device.refused', { code: 'KEY_UNKNOWN' })
    },
  )

  test('gets in a moment later when the hook knows it then: refusals are not remembered (T047)', async () => {
    const key = await makeKey(folder)
    await refusedDevice({ key, options: newSource() })
    hook.on(key, known('late'))
    await upDevice({ key, options: newSource() })
    await tunnelOf('late')
  })

  test('is a source that has to wait after a few tries, while outages cost nothing', async () => {
    const [stranger, unlucky] = [await makeKey(folder), await makeKey(folder)]
    const [bad, good] = [newSource(), newSource()]
    hook.on(unlucky, { throw: 'the database is away' })
    for (let n = 0; n < 6; n++) await refusedDevice({ key: unlucky, options: good })
    hook.on(unlucky, known('unlucky'))
    await upDevice({ key: unlucky, options: good })
    await eventually(
      async () => {
        const { output } = await refusedDevice({ key: stranger, options: bad })
        // No SSH at all any more: the connection is dropped before its first byte.
        return !output.includes('Permission denied')
      },
      { within: 20_000 },
    )
  })
})

describe('a hook that fails', () => {
  test.each([
    ['throws', { throw: 'the database is closed' }, 'the database is closed'],
    ['does not answer within the deadline', { hang: true }, `no answer within ${DEADLINE_MS} ms`],
    ['answers with something that is no answer', { answer: 'yes' }, 'not an object'],
    ['answers with a field of the wrong kind', { answer: { client_key: 'x', ports: 'many' } }, '/ports'],
  ] as const)(
    'and %s lets nobody in, tells the device to try again, and is an event (T049)',
    async (_name, reaction, reason) => {
      const key = await makeKey(folder)
      hook.on(key, reaction)
      const events = await cluster.events()
      const { output, ms } = await refusedDevice({ key, options: newSource() })
      expect(output).toMatch(/sshoal: .*try again later/)
      expect(ms).toBeLessThan(DEADLINE_MS + 3_000)
      const event = await events.next('hook.failed', { fingerprint: key.fingerprint, slave: 'slave-1' })
      expect(event.data.reason).toContain(reason)
    },
  )
})

describe('an answer', () => {
  test('is asked for once per key and connection, though a login names the key twice (T046)', async () => {
    const [first, second] = [await makeKey(folder), await makeKey(folder)]
    hook.on(second, known('twice', { cacheSeconds: 0 }))
    // Both keys are offered; the first is refused only after its signature.
    await upDevice({ key: first, options: ['-i', second.path, ...newSource()] })
    expect([hook.asked(first).length, hook.asked(second).length]).toEqual([1, 1])
    await upDevice({ key: second, options: newSource() })
    expect(hook.asked(second)).toHaveLength(2)
  })

  test('that is positive is remembered by a slave for key and user name (T045)', async () => {
    const key = await makeKey(folder)
    hook.on(key, known('cached'))
    const login = async (n: 1 | 2, username: string) => {
      const device = await upDevice({ n, key, username, options: newSource() })
      await device.stop()
    }
    await login(1, 'anna')
    await login(1, 'anna')
    expect(hook.asked(key).map(({ username }) => username)).toEqual(['anna'])
    await login(1, 'berta')
    expect(hook.asked(key).map(({ username }) => username)).toEqual(['anna', 'berta'])
    await login(2, 'anna')
    expect(hook.asked(key)).toHaveLength(3)
  })

  test('is remembered for as long as its cacheSeconds say', async () => {
    const key = await makeKey(folder)
    hook.on(key, known('short', { cacheSeconds: 1 }))
    const login = async () => (await upDevice({ key, options: newSource() })).stop()
    await login()
    const at = performance.now()
    await eventually(
      async () => {
        await login()
        return hook.asked(key).length === 2
      },
      { within: 10_000, message: 'the hook is asked again' },
    )
    expect(performance.now() - at).toBeGreaterThan(500)
  })

  test('that was positive still counts while the hook fails, and no longer after a refusal', async () => {
    const key = await makeKey(folder)
    hook.on(key, known('loyal', { cacheSeconds: 0 }))
    const login = async () => (await upDevice({ key, options: newSource() })).stop()
    await login()
    hook.on(key, { throw: 'the database is away' })
    await login()
    hook.on(key, { answer: null })
    await refusedDevice({ key, options: newSource() })
    hook.on(key, { throw: 'the database is away again' })
    const { output } = await refusedDevice({ key, options: newSource() })
    expect(output).toContain('try again later')
  })

  test('is asked for again by a recheck, which keeps who is known and cuts who is not, on both slaves', async () => {
    const [stays, goes] = [await makeKey(folder), await makeKey(folder)]
    hook.on(stays, known('stays'))
    hook.on(goes, known('goes'))
    const staying = await upDevice({ n: 2, key: stays, options: newSource() })
    const going = await upDevice({ n: 2, key: goes, options: newSource() })
    await Promise.all([tunnelOf('stays'), tunnelOf('goes')])
    hook.on(goes, { answer: null })
    const from = performance.now()
    const keys = [stays.publicKey, goes.fingerprint]
    expect(await cluster.api('POST', '/recheck', { keys })).toMatchObject({ status: 200, body: { cut: 1 } })
    expect((await going.exited).status).toBe(255)
    expect(performance.now() - from).toBeLessThan(1_000)
    expect(going.output).toContain('sshoal: this key is no longer accepted')
    await refusedDevice({ n: 1, key: goes, options: newSource() })
    expect(staying.exit).toBeUndefined()
    expect(hook.asked(stays)).toHaveLength(2)
    // A device that only the hook knows can be rechecked by its name too.
    hook.on(stays, { answer: null })
    expect(await cluster.api('POST', '/devices/stays/recheck')).toMatchObject({
      status: 200,
      body: { cut: 1 },
    })
    await staying.exited
  })

  test('that is on its way when its key is invalidated is asked for once more', async () => {
    const key = await makeKey(folder)
    hook.on(key, { hang: true })
    const device = openDevice({ slave: slave(1), key, options: newSource() })
    await hook.askedTimes(key, 1)
    expect(await cluster.api('POST', '/recheck', { keys: [key.fingerprint] })).toMatchObject({ status: 200 })
    hook.on(key, known('again'))
    await device.port()
    expect(hook.asked(key)).toHaveLength(2)
  })
})

test('a device that only the hook knows is listed, can be kicked, and cannot be edited', async () => {
  const key: Key = await makeKey(folder)
  hook.on(key, known('theirs'))
  const device = await upDevice({ key, options: newSource() })
  await tunnelOf('theirs')
  await eventually(async () => {
    const { body } = await cluster.api<{ source: string; tunnel: unknown }>('GET', '/devices/theirs')
    expect(body).toMatchObject({ source: 'hook', tunnel: { slave: 'slave-1' } })
  })
  expect(await cluster.api('PATCH', '/devices/theirs', { name: 'mine' })).toMatchObject({
    status: 409,
    body: { code: 'HOOK_DEVICE' },
  })
  expect(await cluster.api('POST', '/devices/theirs/kick')).toMatchObject({ status: 200 })
  await device.exited
})
