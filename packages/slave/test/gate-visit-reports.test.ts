import type { VisitReport } from '@sshoal/shared'
import { expect, test } from 'vitest'

import { VisitReports } from '../src/gate/visit-reports.ts'
import { SlaveMetrics } from '../src/metrics.ts'
import { log } from './fixture.ts'

function report(id: string, ended = false): VisitReport {
  return {
    id,
    project: 'default',
    user: 'u-1',
    login: 'ann',
    fingerprint: 'SHA256:x',
    remoteAddress: '198.51.100.4',
    target: 'pi',
    port: 22,
    grant: 'g-1',
    startedAt: 1,
    ...(ended ? { ended: { at: 2, bytesToTarget: 0, bytesFromTarget: 0, reason: 'finished' } } : {}),
  }
}

test('without a master the newest ten thousand visits wait, and what is dropped is counted', async () => {
  const metrics = new SlaveMetrics()
  const told: VisitReport[] = []
  const link = {
    linked: false,
    send: () => {},
    request: (_type: string, { reports }: { reports: VisitReport[] }) => {
      told.push(...reports)
      return Promise.resolve({})
    },
  }
  const reports = new VisitReports({ link: link as never, metrics, log })
  for (let n = 0; n < 10_005; n++) reports.send(report(`v-${n}`))
  // An end takes the place of its begin, and is as new as any.
  reports.send(report('v-5', true))
  reports.send(report('v-10005'))
  expect(reports.waiting).toBe(10_000)
  expect((await metrics.visitReportsDropped.get()).values[0]?.value).toBe(6)
  link.linked = true
  reports.flush()
  // Being told, it is not told a second time.
  reports.flush()
  expect(told).toHaveLength(10_000)
  expect(told.filter(({ id }) => id === 'v-5')).toMatchObject([{ ended: { reason: 'finished' } }])
  await new Promise((resolve) => setImmediate(resolve))
  expect(reports.waiting).toBe(0)
  reports.close()
})
