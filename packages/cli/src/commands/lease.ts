// `sshoal lease`: a key and a port for one device, for a limited time.
import { writeFileSync } from 'node:fs'

import { errorText, option, SshoalError } from '@sshoal/shared'

import { clientOptions, confirmOptions } from '../client-options.ts'
import { readPublicKey } from '../public-key-argument.ts'
import { segment, Session } from '../session.ts'
import { verb, type Group } from '../verb.ts'
import {
  countdown,
  describeLease,
  stateText,
  visitText,
  type IssuedLease,
  type Lease,
} from './lease-record.ts'
import { watchLeases } from './lease-watch.ts'

const LEASE = { name: 'LEASE', describe: 'as `sshoal lease ls` shows it' }

const timeOption = {
  for: option.text({
    describe: 'how long it lasts from now on: a duration such as 30m, or milliseconds',
    placeholder: 'DURATION',
  }),
}

const create = verb({
  name: 'create',
  summary: 'lease a key and a port to a device; replaces the lease that it has',
  operands: [
    { name: 'DEVICE', describe: 'an id, or a MAC in any spelling; an unknown MAC becomes a device' },
  ],
  options: {
    ...timeOption,
    key: option.text({
      describe: "the device's own public key, a file or a line; unset: one is made and shown once",
      placeholder: 'FILE|LINE',
    }),
    save: option.path({
      describe: 'write the private key there (0600), and the host keys beside it as FILE.known_hosts',
    }),
    type: option.choice({
      describe: 'of the key that is made; rsa for old clients',
      values: ['ed25519', 'rsa'] as const,
      fallback: 'ed25519',
    }),
    port: option.integerOrNone({ describe: 'exactly this port; unset: any', minimum: 1, maximum: 65_535 }),
    region: option.text({ describe: 'of its slave; unset: the region of the device', placeholder: 'NAME' }),
    ...clientOptions,
  },
  examples: [
    'sshoal lease create 00:13:48:02:6a:fe --for 30m --save lease-key',
    'sshoal lease create door-7 --for 8h --key door-7.pub --json',
  ],
  async run({ values, operands, context }) {
    const [device = ''] = operands
    const session = new Session(values, context)
    const { key, type, port, region, save } = values
    const answer = await session.rest.call<IssuedLease>('/leases', {
      method: 'POST',
      json: {
        device,
        timeout: needed(values.for),
        ...(key === undefined ? { type } : { publicKey: readPublicKey(key) }),
        ...(port === undefined ? {} : { port }),
        ...(region === undefined ? {} : { region }),
      },
    })
    if (save !== undefined) saveKey(save, answer)
    return session.print(save === undefined ? answer : withoutKey(answer), (lease) => {
      const { privateKey, knownHosts = '', command = '', id } = lease
      const place = save ?? 'lease-key'
      const told = command
        .replace('-i lease-key', `-i ${place}`)
        .replace('UserKnownHostsFile=lease-known-hosts', `UserKnownHostsFile=${place}.known_hosts`)
      const tail = `lease ${id} of ${lease.device}: port ${lease.port} for ${countdown(lease.remainingMs)}; visitors go to ${visitText(lease)}\nthe device runs: ${told}\n`
      if (privateKey === undefined) return tail
      context.terminal.err('the private key is shown only now:\n')
      return `${privateKey}${knownHosts}${tail}`
    })
  },
})

function needed(timeout: string | undefined): string {
  if (timeout === undefined)
    throw new SshoalError('INVALID_VALUE', '--for: say how long the lease lasts, e.g. --for 30m')
  return timeout
}

function saveKey(file: string, { privateKey, knownHosts = '' }: IssuedLease): void {
  try {
    if (privateKey !== undefined) writeFileSync(file, privateKey, { mode: 0o600, flag: 'wx' })
    writeFileSync(`${file}.known_hosts`, knownHosts)
  } catch (error) {
    throw new SshoalError(
      'NOT_WRITTEN',
      `the key cannot be written to ${file}: ${errorText(error)}; revoke the lease, or make another`,
      { cause: error },
    )
  }
}

/** What was saved is not printed as well. */
function withoutKey({ privateKey: _privateKey, ...lease }: IssuedLease): IssuedLease {
  return lease
}

const ls = verb({
  name: 'ls',
  summary: 'list the leases and how long they last',
  options: {
    device: option.text({ describe: 'only of this device', placeholder: 'ID' }),
    slave: option.text({ describe: 'only on this slave', placeholder: 'ID' }),
    limit: option.integer({
      describe: 'most leases to show',
      minimum: 1,
      maximum: 1_000_000,
      fallback: 1_000,
    }),
    watch: option.toggle({ describe: 'keep showing them, with clocks that run down, until Ctrl-C' }),
    ...clientOptions,
  },
  examples: ['sshoal lease ls', 'sshoal lease ls --watch'],
  async run({ values, context }) {
    const session = new Session(values, context)
    const { device, slave, limit } = values
    const read = () => session.pages<'leases', Lease>('/leases', 'leases', { device, slave }, limit)
    const table = (leases: readonly Lease[], ageMs: number): string =>
      leases.length === 0
        ? 'no leases\n'
        : session.table(
            [
              { header: 'lease', value: (lease) => lease.id },
              { header: 'device', value: (lease) => lease.device },
              { header: 'slave', value: (lease) => lease.slave },
              { header: 'visitors', value: visitText },
              { header: 'state', value: stateText },
              { header: 'left', value: (lease) => countdown(lease.remainingMs - ageMs), right: true },
            ],
            leases,
          )
    if (values.watch) return watchLeases({ read, table, context })
    return session.print(await read(), ({ leases }) => table(leases, 0))
  },
})

const show = verb({
  name: 'show',
  summary: 'show all about one lease',
  operands: [LEASE],
  options: clientOptions,
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    return session.print(await session.rest.call<Lease>(`/leases/${segment(id)}`), describeLease)
  },
})

const extend = verb({
  name: 'extend',
  summary: 'give a lease another time, from now on',
  operands: [LEASE],
  options: { ...timeOption, ...clientOptions },
  examples: ['sshoal lease extend 5f2d2a6913702182 --for 1h'],
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    const answer = await session.rest.call<Lease>(`/leases/${segment(id)}`, {
      method: 'PATCH',
      json: { timeout: needed(values.for) },
    })
    return session.print(answer, (lease) => `lease ${id} lasts ${countdown(lease.remainingMs)} from now\n`)
  },
})

const revoke = verb({
  name: 'revoke',
  summary: 'end a lease now: its key is refused, its tunnel cut, its port free',
  operands: [LEASE],
  options: { ...confirmOptions, ...clientOptions },
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    await session.confirm(`Revoke lease ${id} and cut its tunnel?`, values.yes)
    const answer = await session.rest.call<{ cut: number }>(`/leases/${segment(id)}`, { method: 'DELETE' })
    return session.print(answer, ({ cut }) => `lease ${id} revoked${cut > 0 ? ', its tunnel cut' : ''}\n`)
  },
})

export const lease: Group = {
  name: 'lease',
  summary: 'lease a key and a port to a device for a limited time',
  members: [create, ls, show, extend, revoke],
}
