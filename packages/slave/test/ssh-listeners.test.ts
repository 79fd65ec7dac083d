import { once } from 'node:events'
import { connect, type Server, type Socket } from 'node:net'

import { afterEach, expect, test } from 'vitest'

import { startSshListeners, type SshListeners } from '../src/ssh-listeners.ts'
import { until } from './fixture.ts'

const local = { host: '127.0.0.1', port: 0 }
const sockets: Socket[] = []
let listeners: SshListeners | undefined
afterEach(() => {
  listeners?.close()
  for (const socket of sockets.splice(0)) socket.destroy()
})

async function call(port = 0): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  sockets.push(socket)
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

test('T035: it listens before anybody takes its connections, and hands over those that came early', async () => {
  listeners = await startSshListeners([local, local])
  expect(new Set(listeners.ports).size).toBe(2)
  for (const port of listeners.ports) await call(port)
  const taken: Socket[] = []
  sockets[0]?.resetAndDestroy() // who goes before he was taken ends nothing else
  await new Promise((resolve) => setImmediate(resolve))
  listeners.take((socket) => {
    sockets.push(socket)
    taken.push(socket)
  })
  await until(() => taken.length === 2)
  await call(listeners.ports[0])
  await until(() => taken.length === 3)
})

test('an address that is taken is LISTEN_FAILED with its name, and then none listens', async () => {
  listeners = await startSshListeners([local])
  const taken = listeners.ports[0] ?? 0
  await expect(startSshListeners([local, { host: '127.0.0.1', port: taken }])).rejects.toMatchObject({
    code: 'LISTEN_FAILED',
    message: expect.stringContaining(`127.0.0.1:${taken}`) as string,
  })
})

test('connections that cannot be accepted, for want of descriptors, do not end the slave', async () => {
  listeners = await startSshListeners([local])
  const servers: Server[] = []
  listeners.take((socket) => {
    sockets.push(socket)
    servers.push((socket as unknown as { server: Server }).server)
  })
  await call(listeners.ports[0])
  await until(() => servers.length === 1)
  for (let time = 0; time < 3; time++) servers[0]?.emit('error', new Error('accept EMFILE'))
  await call(listeners.ports[0])
  await until(() => servers.length === 2)
})
