// A device that has IPv6 and nothing else, and visitors of both kinds.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import {
  callApi,
  createNetwork,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  start,
  startMaster,
  startSlave,
  visitFrom,
  type TunnelView,
} from '../kit/index.ts'

test('an IPv6-only device asks for a slot, opens its tunnel and is visited over IPv4 and IPv6', async () => {
  const network = await createNetwork({
    hosts: {
      server: ['10.77.0.1/24', 'fd77::1/64'],
      device: ['fd77::2/64'],
      visitor: ['10.77.0.3/24', 'fd77::3/64'],
    },
  })
  const netns = network.netns('server')
  const folder = makeFolder()
  const key = await makeKey(folder)
  // Both listen on all addresses of both families.
  const master = await startMaster({ netns, listen: '[::]:8080', flags: ['--insecure-http'] })
  await startSlave({
    master: { ...master, url: 'http://[fd77::1]:8080' },
    id: 'slave-1',
    netns,
    sshListen: '[::]:2222',
    flags: ['--forward-address', '::'],
  })
  const api = { url: 'http://[fd77::1]:8080', token: master.adminToken, netns }
  expect(await callApi(api, 'POST', '/devices', { id: 'barn', keys: [key.publicKey] })).toMatchObject({
    status: 201,
  })

  const wget = ['wget', '-q', '-O', '-', 'http://[fd77::1]:8080/connect?format=text']
  const slot = await eventually(async () => {
    const { status, stdout } = await network.exec('device', 'busybox', wget)
    return status === 0 ? stdout : false
  })
  const [first = '', ...knownHosts] = slot.trimEnd().split('\n')
  expect(first).toBe('fd77::1 2222')
  expect(knownHosts.join()).toMatch(/^fd77::1 ssh-ed25519 /)

  writeFileSync(join(folder, 'index.html'), 'over IPv6\n')
  start('busybox', ['nc', '-ll', '-p', '7', '-e', 'cat'], { netns: network.netns('device') })
  const device = openDevice({
    slave: { host: 'fd77::1', port: 2222 },
    key,
    knownHosts,
    forwards: ['0:[::1]:7'],
    netns: network.netns('device'),
  })
  const port = await device.port()
  for (const host of ['10.77.0.1', 'fd77::1'])
    expect((await visitFrom(network.netns('visitor'), { host, port }, 'hello')).toString()).toBe('hello')
  const [tunnel] = await eventually(async () => {
    const { body } = await callApi<{ tunnels: TunnelView[] }>(api, 'GET', '/cluster/tunnels')
    return body.tunnels.length === 1 ? body.tunnels : false
  })
  expect(tunnel).toMatchObject({ device: 'barn', remoteAddress: 'fd77::2', host: 'fd77::1' })
  expect(tunnel?.forwards[0]).toMatchObject({ address: `[fd77::1]:${port}` })
})
