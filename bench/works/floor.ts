// The floor under a connect: the turns of a login on Node's sockets, without and with its cryptography, and no SSH.
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'

import { benchFolder } from '../folders.ts'
import { cpuDuring, start } from '../process.ts'

const TURNS = 9
const MESSAGE = Buffer.alloc(100)
const CONNECTS = 1_000
const AT_ONCE = 32

export interface Floor {
  /** CPU of the server, ms per connect. */
  round(): Promise<number>
  stop(): Promise<void>
}

export async function startFloor(kind: 'sockets' | 'cryptography'): Promise<Floor> {
  const server = start('node', [join(benchFolder, 'peers/node-floor.mjs'), kind])
  const port = Number((await server.hear()).port)
  const many = async (): Promise<Socket[]> => {
    const sockets: Socket[] = []
    let left = CONNECTS
    const worker = async (): Promise<void> => {
      while (left-- > 0) sockets.push(await login(port))
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker))
    return sockets
  }
  const round = async (): Promise<number> => {
    const { result, cpu } = await cpuDuring({ server: [server.pid] }, many)
    // Without TIME_WAIT, which takes a port for a minute: the search for a free one is in the figure.
    for (const socket of result) socket.resetAndDestroy()
    return ((cpu.server ?? 0) / CONNECTS) * 1_000
  }
  // Cold code, as in the other works.
  for (let warm = 0; warm < 2; warm++) await round()
  return { round, stop: () => server.stop('SIGKILL') }
}

function login(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    let turns = 0
    const socket = connect({ port, host: '127.0.0.1', noDelay: true }, () => socket.write(MESSAGE))
    socket.on('error', reject)
    socket.on('data', () => {
      if (++turns === TURNS) resolve(socket)
      else socket.write(MESSAGE)
    })
  })
}
