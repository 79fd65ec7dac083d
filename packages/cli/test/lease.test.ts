import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, onTestFinished, test, vi } from 'vitest'

import { countdown } from '../src/commands/lease-record.ts'
import { watchLeases } from '../src/commands/lease-watch.ts'
import type { Context } from '../src/verb.ts'
import { run } from './command.ts'
import { startRestPeer } from './rest-peer.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl a'

const lease = {
  id: '5f2d2a6913702182',
  device: 'door-7',
  state: 'active',
  publicKey: KEY,
  fingerprint: 'SHA256:x',
  port: 20_417,
  slave: 's1',
  connected: true,
  issuedAt: new Date().toISOString(),
  expiresAt: new Date(Date.now() + 1_798_000).toISOString(),
  remainingMs: 1_798_000,
  host: 's1.example',
  sshPort: 2_222,
  knownHosts: 's1.example ssh-ed25519 AAAA\n',
  visit: { address: '127.0.0.1', port: 20_417 },
  command: 'ssh -N -i lease-key -o UserKnownHostsFile=lease-known-hosts -p 2222 lease@s1.example',
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'sshoal-cli-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

test('a clock that runs down', () => {
  expect([0, 900, 59_001, 1_798_000, 3_849_000, 90_000_000, -5].map(countdown)).toEqual([
    '0:00',
    '0:01',
    '1:00',
    '29:58',
    '1:04:09',
    '25:00:00',
    '0:00',
  ])
})

test('create asks for a key and a port, and prints the key once', async () => {
  const peer = await startRestPeer(() => ({ ...lease, privateKey: 'THE KEY\n' }))
  const env = { SSHOAL_URL: peer.url }
  const ran = await run(['lease', 'create', 'door-7', '--for', '30m', '--region', 'eu'], { env })
  expect(ran).toMatchObject({ code: 0, err: 'the private key is shown only now:\n' })
  expect(peer.asked[0]).toMatchObject({ method: 'POST', path: '/leases' })
  expect(JSON.parse(peer.asked[0]?.body ?? '')).toEqual({
    device: 'door-7',
    timeout: '30m',
    type: 'ed25519',
    region: 'eu',
  })
  expect(ran.out).toBe(
    `THE KEY\ns1.example ssh-ed25519 AAAA\nlease ${lease.id} of door-7: port 20417 for 29:58; visitors go to 127.0.0.1:20417\n` +
      'the device runs: ssh -N -i lease-key -o UserKnownHostsFile=lease-key.known_hosts -p 2222 lease@s1.example\n',
  )
})

test('create --save writes the key where only its owner reads it, and prints it nowhere', async () => {
  const peer = await startRestPeer(() => ({ ...lease, privateKey: 'THE KEY\n' }))
  const env = { SSHOAL_URL: peer.url }
  const file = join(folder(), 'k')
  for (const more of [[], ['--json']]) {
    rmSync(file, { force: true })
    const ran = await run(['lease', 'create', 'door-7', '--for', '30m', '--save', file, ...more], { env })
    expect(ran.code).toBe(0)
    expect(ran.out + ran.err).not.toContain('THE KEY')
    expect(readFileSync(file, 'utf8')).toBe('THE KEY\n')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(readFileSync(`${file}.known_hosts`, 'utf8')).toBe(lease.knownHosts)
  }
  const again = await run(['lease', 'create', 'door-7', '--for', '30m', '--save', file], { env })
  expect(again).toMatchObject({ code: 1, err: expect.stringContaining('cannot be written') })
})

test('create --key hands in the device’s own key; without --for it is not called', async () => {
  const peer = await startRestPeer(() => lease)
  const env = { SSHOAL_URL: peer.url }
  const file = join(folder(), 'door.pub')
  writeFileSync(file, KEY)
  await run(['lease', 'create', 'door-7', '--for', '1800000', '--key', file, '--port', '20417'], { env })
  expect(JSON.parse(peer.asked[0]?.body ?? '')).toEqual({
    device: 'door-7',
    timeout: '1800000',
    publicKey: KEY,
    port: 20_417,
  })
  expect((await run(['lease', 'create', 'door-7'], { env })).err).toContain('--for 30m')
  expect(peer.asked).toHaveLength(1)
})

test('ls shows what is left, show all about one, extend and revoke what they did', async () => {
  const peer = await startRestPeer(({ method, path }) => {
    if (method === 'DELETE') return { cut: 1 }
    return path.startsWith('/leases/')
      ? lease
      : { leases: [lease, { ...lease, state: 'stranded' }], next: null }
  })
  const env = { SSHOAL_URL: peer.url }
  expect((await run(['lease', 'ls'], { env })).out).toBe(
    'LEASE             DEVICE  SLAVE  VISITORS         STATE       LEFT\n' +
      '5f2d2a6913702182  door-7  s1     127.0.0.1:20417  connected  29:58\n' +
      '5f2d2a6913702182  door-7  s1     127.0.0.1:20417  stranded   29:58\n',
  )
  const shown = await run(['lease', 'show', lease.id], { env })
  expect(shown.out).toMatch(/^lease +5f2d2a6913702182\ndevice +door-7\nstate +connected\nleft +29:58\n/)
  const extended = await run(['lease', 'extend', lease.id, '--for', '30m'], { env })
  expect(extended.out).toBe(`lease ${lease.id} lasts 29:58 from now\n`)
  expect((await run(['lease', 'revoke', lease.id], { env })).code).toBe(1)
  expect((await run(['lease', 'revoke', lease.id], { env, answer: true })).out).toBe(
    `lease ${lease.id} revoked, its tunnel cut\n`,
  )
})

test('ls --watch counts down between two looks, and looks again', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const shown: number[] = []
  let looks = 0
  const watching = watchLeases({
    read: async () => {
      if (++looks > 2) throw new Error('enough')
      return { leases: [lease] }
    },
    table: (_leases, ageMs) => {
      shown.push(ageMs)
      return ''
    },
    context: { terminal: { out: () => {}, width: 80 } } as unknown as Context,
  })
  const over = expect(watching).rejects.toThrow('enough')
  await vi.advanceTimersByTimeAsync(6_000)
  await over
  expect(shown).toEqual([0, 1_000, 2_000, 0, 1_000, 2_000])
})
