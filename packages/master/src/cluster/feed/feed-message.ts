// How a change stands in Redis: what the script must know of it beside its JSON, which other masters read.
import { holderKey, type Tunnel } from '@sshoal/shared'

import type { FeedChange } from './cluster-feed.ts'

/** Type, slave, link, field, JSON of the change, data of the record (see APPLY). */
export function scriptWords(change: FeedChange, master: string): string[] {
  const json = JSON.stringify(change)
  switch (change.type) {
    case 'slots':
    case 'invalidate':
    case 'fixedPorts':
    case 'contested':
    case 'event':
    case 'refused':
    case 'revoked':
      return [change.type, '', '', '', json, '']
    case 'joining':
      return words(
        change,
        'joining',
        String(change.facts.since),
        json,
        JSON.stringify({ master, ...change.facts }),
      )
    case 'state':
      return words(change, 'state', '', json, JSON.stringify({ master, ...change.facts }))
    case 'status':
      return words(change, 'status', '', json, JSON.stringify(change.status))
    case 'up':
      return words(
        change,
        change.arrived ? 'arrived' : 'up',
        holderKey(change.tunnel),
        json,
        `${change.tunnel.epoch} ${JSON.stringify(change.tunnel)}`,
      )
    case 'changed':
      return words(
        change,
        'changed',
        holderKey(change.tunnel),
        json,
        `${change.tunnel.epoch} ${JSON.stringify(change.tunnel)}`,
      )
    case 'down':
      return words(change, 'down', holderKey(change.holder), json, String(change.epoch))
    case 'synced':
    case 'gone':
      return words(change, change.type, '', json, '')
  }
}

function words(
  change: { slave: string; link: string },
  type: string,
  field: string,
  json: string,
  data: string,
): string[] {
  return [type, change.slave, change.link, field, json, data]
}

/** What a record's data says of a tunnel: its epoch, a space, its JSON. */
export function readTunnel(data: string): Tunnel {
  return JSON.parse(data.slice(data.indexOf(' ') + 1)) as Tunnel
}
