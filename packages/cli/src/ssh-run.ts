// A configuration for ssh that lasts as long as something runs with it.
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { quotedPath, type SshConfiguration } from './ssh-configuration.ts'
import { writeSshFiles, type SshFiles } from './ssh-installation.ts'

/** `use` gets the files, which are gone when it is done. */
export async function withSshFiles<T>(
  configuration: SshConfiguration,
  env: Record<string, string | undefined>,
  use: (files: SshFiles) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'sshoal-ssh-'))
  // The first value counts in ssh_config(5): what is ours stands, and what the person set otherwise holds too.
  const own = [join(env.HOME ?? '/', '.ssh', 'config'), '/etc/ssh/ssh_config'].filter(existsSync)
  const rest = own.map((path) => `Include ${quotedPath(path)}\n`).join('')
  const config = `${configuration.config}\nMatch all\n${rest}`
  try {
    return await use(writeSshFiles(folder, { ...configuration, config }))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
