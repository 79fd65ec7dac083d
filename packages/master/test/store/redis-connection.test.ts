import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'

import { expect, it, onTestFinished } from 'vitest'

import { parseRedisUrl } from '../../src/store/redis-address.ts'
import { makeRedisClient } from '../../src/store/redis-connection.ts'

const bulk = (text: string): string => `$${text.length}\r\n${text}\r\n`

/** A Redis Cluster of one node, which answers a `GET` only when who asked hangs up, and then that the slot has moved. */
async function startNode() {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    let moved = ''
    const answer = (command: string): string => {
      if (command.includes('slots')) {
        return `*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n${bulk('127.0.0.1')}:${port}\r\n`
      }
      if (command.includes('info')) return bulk('cluster_state:ok\r\nloading:0\r\n')
      if (!command.includes('get')) return '+OK\r\n'
      moved = `-MOVED 0 127.0.0.1:${port}\r\n`
      server.emit('asked')
      return ''
    }
    socket.on('data', (data) => {
      const commands = data
        .toString()
        .toLowerCase()
        .split(/(?=\*\d+\r\n)/)
      socket.write(commands.map(answer).join(''))
    })
    socket.on('end', () => socket.end(moved))
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { url: `redis+cluster://127.0.0.1:${port}`, asked: once(server, 'asked') }
}

it('is there again when a node of the cluster answers what was asked before the connection was given up', async () => {
  const node = await startNode()
  const client = makeRedisClient({ address: parseRedisUrl(node.url) })
  onTestFinished(() => client.disconnect())
  client.on('error', () => {})
  await once(client, 'ready')
  const answer = expect(client.get('a')).rejects.toThrow(/isn't ready/)
  await node.asked
  client.disconnect(true)
  await answer
  await once(client, 'ready')
})
