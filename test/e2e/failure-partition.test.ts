// A slave that the network cuts off from the masters, with its devices on its side: it goes on alone, and when the cable is
// back the epochs decide who holds a tunnel.
import { expect, test } from 'vitest'

import {
  callApi,
  createNetwork,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  startMaster,
  startSlave,
  takePorts,
  type Device,
  type Key,
} from '../kit/index.ts'
import { start } from '../kit/process.ts'

test('a slave behind a cut cable lets known devices in up to the stale limit, and on its return the newest connection of each wins', async () => {
  const folder = makeFolder()
  const network = await createNetwork({
    hosts: { core: ['10.77.0.1/24'], edge: ['10.77.0.2/24'] },
  })
  const core = network.netns('core')
  const edge = network.netns('edge')
  const { first: redisPort } = await takePorts(1)
  const redis = start(
    'redis-server',
    [
      '--port',
      String(redisPort),
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'yes',
      '--dir',
      folder,
    ],
    {
      netns: core,
      cwd: folder,
    },
  )
  await redis.waitForOutput(/Ready to accept connections/)
  const flags = [
    '--redis',
    `redis://127.0.0.1:${redisPort}`,
    '--insecure-http',
    '--cache-ttl',
    '1s',
    '--stale-limit',
    '25s',
  ]
  const masters = await Promise.all(
    [0, 1].map(() => startMaster({ flags, listen: '10.77.0.1:0', netns: core })),
  )
  const [one, two] = masters
  if (!one || !two) throw new Error('no masters')
  const ask = <T>(master: typeof one, method: string, path: string, body?: unknown) =>
    callApi<T>({ url: master.url, token: master.adminToken, netns: core }, method, path, body)
  const both = { url: `${one.url},${two.url}`, slaveTokenFile: one.slaveTokenFile }
  const far = await startSlave({
    master: both,
    id: 'far',
    netns: edge,
    sshListen: '10.77.0.2:0',
    flags: ['--status-listen', '10.77.0.2:0'],
  })
  const near = await startSlave({
    master: both,
    id: 'near',
    netns: core,
    sshListen: '10.77.0.1:0',
    flags: ['--status-listen', '10.77.0.1:0'],
  })
  const keys = new Map<string, Key>()
  for (const id of ['stays', 'comes', 'leaves', 'returns']) {
    const key = await makeKey(folder)
    keys.set(id, key)
    expect((await ask(one, 'POST', '/devices', { id, keys: [key.publicKey] })).status).toBe(201)
  }
  const connect = async (id: string, slave: typeof far, netns: string): Promise<Device> => {
    const key = keys.get(id)
    if (!key) throw new Error(`no key of ${id}`)
    const device = openDevice({ slave, key, netns })
    await device.port()
    return device
  }
  const shown = async (): Promise<string[][]> =>
    Promise.all(
      masters.map(async (master) => {
        const { body } = await ask<{ tunnels: { device: string; slave: string }[] }>(
          master,
          'GET',
          '/cluster/tunnels',
        )
        return body.tunnels.map(({ device, slave }) => `${device} ${slave}`).sort()
      }),
    )
  const bothShow = (expected: string[], within = 20_000) =>
    eventually(async () => expect(await shown()).toEqual([expected, expected]), { within })

  const stays = await connect('stays', far, edge)
  const first = await connect('comes', far, edge)
  await first.stop(0)
  const leaves = await connect('leaves', far, edge)
  const returns = await connect('returns', far, edge)
  await bothShow(['leaves far', 'returns far', 'stays far'])

  await network.cut('edge')
  // Silence is noticed, then the grace runs out.
  await bothShow([])
  // Who is known gets in on the far side, also long after its cached answer has ended.
  const comes = await connect('comes', far, edge)
  expect(stays.exit).toBeUndefined()
  // One device is seen on the near side meanwhile; another too, and goes back to the far side later.
  const moved = await connect('leaves', near, core)
  const away = await connect('returns', near, core)
  await returns.stop(0)
  const back = await connect('returns', far, edge)
  await bothShow(['leaves near', 'returns near'])

  await network.restore('edge')
  await leaves.exited
  await away.exited
  await bothShow(['comes far', 'leaves near', 'returns far', 'stays far'], 30_000)
  for (const device of [stays, comes, moved, back]) expect(device.exit).toBeUndefined()
  // What the masters show is what the slaves hold.
  const holds = async ({ statusUrl }: typeof far): Promise<number> =>
    (await callApi<{ tunnels: number }>({ url: statusUrl, netns: core }, 'GET', '/healthz')).body.tunnels
  expect([await holds(far), await holds(near)]).toEqual([3, 1])
  const held = await callApi<{ tunnels: number }>({ url: far.statusUrl, netns: edge }, 'GET', '/healthz')
  expect(held.body.tunnels).toBe(3)

  // Past the stale limit nobody who has to be asked about is let in.
  await network.cut('edge')
  await comes.stop(0)
  await eventually(
    async () => {
      const key = keys.get('comes')
      if (!key) throw new Error('no key')
      const late = openDevice({ slave: far, key, netns: edge })
      await Promise.race([late.exited, late.port().catch(() => {})])
      const refused = late.output.includes('try again later')
      await late.stop(0)
      return refused
    },
    { within: 45_000, every: 2_000 },
  )
  expect(stays.exit).toBeUndefined()
}, 180_000)
