// The kit's network: hosts with addresses of their own, cut off and restored.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, expect, test } from 'vitest'

import {
  callApi,
  createNetwork,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  run,
  start,
  startSshd,
  visitFrom,
} from '../kit/index.ts'

describe('a network of namespaces', () => {
  const hosts = {
    server: ['10.77.0.1/24', 'fd77::1/64'],
    device: ['fd77::2/64'],
    visitor: ['10.77.0.3/24', 'fd77::3/64'],
  }
  const ping = ['ping', '-c', '1', '-W', '1']

  test('lets hosts reach each other by IPv4 and IPv6, and is gone afterwards', async () => {
    const network = await createNetwork({ hosts })
    expect(await network.exec('visitor', 'busybox', [...ping, '10.77.0.1'])).toMatchObject({ status: 0 })
    expect(await network.exec('device', 'busybox', [...ping, 'fd77::1'])).toMatchObject({ status: 0 })
    expect(await network.exec('device', 'busybox', [...ping, '10.77.0.1'])).not.toMatchObject({ status: 0 })
    const outside = await run('ip', ['-o', 'link'])
    expect(outside.stdout).not.toMatch(/ port\d|02:00:00:00:00:1/)
    const held = start('sleep', ['1000'], { netns: network.netns('device') })
    await network.remove()
    expect((await run('ip', ['netns', 'list'])).stdout).not.toContain(network.netns('device'))
    await held.exited
  })

  test('carries a tunnel that hangs while its device is cut off, and goes on when it is back', async () => {
    const network = await createNetwork({ hosts })
    const folder = makeFolder()
    const key = await makeKey(folder)
    const config = ['GatewayPorts yes']
    const server = network.netns('server')
    await startSshd(folder, { authorized: [key], host: '::', port: 22, netns: server, config })
    start('busybox', ['nc', '-ll', '-p', '7', '-e', 'cat'], { netns: network.netns('device') })
    const device = openDevice({
      slave: { host: 'fd77::1', port: 22 },
      key,
      username: 'root',
      forwards: ['[::]:0:[::1]:7'],
      netns: network.netns('device'),
    })
    const to = { host: '10.77.0.1', port: await device.port() }
    const visitor = network.netns('visitor')
    expect((await visitFrom(visitor, to, 'hello')).toString()).toBe('hello')
    await network.cut('device')
    expect(await network.exec('device', 'busybox', [...ping, 'fd77::1'])).not.toMatchObject({ status: 0 })
    const carrier = await network.exec('device', 'cat', ['/sys/class/net/eth0/carrier'])
    expect(carrier.stdout).toBe('1\n')
    const waiting = visitFrom(visitor, to, 'still there?')
    await network.restore('device')
    expect((await waiting).toString()).toBe('still there?')
    expect(device.exit).toBeUndefined()
  })

  test('has REST asked from one of its hosts', async () => {
    const network = await createNetwork({ hosts })
    const folder = makeFolder()
    writeFileSync(join(folder, 'thing.json'), '{"seen":true}')
    const args = ['httpd', '-f', '-p', '10.77.0.1:80', '-h', folder]
    start('busybox', args, { netns: network.netns('server') })
    const api = { url: 'http://10.77.0.1', netns: network.netns('visitor') }
    const found = await eventually(() => callApi(api, 'GET', '/thing.json'))
    expect(found).toMatchObject({ status: 200, body: { seen: true } })
    expect(found.headers.get('content-length')).toBe('13')
    expect(await callApi(api, 'GET', '/nothing')).toMatchObject({ status: 404 })
  })

  test('moves a host to other addresses', async () => {
    const network = await createNetwork({ hosts })
    await network.readdress('device', ['10.77.0.9/24'])
    expect(await network.exec('visitor', 'busybox', [...ping, '10.77.0.9'])).toMatchObject({ status: 0 })
    expect(await network.exec('visitor', 'busybox', [...ping, 'fd77::2'])).not.toMatchObject({ status: 0 })
  })
})
