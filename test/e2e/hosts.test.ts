// The README's pages for several machines, command by command as they stand there, on machines with addresses of
// their own. What a person replaces (a key, a port, a file carried over) the test replaces too, and nothing else.

import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import {
  createNetwork,
  eventually,
  start,
  type ClusterView,
  type Network,
  type TunnelView,
} from '../kit/index.ts'
import { makeHome, type Home } from '../kit/machine.ts'
import { commandBlocks } from '../kit/page.ts'

const readme = commandBlocks('README.md')

/** A device as small as they come: OpenSSH's client and busybox. */
const SMALL = {
  ssh: '/usr/bin/ssh',
  'ssh-keygen': '/usr/bin/ssh-keygen',
  ...Object.fromEntries(['wget', 'sed', 'cat'].map((name) => [name, '/usr/bin/busybox'])),
}

const KEY = 'ssh-ed25519 AAAA… root@barn'

function blocks(section: string, count: number): string[] {
  const found = readme[section] ?? []
  expect({ section, count: found.length }).toEqual({ section, count })
  return found
}

async function typed(home: Home, line: string): Promise<string> {
  const { status, stdout, stderr } = await home.type(line)
  expect({ line, status, stderr }).toMatchObject({ line, status: 0 })
  return stdout
}

/** A device with a web page on its own port 80, as the README has it. */
async function makeDevice(network: Network): Promise<Home> {
  const device = makeHome({ netns: network.netns('device'), programs: SMALL })
  writeFileSync(join(device.folder, 'index.html'), 'hello from the barn\n')
  const args = ['httpd', '-f', '-p', '127.0.0.1:80', '-h', device.folder]
  start('busybox', args, { netns: network.netns('device') })
  return device
}

test('every command of the README is run by a test', () => {
  expect(Object.fromEntries(Object.entries(readme).map(([name, list]) => [name, list.length]))).toEqual({
    // first-readme.test.ts
    'The first run': 2,
    // here
    'A device somewhere else': 5,
    'More machines': 3,
    Operate: 1,
  })
})

test('a device somewhere else: a server, a device with ssh and busybox, a visitor', async () => {
  const network = await createNetwork({
    hosts: { server: ['10.77.0.1/24'], device: ['10.77.0.2/24'], visitor: ['10.77.0.3/24'] },
    names: { 'sshoal.example.com': '10.77.0.1' },
  })
  const server = makeHome({ netns: network.netns('server') })
  const device = await makeDevice(network)
  const [up, makeKey, addDevice, openTunnel, use] = blocks('A device somewhere else', 5)
  const running = server.startTyping(up ?? '')
  await running.waitForOutput(/sshoal is up/)

  const key = (await typed(device, makeKey ?? '')).trim()
  expect(key).toMatch(/^ssh-ed25519 /)
  expect(addDevice).toContain(KEY)
  await typed(server, (addDevice ?? '').replace(KEY, key))
  const tunnel = device.startTyping(openTunnel ?? '')
  const [, port = ''] = await tunnel.waitForOutput(/Allocated port (\d+) for remote forward to localhost:80/)
  expect(use).toContain(':20417')
  const page = await network.exec('visitor', 'bash', ['-c', (use ?? '').replace('20417', port)])
  expect(page.stdout).toBe('hello from the barn\n')

  // What the operator then looks at.
  const [operate = ''] = blocks('Operate', 1)
  const shown = await Promise.all(operate.split('\n').map((line) => typed(server, line)))
  expect(shown[0]).toContain('ready')
  expect(shown[1]).toContain('barn')
  expect(shown[1]).toContain(port)
  expect(shown[2]).toContain('barn')
  expect(shown[4]).toContain('tunnel.up')
  // Nothing was typed that could have been believed without the host key.
  expect(readFileSync(join(device.folder, 'known_hosts'), 'utf8')).toMatch(
    /^sshoal\.example\.com ssh-ed25519 /,
  )
  // A stranger's host key stops the device.
  const impostor = device.startTyping(
    (openTunnel ?? '').replace(
      'sed 1d slot > known_hosts',
      `echo "sshoal.example.com $(cat barn.pub)" > known_hosts`,
    ),
  )
  expect((await impostor.exited).status).toBe(255)
  expect(impostor.output).toMatch(/host key/i)
}, 120_000)

test('master and slaves on machines of their own: devices are sent to the slaves, visitors reach them there', async () => {
  const network = await createNetwork({
    hosts: {
      server: ['10.77.0.1/24'],
      rack: ['10.77.0.2/24'],
      device: ['10.77.0.3/24'],
      visitor: ['10.77.0.4/24'],
    },
    names: { 'sshoal.example.com': '10.77.0.1' },
  })
  const server = makeHome({ netns: network.netns('server') })
  const rack = makeHome({ netns: network.netns('rack') })
  const device = await makeDevice(network)
  const [master, makeToken, slaves] = blocks('More machines', 3)
  const [, makeKey, addDevice, openTunnel] = blocks('A device somewhere else', 5)
  const running = server.startTyping(master ?? '')
  await running.waitForOutput(/master ready/)
  await typed(server, makeToken ?? '')
  copyFileSync(join(server.folder, 'slave-token'), join(rack.folder, 'slave-token'))
  const workers = rack.startTyping(slaves ?? '')
  const view = async () => JSON.parse(await typed(server, 'bin/sshoal cluster --json')) as ClusterView
  const { slaves: listed } = await eventually(
    async () => {
      const seen = await view()
      expect(seen.slaves.map(({ state }) => state)).toEqual(['ready', 'ready'])
      return seen
    },
    { within: 30_000, every: 500 },
  )
  expect(listed.map(({ publicHost, publicPort }) => `${publicHost}:${publicPort}`).sort()).toEqual([
    '10.77.0.2:2222',
    '10.77.0.2:2223',
  ])
  const key = (await typed(device, makeKey ?? '')).trim()
  await typed(server, (addDevice ?? '').replace(KEY, key))
  const tunnel = device.startTyping(openTunnel ?? '')
  await tunnel.waitForOutput(/Allocated port \d+ for remote forward to localhost:80/)
  const { tunnels } = JSON.parse(await typed(server, 'bin/sshoal tunnels --json')) as {
    tunnels: TunnelView[]
  }
  const [address = ''] = tunnels.flatMap(({ forwards }) => forwards.map(({ address }) => address))
  expect(address).toMatch(/^10\.77\.0\.2:\d+$/)
  expect((await network.exec('visitor', 'curl', ['-s', `http://${address}/`])).stdout).toBe(
    'hello from the barn\n',
  )

  // The master goes; the tunnel stays, and is in the view again when the master is back.
  running.signal('SIGKILL')
  await running.exited
  expect((await network.exec('visitor', 'curl', ['-s', `http://${address}/`])).stdout).toBe(
    'hello from the barn\n',
  )
  const again = server.startTyping(master ?? '')
  await again.waitForOutput(/master ready/)
  await eventually(
    async () => {
      expect((await view()).totals).toMatchObject({ slaves: 2, tunnels: 1 })
    },
    { within: 30_000, every: 500 },
  )
  expect(tunnel.exit).toBeUndefined()
  expect(workers.exit).toBeUndefined()
}, 150_000)
