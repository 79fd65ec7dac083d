// A command line without a process: fake roles, a terminal that remembers, an environment of the test's own.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import { option, silentLog } from '@sshoal/shared'
import { vi } from 'vitest'

import { runCommandLine } from '../src/command-line.ts'
import { commandTree } from '../src/command-tree.ts'
import type { Roles } from '../src/roles.ts'
import type { Context } from '../src/verb.ts'

export interface Ran {
  code: number
  out: string
  err: string
  /** Other programs that ran on the terminal, with their arguments. */
  attached: string[][]
  /** The values with which roles were started, in order. */
  started: { role: string; values: Record<string, unknown> }[]
}

export interface Surroundings {
  env?: Record<string, string>
  cwd?: string
  /** Standard input. */
  input?: string
  /** What the person answers; without it nobody is at a terminal. */
  answer?: boolean
  width?: number
  /** What another program does; it ends with 0 unless told. */
  attach?: (command: string, args: string[]) => number
}

const HOST_KEY = 'ssh-ed25519 AAAAhostkey'

const logLevel = option.choice({
  describe: 'log level',
  values: ['info', 'silent'] as const,
  fallback: 'info',
})

export const fakeOptions = {
  masterOptions: {
    listen: option.address({ describe: 'where REST listens', fallback: '127.0.0.1:8080' }),
    data: option.pathOr({ describe: 'data directory', fallback: './data' }),
    insecureHttp: option.toggle({ describe: 'plain HTTP off loopback' }),
    cacheTtl: option.duration({ describe: 'how long answers count', fallback: '60s' }),
    logLevel,
  },
  slaveOptions: {
    master: option.urls({ describe: 'where the masters are', protocols: ['http:', 'https:'] }),
    token: option.secret({ describe: 'the slave token' }),
    id: option.text({ describe: 'name of the slave' }),
    sshListen: option.addresses({ describe: 'where devices connect', fallback: ['[::]:2222'] }),
    forwardPorts: option.portRange({ describe: 'ports of bound forwards', fallback: '20000-25000' }),
    data: option.pathOr({ describe: 'where the host key is', fallback: './data' }),
    logLevel,
  },
}

export async function run(words: string[], around: Surroundings = {}): Promise<Ran> {
  const ran: Ran = { code: 0, out: '', err: '', attached: [], started: [] }
  const roles: Roles = {
    ...fakeOptions,
    async startMaster(values) {
      ran.started.push({ role: 'master', values })
      const dataDir = `${around.cwd ?? '/nowhere'}/data`
      const server = createServer((_request, response) =>
        response.end(JSON.stringify({ hostKeys: [HOST_KEY] })),
      )
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      return {
        url,
        linkUrl: url,
        dataDir,
        adminTokenFile: `${dataDir}/admin-token`,
        slaveTokenFile: `${dataDir}/slave-token`,
        slaveToken: 'slave-secret',
        close: async () => {
          server.close()
          server.closeAllConnections()
        },
        reload: async () => {},
      }
    },
    async startSlave(values) {
      ran.started.push({ role: 'slave', values })
      return { id: 's1', host: '::', sshPorts: [2222], close: async () => {}, reload: async () => {} }
    },
  }
  const context: Context = {
    env: around.env ?? {},
    cwd: around.cwd ?? '/srv',
    program: { version: '1.2.3', script: '/srv/bin/sshoal', execArgv: [], spelling: 'npx sshoal' },
    terminal: {
      out: (text) => (ran.out += text),
      err: (text) => (ran.err += text),
      read: async () => around.input ?? '',
      confirm: async () => around.answer ?? false,
      asks: around.answer !== undefined,
      width: around.width,
    },
    createLog: () => Promise.resolve(silentLog()),
    announce: () => {},
    attach: async (command, args) => {
      ran.attached.push([command, ...args])
      return around.attach?.(command, args) ?? 0
    },
    hold: async (role) => {
      // What `up` has to say comes after it is up.
      if (words[0] === 'up') await vi.waitUntil(() => ran.out !== '')
      await (await role).close()
      return 0
    },
  }
  ran.code = await runCommandLine(commandTree(roles), words, context)
  return ran
}
