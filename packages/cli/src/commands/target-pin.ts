// `sshoal target pin`: the host keys that are believed of a target. Handed in, or read through the gate and confirmed.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import { errorText, option, SshoalError } from '@sshoal/shared'

import { clientOptions, confirmOptions } from '../client-options.ts'
import { readPublicKey } from '../public-key-argument.ts'
import { segment, Session } from '../session.ts'
import { fetchSshConfiguration, sshConfigurationOptions } from '../ssh-configuration.ts'
import { withSshFiles } from '../ssh-run.ts'
import { verb, type Context } from '../verb.ts'
import { hostKeyText, targets, type Target } from './target-record.ts'

export const targetPin = verb({
  name: 'pin',
  summary: 'say which host keys a target has; ssh then refuses every other',
  operands: [targets.operand],
  options: {
    key: option.texts({ describe: 'a host key, a line or a .pub file (repeatable)', placeholder: 'KEY' }),
    keyFile: option.paths({ describe: 'a file with one host key per line, as ssh-keyscan prints them' }),
    scan: option.toggle({
      describe: 'ask the target itself, through the gate with your own key, and show what it says',
    }),
    ...sshConfigurationOptions,
    ...confirmOptions,
    ...clientOptions,
  },
  examples: [
    'sshoal target pin door-7 --key /etc/ssh/ssh_host_ed25519_key.pub',
    'sshoal target pin door-7 --scan --user ann',
  ],
  async run({ values, operands, context }) {
    const [name = ''] = operands
    const session = new Session(values, context)
    const keys = [...values.key.map(readPublicKey), ...values.keyFile.flatMap(readKeyFile)]
    if (values.scan) {
      const configuration = await fetchSshConfiguration(session, values)
      const found = await withSshFiles(configuration, context.env, ({ config }) =>
        scan(name, config, context.env),
      )
      if (found.length === 0)
        throw new SshoalError(
          'NO_HOST_KEY',
          `${name} showed no host key; see why with \`sshoal ssh ${name}\``,
        )
      context.terminal.err(found.map((key) => `${hostKeyText(key)}\n`).join(''))
      await session.confirm(`Are these the host keys of ${name}?`, values.yes)
      keys.push(...found)
    }
    if (keys.length === 0) throw new SshoalError('INVALID_VALUE', 'say one of --key, --key-file and --scan')
    const answer = await session.rest.call<Target>(`${targets.route}/${segment(name)}`, {
      method: 'PATCH',
      json: { hostKeys: [...new Set(keys.map(withoutComment))] },
    })
    return session.print(answer, targets.describe)
  },
})

function withoutComment(line: string): string {
  return line.split(/\s+/).slice(0, 2).join(' ')
}

/** The keys of a .pub file, or of known_hosts lines, whose first word is a name. */
function readKeyFile(path: string): string[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new SshoalError('UNREADABLE', `cannot read ${path}: ${errorText(error)}`, { cause: error })
  }
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => readPublicKey(/^\S+ +AAAA/.test(line) ? line : line.replace(/^\S+\s+/, '')))
}

const TYPES = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521',
  'rsa-sha2-512,rsa-sha2-256',
]

/** One connection per type of key: a server shows only the one that was agreed on. Nobody logs in. */
async function scan(name: string, config: string, env: Context['env']): Promise<string[]> {
  const found: string[] = []
  for (const [index, algorithms] of TYPES.entries()) {
    const seen = join(config, '..', `seen-${index}`)
    const settings = {
      BatchMode: 'yes',
      StrictHostKeyChecking: 'accept-new',
      UserKnownHostsFile: seen,
      GlobalKnownHostsFile: '/dev/null',
      UpdateHostKeys: 'no',
      HostKeyAlgorithms: algorithms,
      PreferredAuthentications: 'none',
      ConnectTimeout: '20',
    }
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
    await runQuietly(env, ['-F', config, ...flags, '--', name, 'true'])
    if (existsSync(seen)) found.push(...readKeyFile(seen))
  }
  return found
}

async function runQuietly(env: Context['env'], args: string[]): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const child = spawn('ssh', args, { env, stdio: 'ignore' })
    child.once('error', (error) =>
      reject(new SshoalError('NOT_STARTED', `ssh cannot be started: ${errorText(error)}`, { cause: error })),
    )
    child.once('close', () => resolve())
  })
}
