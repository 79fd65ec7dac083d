// Who is who in the bench: every key is a device of its own.
import { createHash } from 'node:crypto'

export async function validate_device(publicKey: string): Promise<{ client_key: string }> {
  return { client_key: `device-${createHash('sha256').update(publicKey).digest('hex').slice(0, 16)}` }
}
