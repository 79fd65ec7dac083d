// What `/connect` answers, in full and as text: counts, chooses, and puts the answer into words. Knows no framework, because
// two ways lead here: the route, and the shortcut past it (connect-shortcut.ts). What it says of a slave is said again, not made again.
import type { Cluster, Slot, SlotRequest } from '../cluster/cluster.ts'
import type { MasterMetrics } from '../metrics.ts'
import { SourceRate } from './source-rate.ts'

export interface ConnectAnswer {
  status: number
  /** Names and values by turns, as they go out; all but what the connection adds. */
  head: readonly string[]
  body: string
}

export interface ConnectDeps {
  cluster: Pick<Cluster, 'slot'>
  metrics: Pick<MasterMetrics, 'slots'>
  config: { connectRate: number; connectBurst: number }
}

export const JSON_TYPE = 'application/json; charset=utf-8'
const TEXT_TYPE = 'text/plain; charset=utf-8'
const NO_SLAVE = answerOf(
  503,
  JSON_TYPE,
  JSON.stringify({ error: 'no slave can take a device at the moment', code: 'NO_SLAVE' }),
  5,
)
const LIMITED = JSON.stringify({ error: 'too many slots were asked for from here', code: 'RATE_LIMITED' })

/** One slot of one slave under one name, in words; those of its next slots are the same. */
interface Said extends Slot {
  host: string
  json?: ConnectAnswer
  text?: ConnectAnswer
}

export class ConnectDesk {
  readonly #cluster: Pick<Cluster, 'slot'>
  readonly #rate: SourceRate
  readonly #given: { inc(): void }
  readonly #missing: { inc(): void }
  readonly #limited: { inc(): void }
  /** By the host keys that the slave's hello named. */
  readonly #said = new WeakMap<Slot['hostKeys'], Said>()

  constructor({ cluster, metrics, config }: ConnectDeps) {
    this.#cluster = cluster
    this.#rate = new SourceRate(config.connectRate, config.connectBurst)
    this.#given = metrics.slots.labels('given')
    this.#missing = metrics.slots.labels('no_slave')
    this.#limited = metrics.slots.labels('limited')
  }

  /** Undefined: this source may ask. Else what it gets. */
  limit(source: string): ConnectAnswer | undefined {
    const waitMs = this.#rate.take(source)
    if (waitMs <= 0) return undefined
    this.#limited.inc()
    return answerOf(429, JSON_TYPE, LIMITED, Math.ceil(waitMs / 1_000))
  }

  /** `askedHost`: the name by which this master was reached, for a slave that has none of its own. */
  slot(wish: SlotRequest, inText: boolean, askedHost: () => string): ConnectAnswer | Promise<ConnectAnswer> {
    const slot = this.#cluster.slot(wish)
    return slot instanceof Promise
      ? slot.then((chosen) => this.#answer(chosen, inText, askedHost))
      : this.#answer(slot, inText, askedHost)
  }

  #answer(slot: Slot | undefined, inText: boolean, askedHost: () => string): ConnectAnswer {
    if (!slot) {
      this.#missing.inc()
      return NO_SLAVE
    }
    this.#given.inc()
    const host = slot.host ?? askedHost()
    let said = this.#said.get(slot.hostKeys)
    if (!said || !isSame(said, slot, host)) this.#said.set(slot.hostKeys, (said = { ...slot, host }))
    if (inText) return (said.text ??= answerOf(200, TEXT_TYPE, textOf(said)))
    return (said.json ??= answerOf(200, JSON_TYPE, jsonOf(said)))
  }
}

function isSame(said: Said, { slave, port, expiresInMs }: Slot, host: string): boolean {
  return said.host === host && said.port === port && said.slave === slave && said.expiresInMs === expiresInMs
}

function jsonOf({ slave, host, port, hostKeys, expiresInMs }: Said): string {
  const keys = hostKeys.map(({ algorithm, publicKey }) => `${algorithm} ${publicKey}`)
  return JSON.stringify({ slave, host, port, hostKeys: keys, expiresInMs })
}

/** The plain host, whatever the port: dropbear ignores `[host]:port` lines, OpenSSH accepts both. */
function textOf({ host, port, hostKeys }: Said): string {
  const keys = hostKeys.map(({ algorithm, publicKey }) => `${host} ${algorithm} ${publicKey}\n`)
  return `${host} ${port}\n${keys.join('')}`
}

/** Never cached: a slot lasts seconds. */
export function answerOf(
  status: number,
  type: string,
  body: string,
  retryAfterSeconds?: number,
): ConnectAnswer {
  const head = ['cache-control', 'no-store']
  if (retryAfterSeconds !== undefined) head.push('retry-after', String(retryAfterSeconds))
  head.push('content-type', type, 'content-length', String(Buffer.byteLength(body)))
  return { status, head, body }
}
