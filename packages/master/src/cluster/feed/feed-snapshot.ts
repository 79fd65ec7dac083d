// Reads from Redis all that other masters hold, slave by slave, while they go on: a slave that is linked anew meanwhile is
// read again, so that tunnels of two links are never mixed.
import type { SlaveStatus } from '@sshoal/shared'
import type { Cluster, Redis } from 'ioredis'

import type { FeedSnapshot, SlaveFacts } from './cluster-feed.ts'
import { readTunnel } from './feed-message.ts'

/** Tunnels that are read of a slave at once. */
const SCAN_COUNT = 1_000
/** How often a slave is read again because it was linked anew meanwhile. */
const SCAN_ROUNDS = 3
const DEFAULT_STATUS: SlaveStatus = { load: 0, visits: 0, connections: 0 }

export type FeedRedis = Redis | Cluster

/** `self`: the master that asks; its own slaves are left out. */
export async function readSnapshot(redis: FeedRedis, keys: string, self: string): Promise<FeedSnapshot> {
  const [facts, status] = await Promise.all(
    ['facts', 'status'].map((name) => redis.hgetall(`${keys}${name}`)),
  )
  const slaves: FeedSnapshot['slaves'] = []
  for (const slave of Object.keys(facts ?? {})) {
    const found = await readSlave(redis, keys, slave)
    if (!found || found.master === self) continue
    const said = status?.[slave]
    slaves.push({
      ...found,
      status: said === undefined ? DEFAULT_STATUS : (JSON.parse(said) as SlaveStatus),
    })
  }
  return { slaves }
}

/** A slave as it stands, with all tunnels of one and the same link. Undefined: it is gone. */
async function readSlave(
  redis: FeedRedis,
  keys: string,
  slave: string,
): Promise<Omit<FeedSnapshot['slaves'][number], 'status'> | undefined> {
  for (let round = 1; ; round++) {
    const before = await linkOf(redis, keys, slave)
    const tunnels = new Map<string, string>()
    let cursor = '0'
    do {
      const [next, fields] = await redis.hscan(`${keys}tunnels:${slave}`, cursor, 'COUNT', SCAN_COUNT)
      for (let i = 0; i + 1 < fields.length; i += 2) tunnels.set(fields[i] ?? '', fields[i + 1] ?? '')
      cursor = next
    } while (cursor !== '0')
    const after = await linkOf(redis, keys, slave)
    if (!after) return undefined
    if (before?.link !== after.link && round < SCAN_ROUNDS) continue
    const { master, ...facts } = JSON.parse(after.facts) as SlaveFacts & { master: string }
    return {
      slave,
      link: after.link,
      master,
      facts,
      // Said again meanwhile: who hears the rest as changes must not take this for all.
      synced: before?.synced === true && after.synced && before.link === after.link,
      tunnels: [...tunnels.values()].map(readTunnel),
    }
  }
}

async function linkOf(
  redis: FeedRedis,
  keys: string,
  slave: string,
): Promise<{ link: string; facts: string; synced: boolean } | undefined> {
  const names = ['links', 'facts', 'synced']
  const pipeline = redis.multi()
  for (const name of names) pipeline.hget(`${keys}${name}`, slave)
  const [link, facts, synced] = ((await pipeline.exec()) ?? []).map(([error, value]) => {
    if (error) throw error
    return typeof value === 'string' ? value : undefined
  })
  if (link === undefined || facts === undefined) return undefined
  const id = link.split(' ')[1] ?? ''
  return { link: id, facts, synced: synced === id }
}
