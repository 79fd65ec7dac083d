// Two masters on one Redis, four slaves that hang on either: whatever is asked of one is as if it were asked of the other.

import { beforeAll, expect, test } from 'vitest'

import { callApi, eventually, makeFolder, makeKey, openDevice, type Device, type Key } from '../kit/index.ts'
import { of, startMasters, type Masters } from '../kit/masters.ts'

let all: Masters
let folder: string
let devices = 0
const HANGS_ON = [0, 1, 0, 1]

beforeAll(async () => {
  folder = makeFolder()
  all = await startMasters({ masters: 2, slaves: 4 })
}, 90_000)

async function connect(
  slave: number,
  id = `d${++devices}`,
): Promise<{ id: string; key: Key; device: Device }> {
  const key = await makeKey(folder)
  await all.addDevice(id, key)
  const device = openDevice({ slave: of(all.slaves, slave), key })
  await device.port()
  return { id, key, device }
}

const lists = async (n: number, id: string): Promise<string | undefined> =>
  (await all.tunnels(n)).find(({ device }) => device === id)?.slave

test('both show the same masters, slaves and tunnels, whichever master a slave hangs on', async () => {
  for (const [n, { process }] of all.slaves.entries())
    expect((await process.logged('linked')).url).toBe(of(all.masters, HANGS_ON[n] ?? 0).url)
  const here = await Promise.all([0, 1, 2, 3].map((n) => connect(n)))
  await all.agreed(here.map(({ id }, n) => `${id} s${n + 1}`).sort())
  const [one, two] = await Promise.all([all.cluster(0), all.cluster(1)])
  const still = (view: typeof one) => ({
    ...view,
    masters: (view.masters as { id: string }[]).map(({ id }) => id),
    slaves: view.slaves.map((slave) => ({ ...slave, load: 0, uptimeSeconds: 0 })),
  })
  expect(still(two)).toEqual(still(one))
  expect(one.masters).toHaveLength(2)
  await Promise.all(here.map(({ device }) => device.stop(0)))
  await all.agreed([])
})

test('what happens at one master is seen at the other within 250 ms', async () => {
  const streams = await Promise.all(
    all.masters.map(async ({ url, adminToken }) => {
      const seen = new Map<string, number>()
      const stop = new AbortController()
      const response = await fetch(`${url}/cluster/events`, {
        headers: { authorization: `Bearer ${adminToken}` },
        signal: stop.signal,
      })
      const read = async (): Promise<void> => {
        for await (const chunk of response.body ?? []) {
          const text = Buffer.from(chunk as Uint8Array).toString()
          for (const [, device = ''] of text.matchAll(/event: tunnel\.up[^]*?"device":"([^"]+)"/g))
            if (!seen.has(device)) seen.set(device, performance.now())
        }
      }
      read().catch(() => {})
      return { seen, stop }
    }),
  )
  const ids: string[] = []
  for (let n = 0; n < 8; n++) {
    const { id, device } = await connect(n % 4)
    ids.push(id)
    await eventually(() => streams.every(({ seen }) => seen.has(id)), { message: `both tell of ${id}` })
    await device.stop(0)
  }
  for (const { stop } of streams) stop.abort()
  const [one, two] = streams.map(({ seen }) => seen)
  const between = ids.map((id) => Math.abs((one?.get(id) ?? 0) - (two?.get(id) ?? 0))).sort((a, b) => a - b)
  process.stdout.write(`ms between two masters' events: ${between.map(Math.round).join(' ')}\n`)
  // The machine of a test may pause for longer than that once; what Redis and two masters need does not.
  expect(of(between, between.length - 2)).toBeLessThan(250)
})

test.each([
  { asked: 0, slave: 0 },
  { asked: 0, slave: 1 },
  { asked: 1, slave: 0 },
  { asked: 1, slave: 1 },
])(
  'master $asked kicks, rechecks and forgets a key of a device on slave $slave',
  async ({ asked, slave }) => {
    const { id, key, device } = await connect(slave)
    await eventually(async () => expect(await lists(asked, id)).toBeDefined())
    expect((await all.api(asked, 'POST', `/devices/${id}/recheck`)).status).toBe(200)
    expect(device.exit).toBeUndefined()
    expect((await all.api(asked, 'POST', `/devices/${id}/kick`)).status).toBeLessThan(300)
    await device.exited
    const again = openDevice({ slave: of(all.slaves, slave), key })
    await again.port()
    await eventually(async () => expect(await lists(asked, id)).toBeDefined())
    const from = performance.now()
    const fingerprint = encodeURIComponent(key.fingerprint)
    const removed = await all.api(asked, 'DELETE', `/devices/${id}/keys/${fingerprint}`)
    expect(removed.status).toBeLessThan(300)
    await again.exited
    expect(performance.now() - from).toBeLessThan(2_000)
    const refused = openDevice({ slave: of(all.slaves, slave), key })
    await refused.exited
    expect(refused.output).toContain('not known')
    await eventually(async () => {
      expect(await lists(0, id)).toBeUndefined()
      expect(await lists(1, id)).toBeUndefined()
    })
  },
)

test('a device that moves between slaves of two masters takes over at once, both ways', async () => {
  const { id, key, device } = await connect(0)
  await eventually(async () => expect(await lists(1, id)).toBe('s1'))
  const second = openDevice({ slave: of(all.slaves, 1), key })
  await second.port()
  await device.exited
  expect(device.output).toContain('took over')
  await all.agreed([`${id} s2`])
  const third = openDevice({ slave: of(all.slaves, 2), key })
  await third.port()
  await second.exited
  await all.agreed([`${id} s3`])
  await third.stop(0)
  await all.agreed([])
})

test('200 slots over REST of two masters differ by at most one over four slaves', async () => {
  await eventually(async () =>
    expect((await all.cluster(0)).totals).toMatchObject({ tunnels: 0, reserved: 0 }),
  )
  await eventually(async () =>
    expect((await all.cluster(1)).totals).toMatchObject({ tunnels: 0, reserved: 0 }),
  )
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, n) =>
      callApi<{ slave: string }>({ url: of(all.masters, n % 2).url }, 'GET', '/connect'),
    ),
  )
  const counts = new Map<string, number>()
  for (const { status, body } of answers) {
    expect(status).toBe(200)
    counts.set(body.slave, (counts.get(body.slave) ?? 0) + 1)
  }
  const sorted = [...counts.values()].sort((a, b) => a - b)
  expect(sorted).toHaveLength(4)
  expect((sorted.at(-1) ?? 0) - (sorted[0] ?? 0)).toBeLessThanOrEqual(1)
})

test('a token that one master revokes opens nothing at the other', async () => {
  const made = await all.api<{ id: string; token: string }>(0, 'POST', '/tokens', {
    role: 'operator',
    label: 'x',
  })
  const { url } = of(all.masters, 1)
  const ask = async () => (await callApi({ url, token: made.body.token }, 'GET', '/cluster')).status
  expect(await ask()).toBe(200)
  expect((await all.api(0, 'DELETE', `/tokens/${made.body.id}`)).status).toBeLessThan(300)
  await eventually(async () => expect(await ask()).toBe(401))
})

test.each([0, 1])('master %i drains a slave that hangs on the other', async (asked) => {
  const slave = HANGS_ON.findIndex((master) => master !== asked)
  const { id, device } = await connect(slave)
  await eventually(async () => expect(await lists(asked, id)).toBeDefined())
  const name = of(all.slaves, slave).id
  const answer = await all.api<{ tunnels: number }>(asked, 'POST', `/cluster/slaves/${name}/drain`, {
    seconds: 1,
  })
  expect(answer).toMatchObject({ status: 202, body: { tunnels: 1 } })
  await device.exited
  for (const n of [0, 1])
    await eventually(async () => {
      const { slaves } = await all.cluster(n)
      expect(slaves.find(({ id }) => id === name)?.state).toBe('draining')
    })
})
