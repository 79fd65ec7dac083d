// `sshoal device`: the registry behind the default hook, one device at a time.
import { option, SshoalError } from '@sshoal/shared'

import { clientOptions, confirmOptions } from '../client-options.ts'
import { segment, Session } from '../session.ts'
import { relativeTime } from '../time-text.ts'
import { verb, type Group } from '../verb.ts'
import { deviceAdd } from './device-add.ts'
import { deviceImport } from './device-import.ts'
import { deviceKey } from './device-key.ts'
import { recordFields, recordOptions } from './device-record.ts'
import { addressText, describeDevice, seenText, type Device } from './device-text.ts'

const operands = [{ name: 'ID', describe: 'the device' }]
const CLEARABLE = ['name', 'mac', 'region', 'ports', 'keepalive']

const ls = verb({
  name: 'ls',
  summary: 'list devices, those that only the hook knows too',
  options: {
    q: option.text({
      describe: 'only those with this in id, name, hardware address or fingerprint',
      placeholder: 'TEXT',
    }),
    limit: option.integer({
      describe: 'most devices to show',
      minimum: 1,
      maximum: 1_000_000,
      fallback: 1_000,
    }),
    ...clientOptions,
  },
  examples: ['sshoal device ls --q door'],
  async run({ values, context }) {
    const session = new Session(values, context)
    const answer = await session.pages<'devices', Device>(
      '/devices',
      'devices',
      { q: values.q },
      values.limit,
    )
    return session.print(answer, ({ devices }) =>
      session.table(
        [
          { header: 'device', value: (device) => device.id },
          { header: 'name', value: (device) => device.name },
          { header: 'source', value: (device) => device.source },
          { header: 'region', value: (device) => device.region },
          { header: 'keys', value: (device) => device.keys?.length, right: true },
          { header: 'address', value: addressText },
          { header: 'seen', value: seenText },
        ],
        devices,
      ),
    )
  },
})

const show = verb({
  name: 'show',
  summary: 'show all about one device',
  operands,
  options: clientOptions,
  async run({ values, operands, context }) {
    const session = new Session(values, context)
    return session.print(
      await session.rest.call<Device>(`/devices/${segment(operands[0] ?? '')}`),
      describeDevice,
    )
  },
})

const set = verb({
  name: 'set',
  summary: 'change what is known of a device',
  operands,
  options: {
    ...recordOptions,
    clear: option.texts({
      describe: `forget ${CLEARABLE.join(', ')} (repeatable)`,
      placeholder: 'FIELD',
      check: clearable,
    }),
    ...clientOptions,
  },
  examples: ['sshoal device set door-7 --region us --clear mac'],
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    const cleared = Object.fromEntries(values.clear.map((field) => [field, null]))
    const json = { ...recordFields(values), ...cleared }
    const answer = await session.rest.call<Device>(`/devices/${segment(id)}`, { method: 'PATCH', json })
    return session.print(answer, describeDevice)
  },
})

function clearable(text: string): string {
  if (CLEARABLE.includes(text)) return text
  throw new SshoalError('INVALID_VALUE', `"${text}" is not one of ${CLEARABLE.join(', ')}`)
}

const rm = verb({
  name: 'rm',
  summary: 'forget a device, refuse its keys and cut its tunnel',
  operands,
  options: { ...confirmOptions, ...clientOptions },
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    await session.confirm(`Forget ${id}, refuse its keys and cut its tunnel?`, values.yes)
    const answer = await session.rest.call(`/devices/${segment(id)}`, { method: 'DELETE' })
    return session.print(answer, () => `device ${id} removed\n`)
  },
})

const kick = verb({
  name: 'kick',
  summary: 'end the tunnel of a device; it may come back',
  operands,
  options: clientOptions,
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    const answer = await session.rest.call(`/devices/${segment(id)}/kick`, {
      method: 'POST',
    })
    return session.print(answer, () => `${id} kicked\n`)
  },
})

const recheck = verb({
  name: 'recheck',
  summary: 'ask the hook again about the keys of a device; cut what it now refuses',
  operands,
  options: clientOptions,
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    const answer = await session.rest.call<{ cut: number }>(`/devices/${segment(id)}/recheck`, {
      method: 'POST',
    })
    return session.print(answer, () => `${id} rechecked, tunnels cut ${answer.cut}\n`)
  },
})

/** A key that was refused, folded by reason. */
interface Refusal {
  fingerprint: string
  reason: string
  username?: string | null
  remoteAddress: string
  count: number
  lastAt: string | number
}

const refused = verb({
  name: 'refused',
  summary: 'list the keys that were refused lately, and why',
  options: clientOptions,
  examples: ['sshoal device refused', 'sshoal device add door-7 --refused SHA256:…'],
  async run({ values, context }) {
    const session = new Session(values, context)
    const answer = await session.rest.call<{ refused: Refusal[] }>('/devices/refused')
    return session.print(answer, () =>
      session.table(
        [
          { header: 'last', value: (refusal) => relativeTime(refusal.lastAt) },
          { header: 'times', value: (refusal) => refusal.count, right: true },
          { header: 'fingerprint', value: (refusal) => refusal.fingerprint },
          { header: 'login', value: (refusal) => refusal.username },
          { header: 'from', value: (refusal) => refusal.remoteAddress },
          { header: 'reason', value: (refusal) => refusal.reason },
        ],
        answer.refused,
      ),
    )
  },
})

export const device: Group = {
  name: 'device',
  summary: 'register devices and look after them',
  members: [deviceAdd, ls, show, set, rm, kick, recheck, deviceKey, refused, deviceImport],
}
