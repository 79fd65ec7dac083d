// `sshoal store accept` after Redis lost everything: what is there counts from then on, and that it knows nobody is still
// no order to cut anybody.
import { expect, test } from 'vitest'

import { eventually, makeFolder, makeKey, openDevice, runSshoal, type Device } from '../kit/index.ts'
import { of, startMasters } from '../kit/masters.ts'

test('after an empty store was accepted tunnels stay up, over masters that go and slaves that link anew, until a recheck names them; logins are refused', async () => {
  const all = await startMasters({ masters: 2, slaves: 2 })
  const folder = makeFolder()
  const devices = new Map<string, Device>()
  const keys = new Map<string, string>()
  for (const [id, slave] of [
    ['door', 0],
    ['roof', 1],
  ] as const) {
    const key = await makeKey(folder)
    await all.addDevice(id, key)
    keys.set(id, key.publicKey)
    const device = openDevice({ slave: of(all.slaves, slave), key })
    devices.set(id, device)
    await device.port()
  }
  await all.agreed(['door s1', 'roof s2'])
  await all.redis.restart({ empty: true })
  const code = async (n: number) => (await all.api<{ code?: string }>(n, 'GET', '/devices')).body.code
  await eventually(async () => expect(await code(0)).toBe('STORE_CHANGED'))
  const { url, dataDir } = of(all.masters, 0)
  const accepted = await runSshoal(['store', 'accept', '--yes', '--url', url, '--data', dataDir])
  expect(accepted.status).toBe(0)
  for (const n of [0, 1]) await eventually(async () => expect(await code(n)).toBeUndefined())
  expect((await all.api<{ devices: unknown[] }>(1, 'GET', '/devices')).body.devices).toEqual([])

  // Its slave goes to the other master, and hears there of a store that it does not know.
  await all.restartMaster(0)
  await all.agreed(['door s1', 'roof s2'])
  // An invalidation of the new store concerns whom it names.
  const stranger = await makeKey(folder)
  await all.addDevice('stranger', stranger)
  expect((await all.api(0, 'DELETE', '/devices/stranger')).status).toBeLessThan(300)
  await all.agreed(['door s1', 'roof s2'])
  for (const device of devices.values()) expect(device.exit).toBeUndefined()

  const rechecked = await all.api<{ cut: number }>(1, 'POST', '/recheck', { keys: [keys.get('roof')] })
  expect(rechecked).toMatchObject({ status: 200 })
  await devices.get('roof')?.exited
  await all.agreed(['door s1'])
  const again = openDevice({ slave: of(all.slaves, 1), key: stranger })
  await again.exited
  expect(again.output).toContain('Permission denied')
}, 90_000)
