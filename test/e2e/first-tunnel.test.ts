// The first tunnel, step by step: a device with its stock client, a visitor, and what the cluster shows.

import { expect, test } from 'vitest'

import {
  callApi,
  eventually,
  makeDropbearKey,
  makeFolder,
  makeKey,
  openDevice,
  openVisit,
  run,
  runSshoal,
  startCluster,
  startEcho,
  startHttp,
  visit,
} from '../kit/index.ts'

test.each(['openssh', 'dropbear'] as const)(
  'a device with stock %s is told its port, visitors reach its service, and the cluster shows it (T001, T002, T016, T020, T021, T023, T077)',
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

test('a device gets the same port again when it comes back (T075)', async () => {
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
  expect(await sshoal('device', 'add', 'barn', '--key', `${key.path}.pub`)).toMatchObject({ status: 0 })
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
