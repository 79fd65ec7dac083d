// One process per embedded store: a Unix socket beside the data, which the kernel takes from a process that dies.
// Chosen over a file with a process id, which means nothing in another container that mounts the same folder.
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'

import { SshoalError } from '@sshoal/shared'

export interface StoreLock {
  release(): Promise<void>
}

const ATTEMPTS = 5

/** Holds `dir` until released or dead. Throws STORE_LOCKED naming the holder's process, STORE_FAILED where sockets cannot be made. */
export async function lockStore(dir: string): Promise<StoreLock> {
  const folder = openSync(dir, 'r')
  // sun_path holds 108 bytes; through /proc the name of the folder does not count.
  const base = process.platform === 'linux' ? `/proc/self/fd/${folder}` : dir
  const path = join(base, 'owner.sock')
  const pidFile = join(dir, 'owner.pid')
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const server = await bind(path)
      if (server) {
        writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 })
        return { release: () => release(server, pidFile, folder) }
      }
      if (await answers(path)) throw locked(dir, pidFile)
      await clearStale(path, `${path}.${process.pid}`)
    }
    throw locked(dir, pidFile)
  } catch (error) {
    closeSync(folder)
    if (error instanceof SshoalError) throw error
    throw new SshoalError('STORE_FAILED', `cannot lock ${dir}: a Unix socket cannot be made there`, {
      cause: error,
    })
  }
}

function locked(dir: string, pidFile: string): SshoalError {
  const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : undefined
  return new SshoalError(
    'STORE_LOCKED',
    `${dir} is in use by process ${pid ?? '?'}; stop it, or name another --data folder`,
    { details: { pid } },
  )
}

/** Undefined: somebody's socket stands there, living or dead. */
function bind(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
    )
    server.listen({ path }, () => {
      server.unref()
      resolve(server)
    })
  })
}

/** Refused: nobody listens, its process is gone. Missing: it was released this moment. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.on('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    )
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })
}

/** Moves the dead socket aside before it goes: of two that clear at once, the second would else take the first one's new one. */
async function clearStale(path: string, aside: string): Promise<void> {
  try {
    renameSync(path, aside)
  } catch {
    return // another process cleared it first
  }
  if (await answers(aside)) renameSync(aside, path)
  else rmSync(aside, { force: true })
}

function release(server: Server, pidFile: string, folder: number): Promise<void> {
  rmSync(pidFile, { force: true })
  return new Promise((resolve) => {
    server.close(() => {
      closeSync(folder)
      resolve()
    })
  })
}
