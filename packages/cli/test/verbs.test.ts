import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { describe, expect, onTestFinished, test } from 'vitest'

import { run } from './command.ts'
import { startRestPeer } from './rest-peer.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl a'
const PRINT = 'SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU'

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'sshoal-cli-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

function tunnel(device: string, port = 20_417): object {
  const forward = { kind: 'bound', bindAddress: '', bindPort: 0, port, address: `127.0.0.1:${port}` }
  const connectedAt = new Date(Date.now() - 180_000).toISOString()
  return {
    device,
    slave: 's1',
    host: '127.0.0.1',
    forwards: [forward],
    remoteAddress: '192.0.2.7',
    connectedAt,
  }
}

describe('calling the master', () => {
  test('shows the token of --token-file, of SSHOAL_TOKEN, else of the data directory', async () => {
    const peer = await startRestPeer(() => ({ tunnels: [], next: null }))
    const data = folder()
    writeFileSync(join(data, 'admin-token'), 'from-data\n')
    const file = join(data, 'mine')
    writeFileSync(file, 'from-file\n')
    const env = { SSHOAL_URL: peer.url }
    await run(['tunnels', '--data', data], { env })
    await run(['tunnels', '--data', data], { env: { ...env, SSHOAL_TOKEN: 'from-env' } })
    await run(['tunnels', '--token-file', file], { env: { ...env, SSHOAL_TOKEN: 'from-env' } })
    expect(peer.asked.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer from-data',
      'Bearer from-env',
      'Bearer from-file',
    ])
  })

  test('says what to do where nobody listens', async () => {
    const { url, close } = await startRestPeer(() => ({}))
    close()
    const { code, err } = await run(['cluster', '--url', url])
    expect(code).toBe(1)
    expect(err).toBe(
      `sshoal: nobody listens at ${url}; is the master running? Start one with \`sshoal up\`, or say where it is with --url or SSHOAL_URL\n`,
    )
  })

  test('says which token was refused', async () => {
    const peer = await startRestPeer((_asked, response) => {
      response.statusCode = 401
      return { error: 'the token is not known', code: 'UNAUTHORIZED' }
    })
    const none = await run(['cluster', '--url', peer.url, '--data', '/nowhere'])
    expect(none.err).toMatch(
      /^sshoal: the token is not known \(UNAUTHORIZED\); no token was shown: set SSHOAL_TOKEN.*\/nowhere/,
    )
    const wrong = await run(['cluster', '--url', peer.url, '--token', 'x'])
    expect(wrong.err).toContain('wrong, revoked or past its end')
    expect(wrong.err).not.toContain('at ')
  })

  test('repeats the code and the words of the master, and survives a proxy without either', async () => {
    const peer = await startRestPeer((asked, response) => {
      response.statusCode = asked.path === '/devices/a' ? 404 : 502
      if (asked.path === '/devices/a') return { error: 'no device a', code: 'UNKNOWN_DEVICE' }
      return void response.end('<h1>bad gateway</h1>')
    })
    const env = { SSHOAL_URL: peer.url }
    expect(await run(['device', 'show', 'a'], { env })).toMatchObject({
      code: 1,
      err: 'sshoal: no device a (UNKNOWN_DEVICE)\n',
    })
    expect((await run(['device', 'show', 'b'], { env })).err).toContain('502')
  })
})

describe('sshoal tunnels', () => {
  test('fetches all pages up to the limit, and hands them on as one list', async () => {
    const peer = await startRestPeer(({ path }) => {
      const second = path.includes('cursor=c1')
      return { tunnels: [tunnel(second ? 'b' : 'a')], next: second ? null : 'c1' }
    })
    const { out } = await run(['tunnels', '--json', '--region', 'eu', '--limit', '3'], {
      env: { SSHOAL_URL: peer.url },
    })
    expect(JSON.parse(out)).toMatchObject({ tunnels: [{ device: 'a' }, { device: 'b' }], next: null })
    expect(peer.asked[0]?.path).toBe('/cluster/tunnels?region=eu&limit=3')
    expect(peer.asked[1]?.path).toBe('/cluster/tunnels?region=eu&limit=2&cursor=c1')
  })

  test('shows people where visitors go and since when', async () => {
    const peer = await startRestPeer(() => ({ tunnels: [tunnel('door-7')], next: null }))
    const { out } = await run(['tunnels'], { env: { SSHOAL_URL: peer.url } })
    expect(out).toBe(
      'DEVICE  SLAVE  ADDRESS          FROM       SINCE\ndoor-7  s1     127.0.0.1:20417  192.0.2.7  3m ago\n',
    )
  })

  test('prints a port alone with --port, or fails where there is none', async () => {
    const peer = await startRestPeer(({ path }) => ({
      tunnels: path.includes('device=up') ? [tunnel('up')] : [],
      next: null,
    }))
    const env = { SSHOAL_URL: peer.url }
    expect(await run(['tunnels', '--port', 'up'], { env })).toMatchObject({ code: 0, out: '20417\n' })
    expect(await run(['tunnels', '--port', 'down'], { env })).toMatchObject({ code: 1, out: '' })
  })
})

describe('sshoal device', () => {
  test('add reads keys from files and from the line, and leaves out what was not said', async () => {
    const peer = await startRestPeer(() => ({ id: 'door-7' }))
    const file = join(folder(), 'k.pub')
    writeFileSync(file, `# mine\n${KEY}\n`)
    const words = [
      'device',
      'add',
      'door-7',
      '--key',
      file,
      '--key',
      KEY,
      '--port',
      '20001',
      '--keepalive',
      '60s',
    ]
    const { code, out } = await run(words, { env: { SSHOAL_URL: peer.url } })
    expect({ code, out }).toEqual({ code: 0, out: 'device door-7 added\n' })
    expect(peer.asked[0]).toMatchObject({ method: 'POST', path: '/devices' })
    expect(JSON.parse(peer.asked[0]?.body ?? '')).toEqual({
      id: 'door-7',
      keys: [KEY, KEY],
      ports: [20_001],
      keepalive: '60s',
    })
  })

  test('add makes a key pair once, and is content with a device that has it already', async () => {
    const file = join(folder(), 'first')
    let fingerprint = ''
    const peer = await startRestPeer(({ method }, response) => {
      if (method === 'GET') return { id: 'first', keys: [{ fingerprint }] }
      response.statusCode = 409
      return { error: 'there is a device first', code: 'DEVICE_EXISTS' }
    })
    const words = ['device', 'add', 'first', '--new-key', file]
    const env = { SSHOAL_URL: peer.url }
    expect(await run(words, { env })).toMatchObject({ code: 1 })
    const { fingerprintOf } = await import('@sshoal/shared')
    const [key = ''] = (JSON.parse(peer.asked[0]?.body ?? '') as { keys: string[] }).keys
    fingerprint = fingerprintOf(Buffer.from(key.split(' ')[1] ?? '', 'base64'))
    expect(await run(words, { env })).toMatchObject({ code: 0 })
    expect(peer.asked[2]?.body).toBe(peer.asked[0]?.body)
  })

  test('add hands in a key that was refused', async () => {
    const peer = await startRestPeer(() => ({ id: 'a' }))
    await run(['device', 'add', 'a', '--refused', PRINT], { env: { SSHOAL_URL: peer.url } })
    expect(JSON.parse(peer.asked[0]?.body ?? '')).toEqual({ id: 'a', refused: PRINT })
  })

  test('rm asks a person, obeys the answer, and needs --yes where nobody can answer', async () => {
    const peer = await startRestPeer((_asked, response) => void response.writeHead(204).end())
    const env = { SSHOAL_URL: peer.url }
    expect((await run(['device', 'rm', 'a'], { env })).err).toContain('add --yes')
    expect(await run(['device', 'rm', 'a'], { env, answer: false })).toMatchObject({ code: 1 })
    expect(peer.asked).toEqual([])
    expect(await run(['device', 'rm', 'a'], { env, answer: true })).toMatchObject({ code: 0 })
    expect(await run(['device', 'rm', 'a', '--yes'], { env })).toMatchObject({
      code: 0,
      out: 'device a removed\n',
    })
    expect(peer.asked).toHaveLength(2)
  })

  test('key rm writes the fingerprint so that its slashes stay one segment', async () => {
    const peer = await startRestPeer((_asked, response) => void response.writeHead(204).end())
    await run(['device', 'key', 'rm', 'a', PRINT, '--yes'], { env: { SSHOAL_URL: peer.url } })
    expect(peer.asked[0]?.path).toBe(`/devices/a/keys/${encodeURIComponent(PRINT)}`)
  })

  test('set clears fields with null', async () => {
    const peer = await startRestPeer(() => ({ id: 'a' }))
    await run(['device', 'set', 'a', '--region', 'eu', '--clear', 'mac'], { env: { SSHOAL_URL: peer.url } })
    expect(peer.asked[0]?.method).toBe('PATCH')
    expect(JSON.parse(peer.asked[0]?.body ?? '')).toEqual({ region: 'eu', mac: null })
  })

  test('import sends lines as they are and fails when one was refused', async () => {
    const problems = [{ line: 2, code: 'INVALID_ID', error: 'no id' }]
    const peer = await startRestPeer(() => ({ created: 1, unchanged: 0, problems }))
    const { code, out } = await run(['device', 'import', '-'], {
      env: { SSHOAL_URL: peer.url },
      input: '{"id":"a"}\n{}\n',
    })
    expect(code).toBe(1)
    expect(out).toContain('line 2: no id (INVALID_ID)')
    expect(peer.asked[0]).toMatchObject({ path: '/devices/import', body: '{"id":"a"}\n{}\n' })
    expect(peer.asked[0]?.headers['content-type']).toBe('application/x-ndjson')
  })
})

test('sshoal slave drain speaks REST, with seconds', async () => {
  const peer = await startRestPeer(() => ({ tunnels: 3 }))
  const { out } = await run(['slave', 'drain', 'eu-1', '--over', '90s'], { env: { SSHOAL_URL: peer.url } })
  expect(out).toBe('eu-1 is draining, tunnels to move 3\n')
  expect(peer.asked[0]).toMatchObject({ path: '/cluster/slaves/eu-1/drain', body: '{"seconds":90}' })
})

test('sshoal token create prints the token alone on standard output', async () => {
  const peer = await startRestPeer(() => ({ id: 't1', role: 'slave', token: 'sshoal_secret' }))
  const ran = await run(['token', 'create', '--role', 'slave', '--expires', '1h'], {
    env: { SSHOAL_URL: peer.url },
  })
  expect(ran.out).toBe('sshoal_secret\n')
  const body = JSON.parse(peer.asked[0]?.body ?? '') as { role: string; expiresAt: string }
  expect(body.role).toBe('slave')
  expect(Math.abs(Date.parse(body.expiresAt) - Date.now() - 3_600_000)).toBeLessThan(60_000)
})

test('sshoal recheck names a bad key before it asks anybody', async () => {
  const peer = await startRestPeer(() => ({ cut: 1 }))
  const env = { SSHOAL_URL: peer.url }
  expect((await run(['recheck', '/nowhere.pub'], { env })).err).toContain('/nowhere.pub')
  expect(peer.asked).toEqual([])
  expect((await run(['recheck', KEY], { env })).out).toBe('rechecked 1, tunnels cut 1\n')
})
