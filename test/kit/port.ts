// Port ranges that no other test on this machine uses at the same time. Only for what cannot be told to
// listen on port 0: forward ranges and sshd.

import { createServer, type Server } from 'node:net'

import { atEnd } from './ending.ts'

// Below the range from which the kernel takes ports for outgoing connections.
const FIRST = 20_000
const LAST = 32_000
const BLOCK = 50

export interface PortRange {
  first: number
  last: number
}

/** A block is taken while a socket stands on its first port: a lock which no crash can leave behind. */
function lock(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => {
      resolve(undefined)
    })
    // An address that nothing else uses, so that the port itself stays free on 127.0.0.1.
    server.listen({ host: '127.77.0.1', port, exclusive: true }, () => {
      resolve(server)
    })
  })
}

/** At least `count` ports in a row, for this test alone until it ends. */
export async function takePorts(count = BLOCK): Promise<PortRange> {
  const blocks = Math.ceil(count / BLOCK)
  const starts = Math.floor((LAST - FIRST) / BLOCK) - blocks
  const from = Math.floor(Math.random() * starts)
  for (let tried = 0; tried < starts; tried++) {
    const first = FIRST + ((from + tried) % starts) * BLOCK
    const ports = Array.from({ length: blocks }, (_, index) => first + index * BLOCK)
    const locks = await Promise.all(ports.map(lock))
    const held = locks.filter((server) => server !== undefined)
    const free = (): unknown => Promise.all(held.map((server) => new Promise((done) => server.close(done))))
    if (held.length === blocks) {
      atEnd(free)
      return { first, last: first + count - 1 }
    }
    await free()
  }
  throw new Error(`no ${count} ports in a row are free between ${FIRST} and ${LAST}`)
}
