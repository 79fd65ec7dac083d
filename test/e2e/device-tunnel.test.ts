// The device script with every shell, SSH client and HTTP client it is made for, against a real cluster.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { beforeAll, describe, expect, test } from 'vitest'

import { startDeviceScript, type Machine } from '../kit/device-script.ts'
import {
  eventually,
  makeDropbearKey,
  makeFolder,
  makeKey,
  startCluster,
  startHttp,
  visit,
  run,
  type Cluster,
  type Key,
} from '../kit/index.ts'
import { makeCertificate, startTlsFront, type Certificate } from '../kit/tls.ts'

let cluster: Cluster
let certificate: Certificate
let secure: string
let pinned: string
let devices = 0

beforeAll(async () => {
  cluster = await startCluster()
  certificate = await makeCertificate(makeFolder())
  secure = await startTlsFront(cluster.master.url, certificate)
  const [slave] = cluster.slaves
  const scanned = await run('ssh-keyscan', ['-p', String(slave?.port), '127.0.0.1'])
  pinned = join(makeFolder(), 'known_hosts')
  writeFileSync(pinned, scanned.stdout)
})

/** A device that the cluster knows, with its key. */
async function enrol(client: Machine['client'] = 'openssh'): Promise<{ id: string; key: Key }> {
  const key = await (client === 'openssh' ? makeKey : makeDropbearKey)(makeFolder())
  const id = `device-${++devices}`
  await cluster.addDevice(id, key)
  return { id, key }
}

describe.each([
  { shell: 'dash', client: 'openssh', fetcher: 'curl' },
  { shell: 'dash', client: 'dropbear', fetcher: 'wget' },
  { shell: 'ash', client: 'openssh', fetcher: 'wget' },
  { shell: 'ash', client: 'dropbear', fetcher: 'curl' },
  { shell: 'ash', client: 'dropbear', fetcher: 'busybox wget' },
] as const)('under $shell, with $client and $fetcher', (machine) => {
  test('it opens a tunnel through which a visitor reaches the service, and ends it at SIGTERM', async () => {
    const { id, key } = await enrol(machine.client)
    const web = await startHttp(`hello from ${id}\n`)
    const trust =
      machine.fetcher === 'busybox wget'
        ? ['--master', cluster.master.url, '--known-hosts', pinned]
        : ['--master', secure, '--ca', certificate.path]
    const args = [...trust, '--forward', `0:localhost:${web.port}`]
    const device = startDeviceScript({ ...machine, key, args })
    const [, port] = await device.waitForOutput(/the tunnel is up on .*; its ports there: (\d+)/)
    expect((await visit({ host: '127.0.0.1', port: Number(port) }, 'GET / HTTP/1.0\r\n\r\n')).toString()).toContain(
      `hello from ${id}`,
    )
    const { status, stdout } = await device.status()
    expect(stdout).toMatch(new RegExp(`running: +yes[^]*tunnel: +up since 2[^]*ports there: +${port}[^]*last error: +none`))
    expect(stdout).toContain(key.wire)
    expect(status).toBe(0)
    device.signal('SIGTERM')
    expect(await device.exited).toEqual({ status: 0, signal: null })
    await eventually(async () => expect((await cluster.tunnels()).map(({ device }) => device)).not.toContain(id))
    expect(await device.status()).toMatchObject({ status: 3, stdout: expect.stringMatching(/running: +no/) })
  })
})
