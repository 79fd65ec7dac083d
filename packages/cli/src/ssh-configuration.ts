// What `GET /ssh-config` gives, made to fit the folder where it is written: the paths are the person's own.
import { option, SshoalError, type Values } from '@sshoal/shared'

import type { Session } from './session.ts'

export interface SshConfiguration {
  /** For OpenSSH: a block for the gate and one for every target. */
  config: string
  knownHosts: string
  /** `name` is what the config calls the gate. */
  gate: { name: string; host: string; port: number }
}

export const sshConfigurationOptions = {
  user: option.text({ describe: 'whose targets; a token of role user means its own' }),
  gate: option.text({ describe: 'the gate to enter by; unset: the default one', placeholder: 'NAME' }),
  identity: option.path({
    describe: "the private key to show at gate and targets; it is only named, never read; unset: ssh's own",
  }),
}

export async function fetchSshConfiguration(
  session: Session,
  { user, gate, identity }: Values<typeof sshConfigurationOptions>,
): Promise<SshConfiguration> {
  const answer = await session.rest.call<SshConfiguration>('/ssh-config', { query: { user, gate } })
  if (identity === undefined) return answer
  const lines = `  IdentityFile ${quotedPath(identity)}\n  IdentitiesOnly yes\n`
  return { ...answer, config: answer.config.replaceAll(/^Host .*\n/gm, (line) => line + lines) }
}

/** The config with host keys looked up in `knownHosts`, a path. */
export function configFor({ config }: SshConfiguration, knownHosts: string): string {
  const path = quotedPath(knownHosts)
  return config.replaceAll(
    /^([ \t]*UserKnownHostsFile[ \t]).*$/gm,
    (_line, before: string) => `${before}${path}`,
  )
}

/** What the `Host` lines name: plain names, and patterns that begin with `*.`. */
function hostNames({ config }: SshConfiguration): string[] {
  return [...config.matchAll(/^Host (.*)$/gm)].flatMap(([, words = '']) => words.trim().split(/\s+/))
}

/** Gates, and forwards of targets, have dots in their names. */
export function countTargets(configuration: SshConfiguration): number {
  return [...configuration.config.matchAll(/^Host [^\s.]+(\s|$)/gm)].length
}

/** Is there a block for this name, in lower case? */
export function hasBlock(configuration: SshConfiguration, name: string): boolean {
  return hostNames(configuration).some((word) =>
    word.startsWith('*.') ? name.endsWith(word.slice(1)) : word === name,
  )
}

/** As ssh_config(5) reads a path. Throws INVALID_PATH for one that ssh would take for a pattern, a token or a variable. */
export function quotedPath(path: string): string {
  // oxlint-disable-next-line no-control-regex -- the control characters are what is looked for
  if (/[\u0000-\u001f\u007f"%$*?[\]\\]/.test(path))
    throw new SshoalError(
      'INVALID_PATH',
      `${JSON.stringify(path)}: a configuration of ssh cannot name a path with " % $ * ? [ ] \\ or control characters`,
    )
  return `"${path}"`
}
