// The peer in Node: a reverse-forward server as people write it with plain ssh2. Lets every key in, holds forwards.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { parseArgs } from 'node:util'

import ssh2 from 'ssh2'

const { values } = parseArgs({ options: { listen: { type: 'string' }, 'host-key': { type: 'string' } } })
const [host, port] = values.listen.split(':')
const server = new ssh2.Server(
  { hostKeys: [readFileSync(values['host-key'])], keepaliveInterval: 0 },
  (client) => {
    const forwards = []
    client.setNoDelay(true)
    client.on('error', () => {})
    client.on('authentication', (context) => {
      if (context.method !== 'publickey') return context.reject(['publickey'])
      if (!context.signature) return context.accept()
      const key = ssh2.utils.parseKey(context.key.data)
      if (key.verify(context.blob, context.signature, context.hashAlgo) === true) context.accept()
      else context.reject()
    })
    client.on('request', (accept, reject, name, { bindAddr, bindPort }) => {
      if (name !== 'tcpip-forward') return reject?.()
      const forward = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        socket.on('error', () => {})
        const told = bindPort === 0 ? forward.address().port : bindPort
        client.forwardOut(
          bindAddr,
          told,
          socket.remoteAddress ?? '',
          socket.remotePort ?? 0,
          (error, channel) => {
            if (error) return socket.destroy()
            channel.on('error', () => {})
            socket.pipe(channel).pipe(socket)
            socket.on('close', () => channel.destroy())
          },
        )
      })
      forwards.push(forward)
      forward.on('error', () => reject?.())
      forward.listen(bindPort, '127.0.0.1', () => accept?.(forward.address().port))
    })
    client.on('session', (accept, reject) => reject())
    client.on('close', () => {
      for (const forward of forwards) forward.close()
    })
  },
)
server._srv.listen({ host, port: Number(port), backlog: 1024 })
