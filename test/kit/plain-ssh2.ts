// A server on plain ssh2, written as its documentation shows it: what our own does better is shown beside it. It runs in
// a process of its own, so that its end can be watched.

import { start, type Started } from './process.ts'

export interface PlainSsh2 {
  host: string
  port: number
  process: Started
}

const CODE = `
const net = require('node:net')
const { Server, utils } = require('ssh2')
const config = JSON.parse(process.argv[1])
const hostKeys = [utils.generateKeyPairSync('ed25519').private]
const server = new Server({ hostKeys, ...config.server }, (client) => {
  if (!config.deaf) client.on('error', (error) => console.log('error: ' + error.message))
  client.on('authentication', (context) => context.method === 'none' ? context.reject(['publickey']) : context.accept())
  const listeners = []
  client.on('close', () => listeners.forEach((listener) => listener.close()))
  client.on('ready', () => {
    client.on('session', (accept) => accept())
    client.on('request', (accept, reject, name, info) => {
      if (name !== 'tcpip-forward') return accept()
      const listener = net.createServer({ allowHalfOpen: true }, (socket) => {
        socket.on('error', () => {})
        client.forwardOut(info.bindAddr, listener.address().port, socket.remoteAddress, socket.remotePort, (error, channel) => {
          if (error) return socket.end()
          socket.pipe(channel).pipe(socket)
        })
      })
      listeners.push(listener)
      listener.listen(info.bindPort, config.address, () => accept(listener.address().port))
    })
  })
})
server.listen(0, config.address, () => console.log('port ' + server.address().port))
`

export interface PlainSsh2Options {
  /** More for ssh2's Server. */
  server?: object
  /** Without a listener for 'error' on its connections. */
  deaf?: boolean
  address?: string
  netns?: string
}

export async function startPlainSsh2(options: PlainSsh2Options = {}): Promise<PlainSsh2> {
  const { netns, address: host = '127.0.0.1', ...more } = options
  const process = start(
    globalThis.process.execPath,
    ['-e', CODE, JSON.stringify({ address: host, ...more })],
    {
      cwd: new URL('../..', import.meta.url).pathname,
      ...(netns === undefined ? {} : { netns }),
    },
  )
  const [, port] = await process.waitForOutput(/port (\d+)/)
  return { host, port: Number(port), process }
}
