// One question to one slave, over our own link or over the master that has it.
import { SshoalError } from '@sshoal/shared'

import type { Answer, ClusterFeed, Question, SlaveRequest } from './feed/cluster-feed.ts'
import type { SlaveRecord } from './slave-record.ts'

/** A probe takes the slave up to 3 s, and so do a yield and whatever else a slave must look at a device for. */
export const PROBE_DEADLINE_MS = 4_500

/** Rejects with LINK_LOST or LINK_DEADLINE. */
export function askSlave<T extends SlaveRequest>(
  slave: SlaveRecord,
  feed: ClusterFeed,
  type: T,
  question: Question<T>,
  deadlineMs: number,
): Promise<Answer<T>> {
  if (slave.wire) return slave.wire.request(type, question, deadlineMs)
  if (slave.master !== undefined) return feed.request(slave.master, slave.id, type, question, deadlineMs)
  return Promise.reject(new SshoalError('LINK_LOST', `${type}: the slave ${slave.id} is not linked`))
}
