// A key pair for a device, made by the ssh-keygen that stands beside every `ssh`; one that is there already is used.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'

import { errorText, SshoalError } from '@sshoal/shared'

/** The public key line of `file`, which is made (ed25519, without passphrase, 0600) unless it exists. */
export async function makeKeyPair(file: string, comment: string): Promise<string> {
  if (!existsSync(file)) await keygen(['-q', '-t', 'ed25519', '-N', '', '-C', comment, '-f', file])
  if (!existsSync(`${file}.pub`))
    throw new SshoalError(
      'UNREADABLE',
      `${file} exists without ${file}.pub; make that with \`ssh-keygen -y -f ${file}\``,
    )
  return readFileSync(`${file}.pub`, 'utf8').trim()
}

async function keygen(args: string[]): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const child = spawn('ssh-keygen', args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
    child.once('error', (error) =>
      reject(
        new SshoalError(
          'NO_SSH_KEYGEN',
          `ssh-keygen cannot be started (${errorText(error)}); install OpenSSH's client`,
          {
            cause: error,
          },
        ),
      ),
    )
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new SshoalError('NO_KEY_MADE', `ssh-keygen failed: ${said.trim()}`)),
    )
  })
}
