// A real redis-server in a process and a folder of its own, which can be killed and come back with its data or without.

import { rmSync } from 'node:fs'
import { join } from 'node:path'

import { asOwner, atEnd, currentOwner } from './ending.ts'
import { makeFolder } from './folder.ts'
import { takePorts } from './port.ts'
import { start, type Started } from './process.ts'
import { run } from './run.ts'
import type { Certificate } from './tls.ts'

export interface RedisOptions {
  /** Lines of redis.conf as pairs: `['maxmemory-policy', 'allkeys-lru']`. */
  config?: string[][]
  /** Append-only file, written at every command; true unless told. */
  durable?: boolean
  /** Serve TLS alone, with this certificate. */
  tls?: Certificate
  /** For redis-cli, where a password is asked for. */
  password?: string
}

export interface RedisServer {
  host: string
  port: number
  url: string
  /** The process that runs now. */
  readonly process: Started
  /** What redis-cli prints; fails when Redis says an error. */
  cli(...args: string[]): Promise<string>
  /** SIGKILL, at any moment; resolves when it is gone. */
  kill(): Promise<void>
  /** Starts it again, on the same port; `empty` takes its data away first. */
  restart(options?: { empty?: boolean }): Promise<void>
  signal(name: NodeJS.Signals): void
}

export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const { config = [], durable = true, tls, password } = options
  const dir = makeFolder()
  const { first: port } = await takePorts(2)
  const listen = tls
    ? [
        ['port', '0'],
        ['tls-port', String(port)],
        ['tls-cert-file', tls.path],
        ['tls-key-file', tls.keyPath],
        ['tls-ca-cert-file', tls.path],
        ['tls-auth-clients', 'no'],
      ]
    : [['port', String(port)]]
  // Else its bus takes port + 10,000, which the kernel may have given to an outgoing connection.
  const bus = config.some(([name]) => name === 'cluster-enabled') ? [['cluster-port', String(port + 1)]] : []
  const all = [
    ...listen,
    ...bus,
    ['bind', '127.0.0.1'],
    ['dir', dir],
    ['save', ''],
    ['appendonly', durable ? 'yes' : 'no'],
    ['appendfsync', 'always'],
    ...config,
  ]
  const args = all.flatMap(([name = '', ...values]) => [`--${name}`, ...values])
  // One that a test starts again must live as long as the first one, not only as long as that test.
  const owner = currentOwner()
  const launch = async (): Promise<Started> => {
    const started = asOwner(owner, () => start('redis-server', args))
    await started.waitForOutput(/Ready to accept connections/)
    return started
  }
  let process = await launch()
  const server: RedisServer = {
    host: '127.0.0.1',
    port,
    url: `redis${tls ? 's' : ''}://127.0.0.1:${port}`,
    get process() {
      return process
    },
    async cli(...words) {
      const access = password === undefined ? [] : ['--no-auth-warning', '-a', password]
      const secure = tls ? ['--tls', '--cacert', tls.path] : []
      const ran = await run('redis-cli', ['-p', String(port), '-e', ...secure, ...access, ...words])
      if (ran.status !== 0) throw new Error(`redis-cli ${words.join(' ')}: ${ran.stdout}${ran.stderr}`)
      return ran.stdout.trim()
    },
    async kill() {
      process.signal('SIGKILL')
      await process.exited
    },
    async restart({ empty = false } = {}) {
      await server.kill()
      if (empty)
        for (const name of ['appendonlydir', 'dump.rdb'])
          rmSync(join(dir, name), { recursive: true, force: true })
      process = await launch()
    },
    signal: (name) => process.signal(name),
  }
  // A test may have stopped it by a signal.
  atEnd(() => process.signal('SIGCONT'))
  return server
}
