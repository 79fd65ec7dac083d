// How many leases there are, and what became of those that were.
import { Counter, Gauge, type Registry } from 'prom-client'

export interface LeaseMetrics {
  changes: Counter<'change'>
  refused: Counter<'code'>
  /** Whose size the gauge shows. */
  watch(leases: { readonly size: number }): void
}

export function createLeaseMetrics(registry: Registry): LeaseMetrics {
  const registers = [registry]
  let watched: { readonly size: number } = { size: 0 }
  const active: Gauge = new Gauge({
    name: 'sshoal_leases',
    help: 'Leases that stand',
    registers,
    collect() {
      active.set(watched.size)
    },
  })
  return {
    changes: new Counter({
      name: 'sshoal_lease_changes_total',
      help: 'Leases issued, extended, and ended by time, revocation or a newer one',
      labelNames: ['change'],
      registers,
    }),
    refused: new Counter({
      name: 'sshoal_lease_refusals_total',
      help: 'Leases that were asked for and not given, by reason',
      labelNames: ['code'],
      registers,
    }),
    watch: (leases) => {
      watched = leases
    },
  }
}
