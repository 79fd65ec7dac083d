// A device behind a network that swallows everything: no FIN, no RST, no ICMP. On plain ssh2 its socket stays in FIN-WAIT
// after the keepalive gave up, and its port stays bound; here both are gone with it.

import { readFileSync } from 'node:fs'

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
  visitFrom,
} from '../kit/index.ts'
import { startPlainSsh2 } from '../kit/plain-ssh2.ts'

test('T094, T150: a device that is cut off is cut by keepalive, its port is free and its socket gone in the same moment', async () => {
  const network = await createNetwork({ hosts: { server: ['10.78.0.1/24'], device: ['10.78.0.2/24'] } })
  const netns = network.netns('server')
  const master = await startMaster({ netns })
  const flags = ['--public-host', '10.78.0.1', '--keepalive', '1s', '--keepalive-max', '2']
  const slave = await startSlave({ master, id: 'slave-1', netns, flags, sshListen: '10.78.0.1:0' })
  const api = { url: master.url, token: master.adminToken, netns }
  const key = await makeKey(makeFolder())
  await callApi(api, 'POST', '/devices', { id: 'barn', keys: [key.publicKey] })
  const device = openDevice({
    slave,
    key,
    netns: network.netns('device'),
    options: ['-o', 'TCPKeepAlive=no'],
  })
  const port = await device.port()
  const tunnels = async () =>
    (await callApi<{ tunnels: unknown[] }>(api, 'GET', '/cluster/tunnels')).body.tunnels
  await eventually(async () => expect(await tunnels()).toHaveLength(1))

  await network.cut('device')
  const cutAt = performance.now()
  const down = await slave.process.logged('tunnel down')
  expect(down.reason).toBe('the device gave no sign of life')
  // interval × (max + 1), and at most one tick of the wheel.
  expect(performance.now() - cutAt).toBeGreaterThan(1_900)
  expect(performance.now() - cutAt).toBeLessThan(6_000)
  await expect(visitFrom(netns, { host: '127.0.0.1', port })).rejects.toThrow(/refused/)
  // The namespace's own table: nothing of this connection is left in any state but that of the kernel's last words.
  const sockets = readFileSync(`/proc/${slave.process.pid}/net/tcp`, 'latin1').split('\n').slice(1)
  const states = (end: RegExp) =>
    sockets.filter((line) => end.test(line)).map((line) => line.trim().split(/\s+/)[3])
  const sshPort = slave.port.toString(16).toUpperCase().padStart(4, '0')
  const forwardPort = port.toString(16).toUpperCase().padStart(4, '0')
  expect(states(new RegExp(`:${forwardPort} `))).toEqual([])
  expect(states(new RegExp(`:${sshPort} 02004E0A:`))).not.toContain('01')
  await eventually(async () => expect(await tunnels()).toEqual([]))

  // Back again: the same port, although the peer of before never said good-bye.
  await network.restore('device')
  const again = openDevice({ slave, key, netns: network.netns('device') })
  expect(await again.port()).toBe(port)
  expect(device.exit?.status ?? 255).toBe(255)
})

test('plain ssh2 gives such a device up and keeps its port', async () => {
  const network = await createNetwork({ hosts: { server: ['10.79.0.1/24'], device: ['10.79.0.2/24'] } })
  const plain = await startPlainSsh2({
    netns: network.netns('server'),
    address: '10.79.0.1',
    server: { keepaliveInterval: 1_000, keepaliveCountMax: 2 },
  })
  const device = openDevice({
    slave: plain,
    key: await makeKey(makeFolder()),
    netns: network.netns('device'),
  })
  const port = (await device.port()).toString(16).toUpperCase().padStart(4, '0')
  await network.cut('device')
  await plain.process.waitForOutput(/error: Keepalive timeout/)
  const listening = new RegExp(`:${port} 00000000:0000 0A `)
  expect(readFileSync(`/proc/${plain.process.pid}/net/tcp`, 'latin1')).toMatch(listening)
})
