// Where a Redis is and how to get in, from `--redis` and its sisters: one server, Sentinel, or Cluster.
// Knows URLs and files, no connections. A password never leaves this file in a message.
import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'

import { errorText, formatHostPort, parseHostPort, SshoalError, type HostPort } from '@sshoal/shared'

export interface RedisAddress {
  mode: 'single' | 'sentinel' | 'cluster'
  /** The servers, the sentinels, or some nodes of the cluster. */
  nodes: HostPort[]
  /** What Sentinel calls the server. */
  name?: string
  db: number
  tls: boolean
  username?: string
  password?: string
}

export const REDIS_FORMS =
  'redis://[USER:PASSWORD@]HOST:PORT[/DB], redis+sentinel://HOST:PORT,HOST:PORT/NAME[/DB] or redis+cluster://HOST:PORT,…; rediss for TLS'

const FORM = /^redis(s)?(?:\+(sentinel|cluster))?:\/\/(?:(.*)@)?([^/@?#]+)(?:\/([^?#]*))?$/

/** Throws INVALID_VALUE, which never shows the text: a password may stand in it. */
export function parseRedisUrl(text: string): RedisAddress {
  const match = FORM.exec(text)
  if (!match) throw invalid(`not the address of a Redis: write ${REDIS_FORMS}`)
  const [, secure, kind, user, hosts = '', path = ''] = match
  const mode = kind === 'sentinel' || kind === 'cluster' ? kind : 'single'
  const nodes = hosts.split(',').map((host) => readNode(host, mode === 'sentinel' ? 26_379 : 6_379))
  if (mode === 'single' && nodes.length > 1)
    throw invalid('several hosts need redis+sentinel:// or redis+cluster://')
  const parts = path.split('/').filter((part) => part !== '')
  const name = mode === 'sentinel' ? parts.shift() : undefined
  if (mode === 'sentinel' && name === undefined)
    throw invalid('Sentinel needs the name of the server: redis+sentinel://HOST:PORT/NAME')
  const db = parts.shift() ?? '0'
  if (!/^\d{1,5}$/.test(db) || parts.length > 0)
    throw invalid('what follows the hosts is not a database number')
  if (mode === 'cluster' && db !== '0') throw invalid('a Redis Cluster has no databases but 0')
  return {
    mode,
    nodes,
    ...(name === undefined ? {} : { name: decode(name) }),
    db: Number(db),
    tls: secure !== undefined,
    ...readUser(user),
  }
}

/** For logs and messages: everything but user and password. */
export function formatRedisAddress({ mode, nodes, name, db, tls }: RedisAddress): string {
  const scheme = `redis${tls ? 's' : ''}${mode === 'single' ? '' : `+${mode}`}`
  const hosts = nodes.map(({ host, port }) => formatHostPort(host, port)).join()
  return `${scheme}://${hosts}${name === undefined ? '' : `/${name}`}${db === 0 ? '' : `/${db}`}`
}

export interface RedisTlsFiles {
  /** Authority that signed the servers (PEM). */
  ca?: string | undefined
  cert?: string | undefined
  key?: string | undefined
  /** The name that stands in the servers' certificates, where they are reached by another. */
  serverName?: string | undefined
}

/**
 * Its files are read again whenever they are looked at, that is by ioredis for each new connection: certificates are
 * rotated while a master runs. What cannot be read again stays as it was. Throws REDIS_TLS where a file cannot be read now,
 * or where files are given for a connection without TLS.
 */
export function readRedisTls(address: RedisAddress, files: RedisTlsFiles): ConnectionOptions | undefined {
  const { ca, cert, key, serverName } = files
  const given = [ca, cert, key, serverName].some((value) => value !== undefined)
  if (!address.tls) {
    if (given)
      throw new SshoalError('REDIS_TLS', 'TLS settings for Redis need an address that begins with rediss')
    return undefined
  }
  if ((cert === undefined) !== (key === undefined))
    throw new SshoalError('REDIS_TLS', '--redis-cert and --redis-key go together')
  const options: ConnectionOptions = serverName === undefined ? {} : { servername: serverName }
  if (ca !== undefined) defineFile(options, 'ca', '--redis-ca', ca)
  if (cert !== undefined) defineFile(options, 'cert', '--redis-cert', cert)
  if (key !== undefined) defineFile(options, 'key', '--redis-key', key)
  return options
}

function defineFile(
  options: ConnectionOptions,
  name: 'ca' | 'cert' | 'key',
  flag: string,
  path: string,
): void {
  let pem = readPem(flag, path)
  const get = (): Buffer => {
    try {
      pem = readPem(flag, path)
    } catch {
      // A file that is being replaced; `reload` of the master says it aloud.
    }
    return pem
  }
  Object.defineProperty(options, name, { get, enumerable: true })
}

function readPem(flag: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new SshoalError('REDIS_TLS', `${flag}: ${errorText(error)}`, { cause: error })
  }
}

function readNode(text: string, defaultPort: number): HostPort {
  const hasPort = /\]:\d+$|^[^[\]:]+:\d+$/.test(text)
  try {
    return parseHostPort(hasPort ? text : `${text}:${defaultPort}`)
  } catch {
    // Not shown either: a password whose @ was forgotten would stand here.
    throw invalid('one of the hosts is not HOST:PORT')
  }
}

function readUser(text: string | undefined): { username?: string; password?: string } {
  if (text === undefined) return {}
  const colon = text.indexOf(':')
  const username = colon < 0 ? text : text.slice(0, colon)
  return {
    ...(username === '' ? {} : { username: decode(username) }),
    ...(colon < 0 ? {} : { password: decode(text.slice(colon + 1)) }),
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw invalid('user or password have a % that begins no %XX')
  }
}

function invalid(message: string): SshoalError {
  return new SshoalError('INVALID_VALUE', message)
}
