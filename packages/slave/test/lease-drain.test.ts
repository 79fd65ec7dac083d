import { expect, test } from 'vitest'

import { drainTunnels } from '../src/drain.ts'
import { SlaveMetrics } from '../src/metrics.ts'
import { LiveTunnel } from '../src/tunnel.ts'
import { Visits } from '../src/visits.ts'
import { fakeSsh, log, makeTunnel, makeTunnels, until } from './fixture.ts'

test('a drain moves devices away at once and leaves leases until its time is over', async () => {
  const { tunnels } = makeTunnels()
  const device = makeTunnel('a')
  const lease = fakeSsh()
  tunnels.up(device.tunnel)
  tunnels.up(
    new LiveTunnel({
      holder: { project: 'default', device: 'a', lease: 'l' },
      epoch: 1,
      fingerprint: 'SHA256:l',
      remoteAddress: '192.0.2.1',
      details: undefined,
      connection: lease.ssh,
      visits: new Visits(10, new SlaveMetrics(), log),
    }),
  )
  const begin = performance.now()
  const draining = drainTunnels(tunnels, 800)
  await until(() => device.told.length === 1)
  expect(performance.now() - begin).toBeLessThan(700)
  expect([lease.told, tunnels.size]).toEqual([[], 1])
  await draining.done
  expect(performance.now() - begin).toBeGreaterThanOrEqual(795)
  expect(lease.told).toEqual(['sshoal: this slave is being drained; ask the master for another'])
})
