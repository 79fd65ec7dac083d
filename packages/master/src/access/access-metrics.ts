// What users asked for at the gate, and what slaves reported of their visits.
import { Counter, type Registry } from 'prom-client'

export interface AccessMetrics {
  asked: Counter<'outcome'>
  reported: Counter<'what'>
  dropped: Counter
}

export function createAccessMetrics(registry: Registry): AccessMetrics {
  const registers = [registry]
  return {
    asked: new Counter({
      name: 'sshoal_visit_questions_total',
      help: 'Visits that slaves asked about, and asked about again, by outcome: granted, or why not',
      labelNames: ['outcome'],
      registers,
    }),
    reported: new Counter({
      name: 'sshoal_visits_total',
      help: 'Visits through the gate that slaves reported: opened, closed, and lost to the audit because the store was away',
      labelNames: ['what'],
      registers,
    }),
    dropped: new Counter({
      name: 'sshoal_audit_dropped_total',
      help: 'Lines of the audit that were dropped because they were too old or too many',
      registers,
    }),
  }
}
