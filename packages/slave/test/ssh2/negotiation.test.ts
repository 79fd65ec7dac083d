import { once } from 'node:events'
import net from 'node:net'

import { WireReader } from '@sshoal/shared/ssh-wire'
import ssh2 from 'ssh2'
import { afterEach, describe, expect, it } from 'vitest'

import { kexDhInit, kexInit, loginKey, startServer } from './fixture.ts'
import type { Fixture } from './fixture.ts'

let fixture: Fixture
afterEach(() => fixture?.close())

/** Types of the packets a server sends before its keys are in use, until `count` came. */
async function packetTypes(socket: net.Socket, count: number): Promise<number[]> {
  let data = Buffer.alloc(0)
  const types: number[] = []
  let named = false
  for await (const chunk of socket) {
    data = Buffer.concat([data, chunk as Buffer])
    if (!named) {
      data = data.subarray(data.indexOf('\r\n') + 2)
      named = true
    }
    while (data.length >= 4 && data.length >= 4 + data.readUInt32BE()) {
      types.push(data[5]!)
      data = data.subarray(4 + data.readUInt32BE())
      if (types.length === count) return types
    }
  }
  return types
}

describe('a key exchange', () => {
  it.each([
    ['a right guess is used', ['curve25519-sha256', 'curve25519-sha256@libssh.org'], 1],
    ['a wrong guess is discarded', ['curve25519-sha256@libssh.org', 'curve25519-sha256'], 2],
  ] as const)('with a guessed first packet: %s', async (_title, kex, inits) => {
    fixture = await startServer()
    const socket = net.connect(fixture.port, '127.0.0.1')
    socket.write('SSH-2.0-dropbear_2022.83\r\n')
    socket.write(kexInit([...kex], true))
    for (let i = 0; i < inits; i++) socket.write(kexDhInit())
    expect(await packetTypes(socket, 3)).toEqual([20, 31, 21])
    socket.destroy()
  })

  it('does not take a second KEXDH_INIT for a right guess', async () => {
    fixture = await startServer()
    const socket = net.connect(fixture.port, '127.0.0.1')
    socket.resume()
    socket.write('SSH-2.0-dropbear_2022.83\r\n')
    socket.write(Buffer.concat([kexInit(['curve25519-sha256'], true), kexDhInit(), kexDhInit()]))
    expect((await (await until1(fixture)).closed)?.code).toBe('PROTOCOL_ERROR')
    socket.destroy()
  })

  it.each([
    ['key exchange method', kexInit(['diffie-hellman-group1-sha1'], false), ['diffie-hellman-group1-sha1']],
    ['host key type', kexInit(['curve25519-sha256'], false, 'ssh-dss'), ['ssh-dss']],
    ['cipher', kexInit(['curve25519-sha256'], false, 'ssh-ed25519', '3des-cbc'), ['3des-cbc']],
  ] as const)('without a common %s says what the client offered', async (category, init, offered) => {
    fixture = await startServer()
    const socket = net.connect(fixture.port, '127.0.0.1')
    socket.resume()
    socket.write(Buffer.concat([Buffer.from('SSH-2.0-old\r\n'), init]))
    const error = await (await until1(fixture)).closed
    expect(error?.code).toBe('NEGOTIATION_FAILED')
    expect(error?.offered).toEqual({ category, client: offered })
    socket.destroy()
  })

  it('offers no compression, no SHA-1 and strict key exchange', async () => {
    fixture = await startServer()
    const socket = net.connect(fixture.port, '127.0.0.1')
    socket.write('SSH-2.0-x\r\n')
    let data = Buffer.alloc(0)
    while (
      data.indexOf('\r\n') < 0 ||
      data.length < data.indexOf('\r\n') + 6 ||
      data.length < data.indexOf('\r\n') + 6 + data.readUInt32BE(data.indexOf('\r\n') + 2)
    )
      data = Buffer.concat([data, (await once(socket, 'data'))[0] as Buffer])
    const fields = new WireReader(data, data.indexOf('\r\n') + 2 + 5 + 17)
    const lists = Array.from({ length: 8 }, () => fields.nameList())
    expect(lists[0]).toContain('kex-strict-s-v00@openssh.com')
    expect(lists.flat().filter((name) => /sha1|-96|cbc|zlib|gex|exchange-/.test(name))).toEqual([])
    expect(lists.slice(6)).toEqual([['none'], ['none']])
    socket.destroy()
  })

  it('tells the signature algorithms with every comma', async () => {
    fixture = await startServer()
    const client = new ssh2.Client()
    let algorithms: string[] = []
    const ready = once(client, 'ready')
    client.on('error', () => {})
    client.connect({ host: '127.0.0.1', port: fixture.port, username: 'u', privateKey: loginKey })
    const { _protocol: protocol } = client as unknown as {
      _protocol: { _handlers: { EXT_INFO(p: unknown, list: Array<{ algs: string[] }>): void } }
    }
    protocol._handlers.EXT_INFO = (_protocol, list) => {
      algorithms = list[0]?.algs ?? []
    }
    await ready
    expect(algorithms).toContain('ecdsa-sha2-nistp521')
    expect(algorithms).toContain('rsa-sha2-512')
    expect(algorithms).not.toContain('ssh-rsa')
    client.destroy()
  })

  it.each([
    ['modern', { kex: ['diffie-hellman-group16-sha512'] }],
    ['modern', { cipher: ['aes256-ctr'], hmac: ['hmac-sha2-512-etm@openssh.com'] }],
    ['modern', { cipher: ['chacha20-poly1305@openssh.com'] }],
    ['compatible', { kex: ['ecdh-sha2-nistp256'], cipher: ['aes128-ctr'], hmac: ['hmac-sha2-256'] }],
  ] as const)('in %s works with %j', async (algorithms, client) => {
    fixture = await startServer({}, { algorithms })
    await fixture.connect({ algorithms: client as never })
  })
})

async function until1(server: Fixture) {
  return server.visitors[0] ?? (await server.next())
}
