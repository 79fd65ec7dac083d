import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { version } from 'node:process'

import { expect, test } from 'vitest'

import { acceptCheaply } from '../../src/ssh2/patches/cheap-accept.ts'

async function listen(options: net.ServerOpts): Promise<{ server: net.Server; port: number }> {
  const server = net.createServer(options)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, port: (server.address() as net.AddressInfo).port }
}

test.each([true, false])(
  'a server hands over the same sockets as ever (half-open: %s)',
  async (allowHalfOpen) => {
    const seen: object[] = []
    for (const cheap of [false, true]) {
      const { server, port } = await listen({ allowHalfOpen, noDelay: true })
      if (cheap) expect(acceptCheaply(server)).toBe(true)
      const far = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
      const [near] = (await once(server, 'connection')) as [net.Socket]
      let got = ''
      near.on('data', (chunk: Buffer) => (got += chunk.toString()))
      far.on('data', () => {})
      far.end('all there is')
      await once(near, 'end')
      const open = await new Promise((resolve) => server.getConnections((_error, count) => resolve(count)))
      seen.push({
        got,
        open,
        halfOpen: near.allowHalfOpen,
        from: near.remotePort === far.localPort,
        waterMarks: [near.readableHighWaterMark, near.writableHighWaterMark],
        // What Node keeps of `noDelay`, and of where a socket comes from.
        noDelay: Object.getOwnPropertySymbols(near).map((name) => [String(name), typeof near[name as never]]),
        isOurs: (near as unknown as { _server: unknown })._server === server,
      })
      // Ends only when its sockets are gone.
      server.close()
      near.end()
      await once(server, 'close')
      expect(near.destroyed).toBe(true)
    }
    expect(seen[1]).toEqual(seen[0])
    expect(seen[1]).toMatchObject({ got: 'all there is', open: 1, isOurs: true })
  },
)

test('a server that is not listening, and one with a limit of its own, go on as ever', async () => {
  expect(acceptCheaply(net.createServer())).toBe(false)
  const { server, port } = await listen({})
  acceptCheaply(server)
  server.maxConnections = 1
  const first = net.connect(port, '127.0.0.1')
  const second = net.connect(port, '127.0.0.1')
  second.on('error', () => {})
  await once(server, 'drop')
  first.destroy()
  second.destroy()
  server.close()
})

// Other versions of V8 may have mended it.
test.runIf(version.startsWith('v20.'))(
  'Node takes many times as long for a socket whose options lack what it adds; if not, the patch can go',
  () => {
    // In a process of its own: where many sockets of other tests have been, both cost nearly the same.
    const script = `
      const cost = (make) => {
        let least = Infinity
        for (let round = 0; round < 5; round++) {
          const before = process.cpuUsage().user
          for (let n = 0; n < 4_000; n++) new net.Socket(make())
          least = Math.min(least, process.cpuUsage().user - before)
        }
        return least
      }
      const lacking = cost(() => ({ allowHalfOpen: true }))
      // In one literal: a spread would have the same trouble.
      const whole = cost(() => ({ allowHalfOpen: true, emitClose: false, autoDestroy: true, decodeStrings: false }))
      process.stdout.write(JSON.stringify([lacking, whole]))`
    const printed = execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' })
    const [lacking = 0, whole = Infinity] = JSON.parse(printed) as number[]
    expect(lacking).toBeGreaterThan(2 * whole)
  },
)
