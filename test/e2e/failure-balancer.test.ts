// haproxy in front of the masters reloads its configuration: the links that it carried end, and nobody is told of it.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import {
  eventually,
  followEvents,
  makeFolder,
  makeKey,
  openDevice,
  start,
  startEcho,
  openVisit,
} from '../kit/index.ts'
import { of, startMasters, type Masters } from '../kit/masters.ts'
import { takePorts } from '../kit/port.ts'

test('a balancer that reloads in front of two masters: slaves link anew, no tunnel drops or is shown as lost', async () => {
  const folder = makeFolder()
  const config = join(folder, 'haproxy.cfg')
  const { first: port } = await takePorts(1)
  let masters: Masters['masters'] = []
  const write = (): void => {
    const servers = masters.map(({ url }, n) => `  server m${n} ${new URL(url).host} check inter 500ms`)
    writeFileSync(
      config,
      [
        'global',
        // The old process lets go of what it carries at once, as in a reload with a deadline.
        '  hard-stop-after 100ms',
        'defaults',
        '  mode http',
        '  timeout connect 2s',
        '  timeout client 60s',
        '  timeout server 60s',
        '  timeout tunnel 1h',
        'frontend all',
        `  bind 127.0.0.1:${port}`,
        '  default_backend masters',
        'backend masters',
        '  balance roundrobin',
        ...servers,
        '',
      ].join('\n'),
    )
  }
  let balancer: ReturnType<typeof start> | undefined
  const all = await startMasters({
    masters: 2,
    slaves: 2,
    urls: (_n, made) => {
      if (!balancer) {
        masters = made
        write()
        balancer = start('haproxy', ['-W', '-db', '-f', config])
      }
      return `http://127.0.0.1:${port}`
    },
  })
  const echo = await startEcho()
  const devices = await Promise.all(
    [0, 1].map(async (n) => {
      const key = await makeKey(folder)
      await all.addDevice(`d${n}`, key)
      const device = openDevice({ slave: of(all.slaves, n), key, forwards: [`0:localhost:${echo.port}`] })
      await device.port()
      return device
    }),
  )
  const tunnels = await all.agreed(['d0 s1', 'd1 s2'])
  const events = await Promise.all(
    all.masters.map(({ url, adminToken }) => followEvents({ url, token: adminToken })),
  )
  const links = (): number =>
    all.slaves.reduce(
      (sum, { process }) => sum + process.logs.filter(({ msg }) => msg === 'linked').length,
      0,
    )
  for (let reload = 0; reload < 3; reload++) {
    const before = links()
    balancer?.signal('SIGUSR2')
    await eventually(() => expect(links()).toBeGreaterThanOrEqual(before + 2), { within: 15_000 })
    for (const n of [0, 1]) expect(await all.tunnels(n)).toHaveLength(2)
  }
  expect(await all.agreed()).toEqual(tunnels)
  for (const device of devices) {
    const visit = await openVisit({ host: '127.0.0.1', port: await device.port() })
    visit.send('hello')
    expect((await visit.receive(5)).toString()).toBe('hello')
    visit.close()
    expect(device.exit).toBeUndefined()
  }
  const lost = events.flatMap(({ list }) =>
    list.filter(({ type }) => type === 'tunnel.down' || type === 'slave.lost'),
  )
  expect(lost).toEqual([])
}, 90_000)
