// Algorithms against real clients: what ssh-audit says, dbclient's guess with either name of curve25519 first, and the
// same tunnel without ssh2's native addon.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'

import { describe, expect, test } from 'vitest'

import { Connection } from '../../packages/slave/src/ssh2/connection.ts'
import { hostKeysByAlgorithm } from '../../packages/slave/src/ssh2/host-key.ts'
import { generateHostKey } from '../../packages/slave/src/ssh2/index.ts'
import { library } from '../../packages/slave/src/ssh2/library.ts'
import { Login } from '../../packages/slave/src/ssh2/login.ts'
import { proposalOf } from '../../packages/slave/src/ssh2/negotiation.ts'
import { identOf } from '../../packages/slave/src/ssh2/transport.ts'
import {
  atEnd,
  makeDropbearKey,
  makeFolder,
  makeKey,
  openDevice,
  run,
  startCluster,
  startEcho,
  visit,
} from '../kit/index.ts'

describe('dbclient, whose first packet is a guess', () => {
  const names = ['curve25519-sha256', 'curve25519-sha256@libssh.org', 'diffie-hellman-group14-sha256']

  // Plain ssh2 drops every guess: with dbclient's own first name in front both sides wait for each other.
  test.each([
    ['its own name', names],
    ['the other name', [names[1]!, names[0]!, names[2]!]],
    ['another method', names.toReversed()],
  ])('logs in where the server puts %s first', async (_what, kex) => {
    const hostKeys = hostKeysByAlgorithm([generateHostKey('ed25519')])
    const side = {
      cipher: ['chacha20-poly1305@openssh.com'],
      mac: ['hmac-sha2-256'],
      compress: ['none'],
      lang: [],
    }
    const serverHostKey = Object.keys(hostKeys)
    const offer = new library.KexInit({
      kex: [...kex, 'kex-strict-s-v00@openssh.com'],
      serverHostKey,
      cs: side,
      sc: side,
    })
    const settings = {
      hostKeys,
      offer,
      proposal: proposalOf(offer),
      ident: identOf('test'),
      maxUnsentBytes: 1_000_000,
    }
    let ready = 0
    const server = createServer((socket) => {
      const refuse = () => Promise.resolve({ outcome: 'refuse' as const, text: 'no' })
      const handlers = {
        authenticate: () => Promise.resolve({ outcome: 'accept' as const }),
        onBadSignature: () => {},
        onReady: () => void ready++,
        onForward: () => Promise.resolve(4_711),
        onCancelForward: () => Promise.resolve(false),
        onDirect: refuse,
        onShell: () => Promise.resolve(undefined),
        onClose: () => {},
      }
      void new Connection(
        socket,
        handlers,
        settings,
        (transport, onSuccess) => new Login(transport, handlers, 6, onSuccess),
      )
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    atEnd(() => server.close())
    const { port } = server.address() as AddressInfo
    const key = await makeDropbearKey(makeFolder())
    const device = openDevice({ slave: { host: '127.0.0.1', port }, key, client: 'dropbear' })
    expect(await device.port()).toBe(4_711)
    expect(ready).toBe(1)
    await device.stop()
  })
})

describe('a slave', () => {
  test('has nothing that ssh-audit fails or warns about', async () => {
    const cluster = await startCluster()
    const { port } = cluster.slaves[0]!
    const audit = await run('ssh-audit', ['--no-colors', '-p', String(port), '127.0.0.1'])
    // This one came after the audit's own list of names.
    const found = audit.stdout.split('\n').filter((line) => !line.includes('kex-strict-s-v00@openssh.com'))
    expect(found.filter((line) => /\[(fail|warn)\]/.test(line))).toEqual([])
    expect(audit.stdout).toContain('(kex) curve25519-sha256')
  })

  test('without ssh2’s native addon says so, and carries every cipher', async () => {
    const folder = makeFolder()
    const preload = join(folder, 'no-addon.cjs')
    writeFileSync(
      preload,
      `const Module = require('node:module'), load = Module._load
Module._load = function (name, ...rest) {
  if (/sshcrypto\\.node$|cpu-features/.test(name)) throw new Error('its install script did not run')
  return load.call(this, name, ...rest)
}
`,
    )
    const cluster = await startCluster({ env: { NODE_OPTIONS: `--require ${preload}` } })
    const slave = cluster.slaves[0]!
    const { crypto } = await slave.process.logged('slave ready', (line) => 'crypto' in line)
    expect(crypto).toBe('node')
    const key = await makeKey(folder)
    await cluster.addDevice('barn', key)
    const echo = await startEcho({ whole: true })
    const much = Buffer.alloc(300_000, 'sshoal')
    for (const cipher of ['aes128-gcm@openssh.com', 'chacha20-poly1305@openssh.com', 'aes128-ctr']) {
      const forwards = [`0:127.0.0.1:${echo.port}`]
      const device = openDevice({ slave, key, forwards, options: ['-c', cipher] })
      expect(much.equals(await visit({ host: '127.0.0.1', port: await device.port() }, much))).toBe(true)
      await device.stop()
    }
  })
})
