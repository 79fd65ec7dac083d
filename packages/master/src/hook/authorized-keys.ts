// An authorized_keys file (sshd(8)) as a list of devices: the comment is the device's id. Pure.
// Options before the key are refused: none of them would be honoured here, and some are restrictions.
import { errorText, parsePublicKeyLine, type SshPublicKey } from '@sshoal/shared'

export interface AuthorizedKey extends SshPublicKey {
  device: string
}

export interface LineProblem {
  /** From 1. */
  line: number
  reason: string
}

const DEVICE_ID = /^[A-Za-z0-9._:@-]{1,128}$/

/** Good lines by fingerprint; a bad line costs itself alone. */
export function readAuthorizedKeys(text: string): {
  keys: Map<string, AuthorizedKey>
  problems: LineProblem[]
} {
  const keys = new Map<string, AuthorizedKey>()
  const problems: LineProblem[] = []
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    try {
      const key = parsePublicKeyLine(line)
      const reason = problemOf(key, keys)
      if (reason === undefined) keys.set(key.fingerprint, { ...key, device: key.comment })
      else problems.push({ line: index + 1, reason })
    } catch (error) {
      problems.push({ line: index + 1, reason: errorText(error) })
    }
  }
  return { keys, problems }
}

function problemOf(key: SshPublicKey, keys: Map<string, AuthorizedKey>): string | undefined {
  if (key.comment === '') return 'no comment behind the key; it is the id of the device'
  if (!DEVICE_ID.test(key.comment)) return `the comment "${key.comment.slice(0, 60)}" is not a device id`
  const before = keys.get(key.fingerprint)
  return before && before.device !== key.comment ? `the key belongs to ${before.device} already` : undefined
}
