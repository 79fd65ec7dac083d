// `sshoal device add`: registers a device, with keys that are at hand, that are made now, or that were refused.
import { option, parsePublicKeyLine, SshoalError } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { makeKeyPair } from '../key-pair.ts'
import { readPublicKey } from '../public-key-argument.ts'
import { segment, Session } from '../session.ts'
import { verb } from '../verb.ts'
import { recordFields, recordOptions } from './device-record.ts'
import type { Device } from './device-text.ts'

export const deviceAdd = verb({
  name: 'add',
  summary: 'register a device',
  operands: [{ name: 'ID', describe: 'its name in the cluster, whatever its keys are' }],
  options: {
    key: option.texts({ describe: 'a public key line, or a file with one (repeatable)', placeholder: 'KEY' }),
    newKey: option.path({
      describe: 'make the key pair FILE and FILE.pub unless it is there, and register it',
    }),
    refused: option.text({
      describe: 'register a key that was refused, see `sshoal device refused`',
      placeholder: 'SHA256:…',
    }),
    ...recordOptions,
    ...clientOptions,
  },
  examples: [
    'sshoal device add door-7 --key door-7.pub --region eu',
    'sshoal device add door-7 --refused SHA256:mVPwvezndPv/ARoIadVY98vAC0g+P/5633yTC4d/wXE',
  ],
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    const keys = values.key.map(readPublicKey)
    if (values.newKey !== undefined) keys.push(await makeKeyPair(values.newKey, id))
    const json = {
      id,
      ...recordFields(values),
      keys: keys.length > 0 ? keys : undefined,
      refused: values.refused,
    }
    try {
      const device = await session.rest.call<Device>('/devices', { method: 'POST', json })
      return session.print(device, () => `device ${id} added\n`)
    } catch (error) {
      if (values.newKey === undefined) throw error
      const device = await ownerOf(session, id, keys, error)
      return session.print(device, () => `device ${id} was there already, with this key\n`)
    }
  },
})

/** The lines of the first start may be copied twice: a device that has these very keys already is no mistake. */
async function ownerOf(session: Session, id: string, keys: string[], error: unknown): Promise<Device> {
  if (!(error instanceof SshoalError) || error.details?.status !== 409) throw error
  const device = await session.rest.call<Device>(`/devices/${segment(id)}`)
  const held = new Set((device.keys ?? []).map(({ fingerprint }) => fingerprint))
  if (!keys.every((key) => held.has(parsePublicKeyLine(key).fingerprint))) throw error
  return device
}
