// What a newcomer meets: one command, three lines to copy, and a device's service is reachable.

import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import {
  callApi,
  eventually,
  makeDropbearKey,
  makeFolder,
  makeKey,
  masterReady,
  openDevice,
  openVisit,
  run,
  runSshoal,
  slaveReady,
  startCluster,
  startEcho,
  startHttp,
  startSshoal,
  takePorts,
  visit,
  type Sshoal,
} from '../kit/index.ts'

async function startUp(dataDir: string): Promise<Sshoal> {
  const ports = await takePorts()
  const range = `${ports.first}-${ports.last}`
  const listen = ['--listen', '127.0.0.1:0', '--ssh-listen', '127.0.0.1:0', '--forward-ports', range]
  return startSshoal(['up', '--data', dataDir, ...listen], { cwd: dataDir })
}

/** The lines that are meant to be copied: a command, alone on its line. */
function commands(output: string): string[] {
  return output
    .split('\n')
    .map((line) => line.trim().replace(/^\$ /, ''))
    .filter((line) => /^(npx |\.?\/?(node_modules\/\.)?bin\/)?(sshoal|ssh|curl) /.test(line))
}

test('`sshoal up` on a fresh folder says its address, where the tokens are, and three lines to copy', async () => {
  const dataDir = makeFolder()
  const up = await startUp(dataDir)
  const { url } = await masterReady(up)
  const slave = await slaveReady(up)
  for (const file of ['admin-token', 'slave-token']) {
    await up.waitForOutput(new RegExp(join(dataDir, file)))
    expect(existsSync(join(dataDir, file))).toBe(true)
    expect(statSync(join(dataDir, file)).mode & 0o777).toBe(0o600)
  }
  expect(up.stdout).toContain(url)
  const lines = await eventually(() => {
    const found = commands(up.stdout)
    expect(found).toHaveLength(3)
    return found
  })
  expect(lines.join('\n')).toMatch(/ssh .*-R 0:localhost:22/)
  expect(lines.join('\n')).toContain(String(slave.port))
})

test('a second `sshoal up` on the same folder is refused and says why', async () => {
  const dataDir = makeFolder()
  await masterReady(await startUp(dataDir))
  const second = await startUp(dataDir)
  expect((await second.exited).status).not.toBe(0)
  expect(second.output).toContain(dataDir)
})

test('the tokens stay the same when `sshoal up` is started again', async () => {
  const dataDir = makeFolder()
  const tokens = () => run('cat', [join(dataDir, 'admin-token'), join(dataDir, 'slave-token')])
  const first = await startUp(dataDir)
  await masterReady(first)
  const before = await tokens()
  expect(await first.stop()).toMatchObject({ status: 0 })
  await masterReady(await startUp(dataDir))
  expect((await tokens()).stdout).toBe(before.stdout)
})

test.each(['openssh', 'dropbear'] as const)(
  'a device with stock %s is told its port, visitors reach its service, and the cluster shows it',
  async (client) => {
    const cluster = await startCluster()
    const [slave] = cluster.slaves
    if (slave === undefined) throw new Error('no slave')
    const folder = makeFolder()
    const key = await (client === 'openssh' ? makeKey(folder) : makeDropbearKey(folder))
    await cluster.addDevice('barn', key)
    const events = await cluster.events()
    const web = await startHttp('hello from the barn\n')
    const echo = await startEcho({ whole: true })
    const forwards = [`0:localhost:${web.port}`, `0:localhost:${echo.port}`]
    const device = openDevice({ slave, key, client, forwards })
    const ports = [await device.port(), await device.port(1)] as const
    for (const port of ports) {
      expect(port).toBeGreaterThanOrEqual(slave.forwardPorts.first)
      expect(port).toBeLessThanOrEqual(slave.forwardPorts.last)
    }

    const page = await run('curl', ['-s', `http://127.0.0.1:${ports[0]}/`])
    expect(page.stdout).toBe('hello from the barn\n')
    const much = Buffer.alloc(1 << 20, 'sshoal')
    expect(much.equals(await visit({ host: '127.0.0.1', port: ports[1] }, much))).toBe(true)

    await events.next('tunnel.up', { device: 'barn', slave: slave.id })
    await eventually(async () => {
      const view = await cluster.cluster()
      expect(view.totals).toMatchObject({ slaves: 1, tunnels: 1 })
      expect(view.slaves).toMatchObject([{ id: slave.id, state: 'ready', tunnels: 1 }])
    })
    const [tunnel, ...others] = await cluster.tunnels()
    expect(others).toEqual([])
    expect(tunnel).toMatchObject({ device: 'barn', slave: slave.id, fingerprint: key.fingerprint })
    expect(tunnel?.forwards.map(({ port }) => port)).toEqual([...ports])

    await device.stop()
    await events.next('tunnel.down', { device: 'barn' })
    await eventually(async () => {
      expect(await cluster.tunnels()).toEqual([])
    })
    await expect(openVisit({ host: '127.0.0.1', port: ports[0] })).rejects.toThrow(/ECONNREFUSED/)
  },
)

test('a device gets the same port again when it comes back', async () => {
  const cluster = await startCluster()
  const [slave] = cluster.slaves
  if (slave === undefined) throw new Error('no slave')
  const key = await makeKey(makeFolder())
  await cluster.addDevice('barn', key)
  const first = openDevice({ slave, key })
  const port = await first.port()
  await first.stop()
  expect(await openDevice({ slave, key }).port()).toBe(port)
})

test('a key that nobody knows is refused and told its own fingerprint', async () => {
  const cluster = await startCluster()
  const [slave] = cluster.slaves
  if (slave === undefined) throw new Error('no slave')
  const key = await makeKey(makeFolder())
  const events = await cluster.events()
  const stranger = openDevice({ slave, key })
  expect((await stranger.exited).status).toBe(255)
  expect(stranger.output).toContain(key.fingerprint)
  expect(stranger.output).toContain('Permission denied')
  await events.next('device.refused')
  expect(await cluster.tunnels()).toEqual([])
})

test('the operator adds a device and sees its tunnel with the `sshoal` command alone', async () => {
  const cluster = await startCluster()
  const [slave] = cluster.slaves
  if (slave === undefined) throw new Error('no slave')
  const folder = makeFolder()
  const key = await makeKey(folder)
  const env = { SSHOAL_URL: cluster.master.url, SSHOAL_TOKEN: cluster.master.adminToken }
  const sshoal = (...args: string[]) => runSshoal(args, { env, cwd: folder })
  expect(await sshoal('device', 'add', 'barn', `${key.path}.pub`)).toMatchObject({ status: 0 })
  await openDevice({ slave, key }).port()
  await eventually(async () => {
    expect((await sshoal('tunnels')).stdout).toContain('barn')
  })
  expect((await sshoal('cluster')).stdout).toContain(slave.id)
  const asJson = await sshoal('tunnels', '--json')
  expect(JSON.parse(asJson.stdout)).toMatchObject({ tunnels: [{ device: 'barn', slave: slave.id }] })
})

test('nobody reads the cluster without a token', async () => {
  const { master } = await startCluster()
  for (const token of [undefined, 'wrong', `${master.adminToken}x`]) {
    const answer = await callApi({ url: master.url, token }, 'GET', '/cluster')
    expect(answer).toMatchObject({ status: 401, body: { code: expect.any(String) } })
  }
})
