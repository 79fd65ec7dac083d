// Everything that can be set about a master. Flags, environment names, help and documentation follow from this record.
import { option, parseHostPort, SshoalError, type Option, type Values } from '@sshoal/shared'

import { readHost } from './access/name.ts'
import { parseRedisUrl, REDIS_FORMS } from './store/redis-address.ts'
import { checkPrefix } from './store/redis-names.ts'

export const masterOptions = {
  listen: option.address({
    describe:
      'Where REST and the slave link listen; off loopback they need TLS, a trusted proxy or --insecure-http',
    fallback: '127.0.0.1:8080',
  }),
  data: option.pathOr({
    describe: 'Folder of the embedded store and of the token files, each master its own; made at first start',
    fallback: './data',
  }),
  redis: {
    ...option.secret({
      describe: `Redis that several masters share, instead of the embedded store: ${REDIS_FORMS}`,
      placeholder: 'URL',
    }),
    read: (texts: string[]): string => {
      const text = texts.at(-1) ?? ''
      parseRedisUrl(text)
      return text
    },
  },
  redisPassword: option.secret({ describe: 'Password for Redis, where it does not stand in the URL' }),
  redisSentinelPassword: option.secret({ describe: 'Password for Sentinel itself, where it asks for one' }),
  redisCa: option.path({
    describe: 'Certificate authority that signed Redis (PEM), when it is not a public one',
  }),
  redisCert: option.path({ describe: 'Certificate that is shown to Redis, PEM' }),
  redisKey: option.path({ describe: 'Private key of that certificate, PEM' }),
  redisServerName: option.text({
    describe: 'The name in the certificates of Redis, where it is reached by another name or by address',
    placeholder: 'NAME',
  }),
  redisPrefix: {
    ...option.textOr({
      describe: 'What all keys in Redis begin with, in braces; one for each installation that shares a Redis',
      fallback: 'sshoal',
      placeholder: 'NAME',
    }),
    read: (texts: string[]): string => checkPrefix(texts.at(-1) ?? ''),
  },
  hook: option.text({
    describe:
      'Who decides which key is which device: a TypeScript or JavaScript file that exports validate_device, authorized_keys:FILE, or an https URL; default: the registry',
    placeholder: 'FILE|URL',
  }),
  hookSecret: option.secret({
    describe: 'Signs the requests of a web hook (HMAC-SHA256, X-Sshoal-Signature)',
  }),
  hookConcurrency: option.integer({
    describe: 'How many questions the hook gets at once; the others wait',
    minimum: 1,
    maximum: 10_000,
    fallback: 64,
  }),
  hookDeadline: option.duration({
    describe: 'How long an answer of the hook may take, waiting included; later it is an outage',
    minimum: 100,
    maximum: 60_000,
    fallback: '5s',
  }),
  cacheTtl: option.duration({
    describe: 'How long slaves may answer for a device by themselves, where the hook does not say',
    fallback: '60s',
  }),
  staleLimit: option.duration({
    describe: 'How long the last good answer about a device counts while hook or master are out',
    fallback: '1h',
  }),
  leaseMax: option.duration({
    describe: 'How long a lease may last at most',
    minimum: 1_000,
    fallback: '24h',
  }),
  gateHost: {
    ...option.text({
      describe:
        'Public name of the gate, for the ssh configurations of users; without a port that of the slaves; default: a slave that is ready',
      placeholder: 'HOST[:PORT]',
    }),
    read: (texts: string[]): GateHost => readGateHost(texts.at(-1) ?? ''),
  } as Option<GateHost | undefined>,
  auditRetention: option.duration({
    describe: 'How long visits and changes are kept in the audit',
    minimum: 60_000,
    fallback: '90d',
  }),
  auditKeep: option.integer({
    describe: 'How many lines of the audit are kept, in each project; the oldest go first',
    minimum: 1,
    maximum: 1_000_000_000,
    fallback: 1_000_000,
  }),
  healthMemory: option.integer({
    describe: 'Megabytes of heap from which the detailed health is unhealthy',
    minimum: 1,
    fallback: 200,
  }),
  healthDelay: option.duration({
    describe: 'Mean delay of the event loop from which the detailed health is unhealthy',
    minimum: 1,
    fallback: '10ms',
  }),
  healthQueue: option.integer({
    describe: 'Ends of leases that wait from which the detailed health is unhealthy',
    minimum: 0,
    fallback: 1_000,
  }),
  tlsCert: option.path({ describe: 'Certificate chain for REST and slave link, PEM; read again on SIGHUP' }),
  tlsKey: option.path({ describe: 'Private key of the certificate, PEM; read again on SIGHUP' }),
  insecureHttp: option.toggle({
    describe: 'Allow plain HTTP off loopback: tokens can then be read on the way',
  }),
  trustProxy: option.cidrs({
    describe: 'Proxies whose X-Forwarded-For, -Host and -Proto are believed',
  }),
  regionFallback: option.texts({
    describe: 'Where the devices of a region may go when it has no slave: REGION=REGION; repeatable',
    check: checkFallback,
  }),
  connectToken: option.secret({
    describe: 'What devices must show to be given a slot; default: anyone may ask, within the rate limit',
  }),
  connectRate: option.integer({
    describe: 'How many slots one source may ask for in a second, on average',
    minimum: 1,
    maximum: 1_000_000,
    fallback: 100,
  }),
  connectBurst: option.integer({
    describe: 'How many slots one source may ask for at once',
    minimum: 1,
    maximum: 10_000_000,
    fallback: 1_000,
  }),
  slaveGrace: option.duration({
    describe: 'How long a slave whose link broke keeps its tunnels in the view',
    fallback: '3s',
  }),
  metricsToken: option.secret({ describe: 'What /metrics asks for; default: anyone may read it' }),
  eventsKeep: option.integer({
    describe: 'How many events are kept for those who come back',
    minimum: 100,
    maximum: 10_000_000,
    fallback: 100_000,
  }),
  eventsKeepTime: option.duration({ describe: 'How long events are kept', fallback: '1h' }),
  logLevel: option.choice({
    describe: 'How much is logged',
    values: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    fallback: 'info',
  }),
}

export interface GateHost {
  host: string
  port: number | undefined
}

function readGateHost(text: string): GateHost {
  const hasPort = /^(\[[^\]]*\]|[^:]*):\d+$/.test(text)
  const { host, port } = hasPort
    ? parseHostPort(text)
    : { host: text.replace(/^\[(.*)\]$/, '$1'), port: undefined }
  if (port === 0 || (hasPort && text.startsWith(':')))
    throw new SshoalError('INVALID_ADDRESS', `"${text}" is not the name of a gate: write HOST or HOST:PORT`)
  return { host: readHost(host), port }
}

export type MasterSettings = Values<typeof masterOptions>

/** By region, in the order of preference: `eu=us`, `eu=ap` means that devices of `eu` go to `us`, else to `ap`. */
export type RegionFallback = ReadonlyMap<string, readonly string[]>

/** Texts as `regionFallback` yields them. */
export function readRegionFallback(texts: string[]): RegionFallback {
  const fallbacks = new Map<string, string[]>()
  for (const text of texts) {
    const [region = '', fallback = ''] = text.split('=')
    fallbacks.set(region, [...(fallbacks.get(region) ?? []), fallback])
  }
  return fallbacks
}

function checkFallback(text: string): string {
  const match = /^([A-Za-z0-9._-]{1,63})=([A-Za-z0-9._-]{1,63})$/.exec(text)
  if (!match || match[1] === match[2])
    throw new SshoalError('INVALID_VALUE', `"${text}" is not a fallback: write REGION=REGION, such as eu=us`)
  return text
}
