// The files of the gate beside the person's own ssh configuration, and the one line in that which names them.
// Every file is replaced at once, so that an ssh that starts meanwhile reads the old one or the new one.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

import { errorText, SshoalError } from '@sshoal/shared'

import { configFor, quotedPath, type SshConfiguration } from './ssh-configuration.ts'

export interface SshFiles {
  config: string
  knownHosts: string
}

/** `config` and `known_hosts` in `folder`, which is made. Throws NOT_WRITTEN. */
export function writeSshFiles(folder: string, configuration: SshConfiguration): SshFiles {
  const files = { config: join(folder, 'config'), knownHosts: join(folder, 'known_hosts') }
  const config = configFor(configuration, files.knownHosts)
  reported(folder, () => {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    replaceFile(files.knownHosts, configuration.knownHosts)
    replaceFile(files.config, config)
  })
  return files
}

/** The files in `sshDir/sshoal`, and the Include on top of `sshDir/config`, where no Host above can narrow it. */
export function installSshFiles(sshDir: string, configuration: SshConfiguration): SshFiles {
  const line = includeLine(sshDir)
  const files = writeSshFiles(join(sshDir, 'sshoal'), configuration)
  const main = join(sshDir, 'config')
  reported(main, () => {
    const before = existsSync(main) ? readFileSync(main, 'utf8') : ''
    if (!before.split('\n').includes(line)) replaceFile(main, `${line}\n${before}`)
  })
  return files
}

/** Takes away what `installSshFiles` made and nothing else. True: there was something. */
export function uninstallSshFiles(sshDir: string): boolean {
  const line = includeLine(sshDir)
  const main = join(sshDir, 'config')
  const folder = join(sshDir, 'sshoal')
  return reported(main, () => {
    let found = existsSync(join(folder, 'config'))
    const before = existsSync(main) ? readFileSync(main, 'utf8') : ''
    const lines = before.split('\n')
    if (lines.includes(line)) {
      found = true
      const rest = lines.filter((text) => text !== line).join('\n')
      if (rest === '') rmSync(main)
      else replaceFile(main, rest)
    }
    // After the line: an ssh that starts meanwhile must not miss what it names.
    for (const name of ['config', 'known_hosts']) rmSync(join(folder, name), { force: true })
    if (existsSync(folder) && readdirSync(folder).length === 0) rmdirSync(folder)
    return found
  })
}

function includeLine(sshDir: string): string {
  return `Include ${quotedPath(join(sshDir, 'sshoal', 'config'))}`
}

/** Keeps the mode of what was there, 0600 for a new one; a link stays a link. */
function replaceFile(path: string, text: string): void {
  const real = existsSync(path) ? realpathSync(path) : path
  const mode = existsSync(real) ? statSync(real).mode & 0o777 : 0o600
  mkdirSync(dirname(real), { recursive: true, mode: 0o700 })
  const fresh = `${real}.${process.pid}.new`
  writeFileSync(fresh, text, { mode })
  chmodSync(fresh, mode)
  renameSync(fresh, real)
}

function reported<T>(path: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (error instanceof SshoalError) throw error
    throw new SshoalError('NOT_WRITTEN', `${path} cannot be written: ${errorText(error)}`, { cause: error })
  }
}
