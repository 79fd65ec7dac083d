// Every setting of a slave, in one place; flags, environment, help and documentation follow from it.
import { option, parseHostPort, type Values } from '@sshoal/shared'

import { dialOption } from './gate/dial-rules.ts'
import { parseStartups } from './startups.ts'

export const slaveOptions = {
  master: option.urls({
    describe: 'where the masters are; the first that answers is used, the others stand by',
    protocols: ['http:', 'https:'],
  }),
  masterCa: option.path({
    describe: 'certificate authority that signed the masters (PEM), when it is not a public one',
  }),
  proxy: option.text({
    describe: 'HTTP proxy through which the masters are reached with CONNECT',
    placeholder: 'URL',
  }),
  token: option.secret({ describe: 'the slave token with which the masters let this slave in' }),
  id: option.text({
    describe: "this slave's name in the cluster; unset: host name and first SSH port",
    placeholder: 'NAME',
  }),
  sshListen: option.addresses({
    describe: 'where devices connect (repeatable; [::] is dual stack)',
    fallback: ['[::]:2222'],
  }),
  publicHost: option.text({
    describe:
      'host name or address that devices are told; unset: the one from which the master sees this slave',
    placeholder: 'HOST',
  }),
  publicPort: option.integerOrNone({
    describe: 'SSH port that devices are told; unset: the first SSH port',
    minimum: 1,
    maximum: 65_535,
  }),
  forwardAddress: option.textOr({
    describe: 'address on which bound forwards listen for visitors',
    placeholder: 'ADDRESS',
    fallback: '127.0.0.1',
  }),
  forwardHost: option.text({
    describe:
      'host name or address that visitors are told; unset: the forward address, or the public host where that is a wildcard',
    placeholder: 'HOST',
  }),
  forwardPorts: option.portRange({
    describe: 'ports given to bound forwards, both ends included',
    fallback: '20000-25000',
  }),
  relayListen: option.parsedOrNone({
    describe:
      'where other slaves hand visits over to this one; unset: nowhere, then only its own users reach its devices',
    placeholder: '[HOST:]PORT',
    parse: (text) => parseHostPort(/^\d+$/.test(text) ? `:${text}` : text),
  }),
  relayHost: option.text({
    describe:
      'host name or address that other slaves are told; unset: that of --relay-listen, or where the master sees this slave',
    placeholder: 'HOST',
  }),
  dial: dialOption,
  region: option.text({ describe: 'region of this slave; unset: none', placeholder: 'NAME' }),
  hostKey: option.paths({
    describe: 'private host keys (repeatable); a file that is missing is made at first start, 0600',
  }),
  data: option.pathOr({
    describe: 'where the host key is kept when --host-key is not given',
    fallback: './data',
  }),
  capacity: option.integerOrNone({
    describe: 'most tunnels; never more than the descriptor limit and the forward ports allow',
    minimum: 1,
  }),
  algorithms: option.choice({
    describe: 'modern, or compatible with firmware of about 2018 (never SHA-1)',
    values: ['modern', 'compatible'] as const,
    fallback: 'modern',
  }),
  keepalive: option.duration({
    describe: 'how long a connection may be silent before it is asked for a sign of life; 0: never',
    fallback: '15s',
    maximum: 86_400_000,
  }),
  keepaliveMax: option.integer({
    describe: 'unanswered keepalives after which a connection is cut',
    minimum: 1,
    maximum: 100,
    fallback: 3,
  }),
  loginGraceTime: option.duration({
    describe: 'time from connecting to being authenticated',
    fallback: '30s',
    minimum: 1_000,
    maximum: 86_400_000,
  }),
  idleGraceTime: option.duration({
    describe: 'time from login, or from the last forward that was cancelled, to a forward, visit or session',
    fallback: '30s',
    minimum: 1_000,
    maximum: 86_400_000,
  }),
  maxAuthTries: option.integer({
    describe: 'keys that a connection may try',
    minimum: 1,
    maximum: 100,
    fallback: 6,
  }),
  proxyProtocol: option.cidrs({
    describe:
      'proxies whose connections begin with a PROXY protocol header, version 1 or 2; all others speak plain SSH',
  }),
  maxStartups: option.parsed({
    describe:
      'connections on their way to a login, in total: from START on, RATE per cent are dropped, at FULL all',
    placeholder: 'START:RATE:FULL',
    fallback: '2000:30:6000',
    parse: parseStartups,
  }),
  maxSourceStartups: option.parsed({
    describe: 'the same for one source, that is an IPv4 address or an IPv6 /64',
    placeholder: 'START:RATE:FULL',
    fallback: '600:30:1200',
    parse: parseStartups,
  }),
  penalty: option.duration({
    describe:
      'time that a bad signature or an unknown key adds to the penalty of its source; 0: no penalties',
    fallback: '5s',
    maximum: 3_600_000,
  }),
  penaltyThreshold: option.duration({
    describe: 'penalty from which a source has to wait it out',
    fallback: '15s',
  }),
  penaltyMax: option.duration({ describe: 'longest penalty of a source', fallback: '10m' }),
  penaltyExempt: option.cidrs({
    describe: 'sources that never get a penalty; those with a live tunnel do not either',
  }),
  maxForwards: option.integer({
    describe: 'forwards of one tunnel, where the hook does not say',
    minimum: 1,
    maximum: 1_024,
    fallback: 64,
  }),
  maxVisits: option.integer({
    describe: 'open visits of one tunnel',
    minimum: 1,
    maximum: 65_535,
    fallback: 1_024,
  }),
  maxUserVisits: option.integer({
    describe: 'open visits of one connection of a user',
    minimum: 1,
    maximum: 65_535,
    fallback: 256,
  }),
  drainTimeout: option.duration({
    describe: 'how long a stopping slave moves its devices away',
    fallback: '3s',
    maximum: 3_600_000,
  }),
  statusListen: option.addressOrNone({
    describe: 'where /healthz, /readyz and /metrics are served over HTTP; unset: nowhere',
  }),
  logLevel: option.choice({
    describe: 'least important log lines that are written',
    values: ['trace', 'debug', 'info', 'warn', 'error'] as const,
    fallback: 'info',
  }),
}

export type SlaveSettings = Values<typeof slaveOptions>
