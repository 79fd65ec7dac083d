// What a master counts, in the glossary's words. Whoever does the thing counts it; gauges are read when somebody looks.
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'

import type { Cluster } from './cluster/cluster.ts'

export interface MasterMetrics {
  registry: Registry
  /** `outcome`: given, no_slave, limited, unauthorized. */
  slots: Counter<'outcome'>
  /** `outcome`: known, refused, outage. */
  hookAnswers: Counter<'outcome'>
  hookSeconds: Histogram
  /** `code`: why. */
  refusals: Counter<'code'>
  events: Counter<'type'>
}

/** A registry of its own, so that several masters may live in one process. */
export function createMasterMetrics(cluster: Pick<Cluster, 'view'>): MasterMetrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const slaves = new Gauge({
    name: 'sshoal_slaves',
    help: 'Slaves by state',
    labelNames: ['state'],
    registers,
    collect() {
      // One look for all gauges of the cluster: they then fit together.
      const view = cluster.view()
      for (const state of ['ready', 'stale', 'draining'] as const)
        slaves.set({ state }, view.slaves.filter((slave) => slave.state === state).length)
      tunnels.set(view.totals.tunnels)
      reserved.set(view.totals.reserved)
      for (const gauge of [slaveTunnels, slaveLoad, slaveCapacity]) gauge.reset()
      for (const { id, tunnels, load, capacity } of view.slaves) {
        slaveTunnels.set({ slave: id }, tunnels)
        slaveLoad.set({ slave: id }, load)
        slaveCapacity.set({ slave: id }, capacity)
      }
    },
  })
  const tunnels = new Gauge({ name: 'sshoal_tunnels', help: 'Live tunnels', registers })
  const reserved = new Gauge({
    name: 'sshoal_slots_reserved',
    help: 'Slots given and not yet used',
    registers,
  })
  const perSlave = { labelNames: ['slave'] as const, registers }
  const slaveTunnels = new Gauge({
    name: 'sshoal_slave_tunnels',
    help: 'Live tunnels of a slave',
    ...perSlave,
  })
  const slaveLoad = new Gauge({
    name: 'sshoal_slave_load',
    help: 'Share of a core a slave is busy',
    ...perSlave,
  })
  const slaveCapacity = new Gauge({
    name: 'sshoal_slave_capacity',
    help: 'How many tunnels a slave takes',
    ...perSlave,
  })
  return {
    registry,
    slots: new Counter({
      name: 'sshoal_slots_total',
      help: 'Slots asked for, by outcome',
      labelNames: ['outcome'],
      registers,
    }),
    hookAnswers: new Counter({
      name: 'sshoal_hook_answers_total',
      help: 'Answers of the hook, by outcome',
      labelNames: ['outcome'],
      registers,
    }),
    hookSeconds: new Histogram({
      name: 'sshoal_hook_answer_seconds',
      help: 'How long the hook took, waiting included',
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
      registers,
    }),
    refusals: new Counter({
      name: 'sshoal_refusals_total',
      help: 'What devices were refused, by reason',
      labelNames: ['code'],
      registers,
    }),
    events: new Counter({
      name: 'sshoal_events_total',
      help: 'Events published, by type',
      labelNames: ['type'],
      registers,
    }),
  }
}
