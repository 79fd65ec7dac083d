// What a slave says that has no socket left for the gate: tunnels have theirs set aside, and users and relays get the rest.
import { silentLog } from '@sshoal/shared'
import { expect, test } from 'vitest'

import { GateSockets } from '../src/gate/gate-sockets.ts'
import { GateVisit } from '../src/gate/gate-visit.ts'
import { reachHost } from '../src/gate/reach-host.ts'
import { reachRelay } from '../src/gate/reach-relay.ts'
import { RelayPool } from '../src/gate/relay-pool.ts'
import { Keepalive } from '../src/keepalive.ts'
import { SlaveMetrics } from '../src/metrics.ts'
import { testKey } from './gate-fixture.ts'

const metrics = new SlaveMetrics()
const full = new GateSockets(0, metrics)

test('a host is not dialled, and the person is told why', async () => {
  const dialer = { dials: true, dial: () => Promise.reject(new Error('dialled')) }
  const to = { address: '198.51.100.9', port: 22 }
  expect(await reachHost({ dialer: dialer as never, sockets: full, metrics }, 'db', to)).toEqual({
    outcome: 'refused',
    refusal: { code: 'GATE_FULL', reason: 'this slave has no socket left' },
  })
})

test('no connection to another slave is made, and the person is told why', async () => {
  const keepalive = new Keepalive()
  const { privateKey, publicKey } = testKey()
  const pool = new RelayPool({
    self: 's1',
    privateKey: () => privateKey,
    software: 'test',
    keepalive,
    sockets: full,
    metrics,
    log: silentLog(),
  })
  const question = {
    project: 'default',
    user: 'u-1',
    fingerprint: 'SHA256:x',
    target: 'pi',
    port: 22,
    remoteAddress: '198.51.100.4',
  }
  const visit = new GateVisit({ question, login: 'ada', whyGone: () => undefined })
  const carrier = { slave: 's2', relay: { host: '127.0.0.1', port: 1, hostKeys: [publicKey] } }
  const to = { kind: 'device', project: 'default', device: 'pi' } as const
  const grant = { outcome: 'granted', target: 'pi', grant: 'g1', to, carrier } as const
  const reached = await reachRelay(pool, 's1', visit, grant)
  expect(reached).toMatchObject({
    outcome: 'refused',
    refusal: { code: 'CARRIER_UNREACHABLE', reason: expect.stringContaining('no socket left') as string },
  })
  expect(pool.size).toBe(0)
  pool.close()
  keepalive.close()
})
