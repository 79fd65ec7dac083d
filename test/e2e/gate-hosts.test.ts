// Host targets on machines with addresses of their own: what --dial covers is reached, the cluster itself never.

import { expect, test } from 'vitest'

import {
  callApi,
  createNetwork,
  eventually,
  makeFolder,
  makeKey,
  run,
  start,
  startMaster,
  startSlave,
} from '../kit/index.ts'

const EVERYWHERE = '0.0.0.0/0,::/0'
const LISTENING = ['--forward-address', '::', '--relay-listen', '7000', '--status-listen', '[::]:9100']

test('no slave dials the cluster’s own ports, on whichever machine and by whichever address or name', async () => {
  const network = await createNetwork({
    hosts: {
      master: ['10.77.0.1/24', 'fd77::1/64'],
      one: ['10.77.0.2/24', 'fd77::2/64'],
      two: ['10.77.0.3/24', 'fd77::3/64'],
      plain: ['10.77.0.4/24', 'fd77::4/64'],
    },
    names: {
      'two.test': '10.77.0.3',
      'gate.test': '10.77.0.4',
      'redis.test': '10.77.0.4',
      'master.test': '10.77.0.1',
    },
  })
  // A service address, as anycast has them: on `lo`, and no loopback.
  await network.exec('two', 'ip', ['addr', 'add', '10.99.0.3/32', 'dev', 'lo'])
  await network.exec('one', 'ip', ['route', 'add', '10.99.0.3', 'via', '10.77.0.3'])
  // The Redis of the master, and one that follows it, of which only the first one knows.
  const follows = ['--port', '6380', '--replicaof', '10.77.0.4', '6379']
  for (const more of [['--port', '6379'], follows]) {
    const words = [
      '--bind',
      '0.0.0.0',
      '--protected-mode',
      'no',
      '--save',
      '',
      '--dir',
      makeFolder(),
      ...more,
    ]
    await start('redis-server', words, { netns: network.netns('plain') }).waitForOutput(/Ready to accept/)
  }
  const master = await startMaster({
    netns: network.netns('master'),
    listen: '[::]:8080',
    flags: ['--insecure-http', '--gate-host', 'gate.test:2200', '--redis', 'redis://redis.test'],
  })
  const url = 'http://master.test:8080'
  const slaveOf = (host: string) =>
    startSlave({
      master: { ...master, url },
      id: host,
      netns: network.netns(host),
      sshListen: '[::]:2222',
      forwardPorts: { first: 20_000, last: 20_100 },
      flags: ['--dial', EVERYWHERE, ...LISTENING],
    })
  await Promise.all([slaveOf('one'), slaveOf('two')])
  for (const port of [22, 2_200, 2_222, 9_101])
    start('busybox', ['nc', '-ll', '-p', String(port), '-e', 'echo', 'a host'], {
      netns: network.netns('plain'),
    })

  const key = await makeKey(makeFolder())
  const netns = network.netns('master')
  const ok = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const answer = await callApi({ url, token: master.adminToken, netns }, method, path, body)
    if (answer.status >= 300) throw new Error(`${path}: ${JSON.stringify(answer.body)}`)
    return answer.body
  }
  await ok('POST', '/users', { email: 'ann@example.com', login: 'ann', keys: [key.publicKey] })
  let made = 0
  const visit = async (address: string, port: number): Promise<string> => {
    const name = `host-${++made}`
    await ok('POST', '/targets', { name, address, port })
    await ok('POST', '/grants', { user: 'ann', target: name })
    const settings = ['BatchMode=yes', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null']
    const flags = ['-F', 'none', '-i', key.path, ...settings.flatMap((setting) => ['-o', setting])]
    const words = [...flags, '-p', '2222', '-W', `${name}:22`, 'ann@10.77.0.2']
    const { stdout, stderr } = await run('ssh', words, { netns: network.netns('one') })
    return stdout + (/open failed: .*/.exec(stderr)?.[0] ?? '')
  }

  await eventually(async () => expect(await visit('10.77.0.4', 22)).toBe('a host\n'))
  const cluster: Record<string, number[]> = {
    // The other slave, by each of its addresses: devices and users, relay, forwards, status.
    '10.77.0.3': [2_222, 7_000, 20_000, 20_100, 9_100],
    'fd77::3': [2_222, 7_000, 20_050, 9_100],
    'FD77:0:0::3': [2_222],
    'two.test': [2_222, 7_000, 20_000, 9_100],
    '10.99.0.3': [2_222, 7_000],
    // Itself.
    '10.77.0.2': [2_222, 7_000, 20_000, 9_100],
    'fd77::2': [2_222],
    // The master, and the gate's own name, under which something else may stand before the slaves.
    '10.77.0.1': [8_080],
    'fd77::1': [8_080],
    'master.test': [8_080],
    '10.77.0.4': [2_200, 6_379, 6_380],
    'redis.test': [6_379],
  }
  for (const [address, ports] of Object.entries(cluster))
    for (const port of ports)
      expect(await visit(address, port), `${address} ${port}`).toMatch(/is not dialled from here/)
  // What only looks like one of them is a host like any other.
  expect(await visit('10.77.0.4', 2_222)).toBe('a host\n')
  expect(await visit('10.77.0.3', 9_101)).toMatch(/connection refused/)
})
