// `sshoal device key`: more than one key for a device, and changing one for another without a gap.
import { option } from '@sshoal/shared'

import { clientOptions, confirmOptions } from '../client-options.ts'
import { readPublicKey } from '../public-key-argument.ts'
import { segment, Session } from '../session.ts'
import { verb, type Group } from '../verb.ts'

const add = verb({
  name: 'add',
  summary: 'let another key in for a device',
  operands: [
    { name: 'ID', describe: 'the device' },
    { name: 'KEY', describe: 'a public key line, or a file with one' },
  ],
  options: { label: option.text({ describe: 'what the key is for' }), ...clientOptions },
  examples: ['sshoal device key add door-7 new.pub --label 2030'],
  async run({ values, operands, context }) {
    const [id = '', argument = ''] = operands
    const session = new Session(values, context)
    const json = { key: readPublicKey(argument), label: values.label }
    const answer = await session.rest.call(`/devices/${segment(id)}/keys`, { method: 'POST', json })
    return session.print(answer, () => `key added to ${id}\n`)
  },
})

const rm = verb({
  name: 'rm',
  summary: 'refuse a key of a device from now on, and cut what it opened',
  operands: [
    { name: 'ID', describe: 'the device' },
    { name: 'FINGERPRINT', describe: 'SHA256:… as `sshoal device show` prints it' },
  ],
  options: { ...confirmOptions, ...clientOptions },
  async run({ values, operands, context }) {
    const [id = '', fingerprint = ''] = operands
    const session = new Session(values, context)
    await session.confirm(`Remove key ${fingerprint} of ${id} and cut its tunnel?`, values.yes)
    const path = `/devices/${segment(id)}/keys/${segment(fingerprint)}`
    const answer = await session.rest.call(path, { method: 'DELETE' })
    return session.print(answer, () => `key removed from ${id}\n`)
  },
})

export const deviceKey: Group = {
  name: 'key',
  summary: 'add and remove keys of a device',
  members: [add, rm],
}
