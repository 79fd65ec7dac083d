// A target as REST gives it and as people read it.
import { fingerprintOf, formatHostPort } from '@sshoal/shared'

import type { Kind } from '../record-verbs.ts'
import { formatFields } from '../table.ts'
import { relativeTime } from '../time-text.ts'

export interface Target {
  name: string
  uuid?: string
  kind: 'device' | 'host'
  device?: string | null
  address?: string | null
  port?: number | null
  region?: string | null
  hostKeys: string[]
  gates: string[]
  online?: boolean
  seenAt?: string | number | null
}

export const targets: Kind<Target> = {
  noun: 'target',
  operand: { name: 'TARGET', describe: 'its name or its UUID' },
  route: '/targets',
  describe: (target) =>
    formatFields([
      ['target', target.name],
      ['uuid', target.uuid],
      ['is', placeText(target)],
      ['region', target.region],
      ['gates', target.gates.join(', ')],
      ['online', onlineText(target)],
    ]) + target.hostKeys.map((line) => `host key  ${hostKeyText(line)}\n`).join(''),
}

/** The device behind it, or the address. */
export function placeText({ kind, device, address, port }: Target): string {
  return kind === 'device' ? `device ${device ?? '-'}` : formatHostPort(address ?? '-', port ?? 22)
}

export function onlineText({ kind, online, seenAt }: Target): string | undefined {
  if (kind === 'host') return undefined
  return online ? 'up' : relativeTime(seenAt)
}

/** `SHA256:… ssh-ed25519`, as ssh shows it when it asks. */
export function hostKeyText(line: string): string {
  const [type = '', blob = ''] = line.split(' ')
  return `${fingerprintOf(Buffer.from(blob, 'base64'))} ${type}`
}
