// A master in a process of its own, on the embedded store, with the tokens that it made at its first start.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { makeFolder } from './folder.ts'
import { masterReady, startSshoal, type Sshoal } from './sshoal.ts'

export interface MasterOptions {
  /** A folder of this test unless told. */
  dataDir?: string
  /** `127.0.0.1:0` unless told. */
  listen?: string
  hook?: string
  flags?: string[]
  env?: Record<string, string>
  netns?: string
  /** Another build of the command than the production build. */
  cli?: string
}

export interface Master {
  url: string
  dataDir: string
  adminToken: string
  slaveToken: string
  /** The file with the slave token, for `--token-file`. */
  slaveTokenFile: string
  netns: string | undefined
  process: Sshoal
}

export async function startMaster(options: MasterOptions = {}): Promise<Master> {
  const { dataDir = makeFolder(), listen = '127.0.0.1:0', flags = [], env, netns, cli } = options
  const hook = options.hook === undefined ? [] : ['--hook', options.hook]
  const args = ['master', '--listen', listen, '--data', dataDir, ...hook, ...flags]
  const process = startSshoal(args, { cwd: dataDir, env, netns, ...(cli === undefined ? {} : { cli }) })
  const { url } = await masterReady(process)
  const slaveTokenFile = join(dataDir, 'slave-token')
  const token = (file: string): string => readFileSync(file, 'utf8').trim()
  return {
    url,
    dataDir,
    adminToken: token(join(dataDir, 'admin-token')),
    slaveToken: token(slaveTokenFile),
    slaveTokenFile,
    netns,
    process,
  }
}
