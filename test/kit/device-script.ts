// `deploy/device/sshoal-device` in a process of its own: under a given shell, with the given SSH client and
// HTTP client and no other, and with seconds shortened to what a test can wait for.

import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { makeFolder } from './folder.ts'
import type { Key } from './key.ts'
import { start, withWords, type Started } from './process.ts'
import { run, type Ran } from './run.ts'

export const deviceScript = fileURLToPath(new URL('../../deploy/device/sshoal-device', import.meta.url))

export interface Machine {
  /** `dash` with the tools of a usual Debian, `ash` with those of busybox. */
  shell?: 'dash' | 'ash'
  client?: 'openssh' | 'dropbear'
  fetcher?: 'curl' | 'wget' | 'busybox wget'
  /** More programs: name and the file that it is. */
  programs?: Record<string, string>
}

export interface DeviceScriptOptions extends Machine {
  args?: string[]
  env?: Record<string, string | undefined>
  netns?: string
  /** Where it keeps its slots and what it says about itself; give the same again to start the same device again. */
  state?: string
  key?: Key
}

export interface DeviceScript extends Started {
  state: string
  /** Runs `sshoal-device status` for this one. */
  status(): Promise<Ran>
}

// All that the script may use beside its clients.
const TOOLS =
  'awk cat chmod cp date dirname grep head kill ln mkdir mkfifo mv od rm sed sh sleep tail tr uname'.split(
    ' ',
  )

const CLIENTS = {
  openssh: { ssh: '/usr/bin/ssh', 'ssh-keygen': '/usr/bin/ssh-keygen' },
  dropbear: { dbclient: '/usr/bin/dbclient', dropbearkey: '/usr/bin/dropbearkey' },
}

const FETCHERS = {
  curl: { curl: '/usr/bin/curl' },
  wget: { wget: '/usr/bin/wget' },
  'busybox wget': { wget: '/usr/bin/busybox' },
}

const TIMES = {
  SSHOAL_DEVICE_ASK_MS: '3000',
  SSHOAL_DEVICE_LOGIN_MS: '8000',
  SSHOAL_DEVICE_STABLE_MS: '500',
  SSHOAL_DEVICE_BACKOFF_MIN_MS: '100',
  SSHOAL_DEVICE_BACKOFF_MAX_MS: '400',
  SSHOAL_DEVICE_REFUSED_MIN_MS: '800',
  SSHOAL_DEVICE_REFUSED_MAX_MS: '2000',
}

/** The folder that is all of PATH on such a machine. */
function equip({ shell = 'dash', client = 'openssh', fetcher = 'curl', programs = {} }: Machine): string {
  const folder = join(makeFolder(), 'bin')
  mkdirSync(folder)
  const usual = (tool: string): string => (tool === 'sh' ? '/usr/bin/dash' : `/usr/bin/${tool}`)
  const tools = TOOLS.map((tool) => [tool, shell === 'ash' ? '/usr/bin/busybox' : usual(tool)])
  const files = { ...Object.fromEntries(tools), ...CLIENTS[client], ...FETCHERS[fetcher], ...programs }
  for (const [name, file] of Object.entries(files)) symlinkSync(String(file), join(folder, name))
  return folder
}

/** PATH is set by `env`, so that `ip` is still found where the script runs in a network namespace. */
function commandLine(options: DeviceScriptOptions, args: string[]): [string, string[]] {
  const shell = options.shell === 'ash' ? ['/usr/bin/busybox', 'ash'] : ['/usr/bin/dash']
  return ['/usr/bin/env', [`PATH=${equip(options)}`, ...shell, deviceScript, ...args]]
}

function environment({ env }: DeviceScriptOptions): Record<string, string | undefined> {
  return { JOURNAL_STREAM: undefined, LC_ALL: 'C', ...TIMES, ...env }
}

/** Runs one of its verbs to the end. */
export function runDeviceScript(args: string[], options: DeviceScriptOptions = {}): Promise<Ran> {
  const [command, argv] = commandLine(options, args)
  return run(command, argv, { env: environment(options), netns: options.netns, cwd: makeFolder() })
}

/** Starts `run` and answers at once. No configuration but these arguments. */
export function startDeviceScript(options: DeviceScriptOptions): DeviceScript {
  const { args = [], netns, state = makeFolder(), key } = options
  const settings = ['--state', state, ...(key === undefined ? [] : ['--key', key.path])]
  const [command, argv] = commandLine(options, ['run', ...settings, ...args])
  const env = environment(options)
  const started = start(command, argv, { env, netns, cwd: makeFolder() })
  const status = () => runDeviceScript(['status', ...settings], options)
  return withWords(started, { state, status })
}
