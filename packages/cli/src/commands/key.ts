// `sshoal key`: the keys with which a person logs in at the gate; one per workstation, each with a label.
import { option, SshoalError } from '@sshoal/shared'

import { clientOptions, confirmOptions } from '../client-options.ts'
import { readPublicKey } from '../public-key-argument.ts'
import { cutText, type Cut } from '../record-verbs.ts'
import { segment, Session } from '../session.ts'
import { relativeTime } from '../time-text.ts'
import { verb, type Group } from '../verb.ts'

export interface UserKey {
  fingerprint: string
  /** The OpenSSH line. */
  key?: string
  label?: string | null
  addedAt?: string
}

export function describeKey({ fingerprint, label }: UserKey): string {
  return label ? `${fingerprint}  ${label}` : fingerprint
}

const USER = { name: 'USER', describe: 'an id, a login or an e-mail' }
const FINGERPRINT = { name: 'FINGERPRINT', describe: 'SHA256:… as `sshoal key ls` prints it' }

function keysOf(user: string, fingerprint?: string): string {
  return `/users/${segment(user)}/keys${fingerprint === undefined ? '' : `/${segment(fingerprint)}`}`
}

const add = verb({
  name: 'add',
  summary: 'let another key of a person in',
  operands: [USER, { name: 'KEY', describe: 'a public key line, or a file with one' }],
  options: {
    label: option.text({ describe: 'which key it is, such as the workstation; unset: its comment' }),
    ...clientOptions,
  },
  examples: ['sshoal key add ann ~/.ssh/id_ed25519.pub --label laptop'],
  async run({ values, operands, context }) {
    const [user = '', argument = ''] = operands
    const session = new Session(values, context)
    const json = { key: readPublicKey(argument), label: values.label }
    const answer = await session.rest.call(keysOf(user), { method: 'POST', json })
    return session.print(answer, () => `key added to ${user}\n`)
  },
})

const ls = verb({
  name: 'ls',
  summary: 'list the keys of a person',
  operands: [USER],
  options: clientOptions,
  async run({ values, operands, context }) {
    const session = new Session(values, context)
    const answer = await session.rest.call<{ keys: UserKey[] }>(keysOf(operands[0] ?? ''))
    return session.print(answer, ({ keys }) =>
      session.table(
        [
          { header: 'fingerprint', value: (key) => key.fingerprint },
          { header: 'label', value: (key) => key.label },
          { header: 'type', value: (key) => key.key?.split(' ')[0] },
          { header: 'added', value: (key) => relativeTime(key.addedAt) },
        ],
        keys,
      ),
    )
  },
})

const set = verb({
  name: 'set',
  summary: 'change the label of a key',
  operands: [USER, FINGERPRINT],
  options: { label: option.text({ describe: 'which key it is' }), ...clientOptions },
  examples: ['sshoal key set ann SHA256:… --label desktop'],
  async run({ values, operands, context }) {
    const [user = '', fingerprint = ''] = operands
    const session = new Session(values, context)
    const { label } = values
    if (label === undefined) throw new SshoalError('INVALID_VALUE', 'say --label')
    const json = { label }
    const answer = await session.rest.call(keysOf(user, fingerprint), { method: 'PATCH', json })
    return session.print(answer, () => `key of ${user} changed\n`)
  },
})

const rm = verb({
  name: 'rm',
  summary: 'refuse a key of a person from now on, and cut the visits that it opened',
  operands: [USER, FINGERPRINT],
  options: { ...confirmOptions, ...clientOptions },
  async run({ values, operands, context }) {
    const [user = '', fingerprint = ''] = operands
    const session = new Session(values, context)
    await session.confirm(`Remove key ${fingerprint} of ${user} and cut its visits?`, values.yes)
    const path = keysOf(user, fingerprint)
    const answer = await session.rest.call<Cut | undefined>(path, { method: 'DELETE' })
    return session.print(answer, () => `key removed from ${user}${cutText(answer)}\n`)
  },
})

export const key: Group = {
  name: 'key',
  summary: 'add and remove the keys of people',
  members: [add, ls, set, rm],
}
