// One connection to Redis that never keeps anybody waiting: what it cannot answer within 2 s is refused, nothing is
// queued while it is away, nothing is sent twice, and it comes back by itself. Knows ioredis, and no records.
import type { Socket } from 'node:net'

import { errorText, SshoalError, type HostPort, type Log } from '@sshoal/shared'
import { Cluster, Redis, type RedisOptions } from 'ioredis'

import { formatRedisAddress, readRedisTls, type RedisAddress, type RedisTlsFiles } from './redis-address.ts'
import type { RedisScript } from './redis-scripts.ts'

export interface RedisAccess {
  address: RedisAddress
  tls?: RedisTlsFiles
  sentinelPassword?: string | undefined
}

/** A call is refused after this long. */
export const CALL_MS = 1_800
/** A start waits this long for Redis. */
const OPEN_MS = 5_000
const RETRY_MS = 1_000
/** A Redis that loads its data is asked again after so long whether it is done. */
const LOADING_MS = 200

export type RedisClient = Redis | Cluster

/** Redis answered, and meant no; or it is not who it should be. Trying again would change nothing. */
const REFUSED =
  /^(WRONGPASS|NOAUTH|NOPERM|ERR invalid password|ERR .*AUTH|NOPROTO)|user executing the script can't|certificate/i
/** Redis answered that it cannot at the moment. */
const PASSING =
  /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|MISCONF|NOREPLICAS|UNBLOCKED|OOM|MOVED|ASK)\b/

/** A client that connects by itself and again; for the store, and for whoever else speaks with the same Redis. Throws REDIS_TLS. */
export function makeRedisClient(
  { address, tls: files = {}, sentinelPassword }: RedisAccess,
  callMs = CALL_MS,
): RedisClient {
  const { mode, nodes, name, db, username, password } = address
  const tls = readRedisTls(address, files)
  const common: RedisOptions = {
    db,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
    connectionName: 'sshoal',
    connectTimeout: 2_000,
    commandTimeout: callMs,
    enableOfflineQueue: false,
    // A write whose answer was lost may have happened; sent again, it would find itself in its way.
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times) => Math.min(times * 50, RETRY_MS),
    // ioredis waits as long as Redis guesses that it still loads, and a guess of its first moments is many times too long.
    maxLoadingRetryTime: LOADING_MS,
    // After a failover the old server answers so; the next connection finds the new one.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  }
  if (mode === 'cluster') {
    const cluster = new Cluster(nodes, {
      enableOfflineQueue: false,
      // Redirections tell that nothing was done; a connection that closed does not.
      retryDelayOnFailover: 0,
      clusterRetryStrategy: (times) => Math.min(times * 50, RETRY_MS),
      slotsRefreshTimeout: CALL_MS,
      slotsRefreshInterval: 5_000,
      redisOptions: common,
      // Certificates are made for names; what the cluster says of itself is then a name too.
      ...(tls === undefined ? {} : { dnsLookup: (host, found) => found(null, host) }),
    })
    // A redirection that comes while it disconnects makes a node, and ioredis would wait for that one's end forever.
    cluster.on('+node', (node: Redis) => {
      if (cluster.status === 'disconnecting') node.disconnect()
    })
    return cluster
  }
  if (mode === 'sentinel')
    return new Redis({
      ...common,
      sentinels: nodes,
      name: name ?? '',
      ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
      ...(tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: tls }),
      sentinelCommandTimeout: CALL_MS,
      // ioredis' detector breaks off a connection that is being made, and then never makes another; the old server
      // says READONLY, or Sentinel cuts its connections, soon enough.
      failoverDetector: false,
      sentinelRetryStrategy: (times) => Math.min(times * 50, RETRY_MS),
    })
  const [node] = nodes
  return new Redis({ ...common, host: node?.host ?? '127.0.0.1', port: node?.port ?? 6_379 })
}

export class RedisConnection {
  /** Without user and password. */
  readonly where: string
  /** A call is refused after this long, ms. */
  readonly callMs: number
  readonly #access: RedisAccess
  readonly #log: Log
  readonly #client: RedisClient
  readonly #began = new Set<() => void>()
  readonly #ended = new Set<() => void>()
  #lastError: string | undefined
  /** Kept beside the last error: a server that has said no cuts the connection too, and that is heard after it. */
  #refusal: string | undefined
  #complained = false
  #closing = false

  constructor(access: RedisAccess, log: Log, callMs = CALL_MS) {
    this.callMs = callMs
    this.#access = access
    this.#log = log
    this.where = formatRedisAddress(access.address)
    this.#client = makeRedisClient(access, callMs)
    this.#client.on('error', (error: Error) => this.#failed(error))
    this.#client.on('node error', (error: Error) => this.#failed(error))
    this.#client.on('close', () => {
      for (const listener of this.#ended) listener()
    })
    // A connector that is interrupted while it connects leaves ioredis without any further attempt.
    this.#client.on('end', () => {
      if (!this.#closing) setTimeout(() => this.#again(), RETRY_MS).unref()
    })
    this.#client.on('ready', () => {
      for (const listener of this.#began) listener()
      if (this.#complained) log.info({ redis: this.where }, 'Redis answers again')
      this.#complained = false
      this.#refusal = undefined
    })
  }

  /** Resolves when Redis serves. Throws STORE_REFUSED where it lets nobody in so, STORE_UNAVAILABLE after `patience` ms. */
  async opened(patience = OPEN_MS): Promise<void> {
    const end = performance.now() + patience
    while (this.#client.status !== 'ready') {
      const error = this.#lastError
      if (this.#refusal !== undefined)
        throw new SshoalError('STORE_REFUSED', `${this.where} cannot be used: ${this.#refusal}`)
      if (performance.now() > end)
        throw new SshoalError(
          'STORE_UNAVAILABLE',
          `${this.where} does not answer: ${error ?? 'no connection'}`,
        )
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  get ready(): boolean {
    return this.#client.status === 'ready'
  }

  /** Where this Redis is: what was named, who is connected now, and the nodes that a cluster has. */
  get nodes(): HostPort[] {
    const nodes = this.#client instanceof Cluster ? this.#client.nodes() : []
    const clients = this.#client instanceof Cluster ? nodes : [this.#client]
    const found = [
      ...nodes.map(({ options }) => options),
      // Not there before the first connection, whatever its type says.
      ...clients.map(({ stream }: { stream?: Socket }) => ({
        host: stream?.remoteAddress,
        port: stream?.remotePort,
      })),
    ]
    return [
      ...this.#access.address.nodes,
      ...found.flatMap(({ host, port }) => (host === undefined || port === undefined ? [] : { host, port })),
    ]
  }

  /** Calls back whenever the connection is there again, and whenever it ends. */
  onTurn(began: () => void, ended: () => void): void {
    this.#began.add(began)
    this.#ended.add(ended)
  }

  /** Another connection to the same Redis. */
  another(callMs = CALL_MS): RedisConnection {
    return new RedisConnection(this.#access, this.#log, callMs)
  }

  /** Runs a script by its hash, by its text where Redis has forgotten it. Throws STORE_UNAVAILABLE, STORE_REFUSED, STORE_FAILED. */
  run(script: RedisScript, keys: string[], args: (string | number | Buffer)[]): Promise<unknown> {
    return this.call(async (client) => {
      try {
        return await client.evalsha(script.sha, keys.length, ...keys, ...args)
      } catch (error) {
        // Not one line of it ran.
        if (!errorText(error).startsWith('NOSCRIPT')) throw error
        return client.eval(script.text, keys.length, ...keys, ...args)
      }
    })
  }

  async call<T>(ask: (client: RedisClient) => Promise<T>): Promise<T> {
    if (!this.ready) throw this.#away(this.#lastError ?? 'no connection')
    let timer: NodeJS.Timeout | undefined
    // The clients have time limits of their own, but for single commands; redirections add up.
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Late()), this.callMs)
    })
    try {
      return await Promise.race([ask(this.#client), late])
    } catch (error) {
      throw this.#translate(error)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Twice is once. */
  close(): void {
    if (this.#closing) return
    this.#closing = true
    this.#client.disconnect()
  }

  #again(): void {
    if (!this.#closing && this.#client.status === 'end') this.#client.connect().catch(() => {}) // the error event says it
  }

  #failed(error: Error): void {
    this.#lastError = plain(error)
    if (REFUSED.test(this.#lastError)) this.#refusal = this.#lastError
    if (this.#complained || this.#closing) return
    this.#complained = true
    this.#log.warn({ redis: this.where, reason: this.#lastError }, 'Redis cannot be reached; trying again')
  }

  #translate(error: unknown): SshoalError {
    if (error instanceof SshoalError) return error
    const text = plain(error)
    if (error instanceof Late || text === 'Command timed out') {
      // A connection that does not answer may be half open, and what waits in it would only grow.
      if (!this.#closing && this.ready) this.#client.disconnect(true)
      return this.#away(`no answer within ${this.callMs} ms`)
    }
    if (REFUSED.test(text)) return new SshoalError('STORE_REFUSED', `${this.where} refuses: ${text}`)
    if (PASSING.test(text) || !isReply(error)) return this.#away(text)
    return new SshoalError('STORE_FAILED', `the store at ${this.where} does not work: ${text}`)
  }

  #away(reason: string): SshoalError {
    return new SshoalError('STORE_UNAVAILABLE', `${this.where} does not answer: ${reason}`)
  }
}

class Late extends Error {}

function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError'
}

/** Only the words: the errors of ioredis carry the command, and with it passwords and values. */
function plain(error: unknown): string {
  if (error instanceof Error && 'lastNodeError' in error && error.lastNodeError instanceof Error)
    return errorText(error.lastNodeError)
  return errorText(error)
}
