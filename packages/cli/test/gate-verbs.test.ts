// The verbs about people, pools, grants, targets and gates: what they ask of the master, and what they print.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { describe, expect, onTestFinished, test } from 'vitest'

import { run, type Surroundings } from './command.ts'
import { startRestPeer, type Asked } from './rest-peer.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl a'
const PRINT = 'SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU'
const ann = { id: 'u-1', login: 'ann', email: 'ann@example.com', keys: [{ fingerprint: PRINT, label: 'a' }] }

/** Runs the words against a master that answers this; what was asked, and what was printed. */
async function ask(words: string[], answer: unknown = {}, around: Surroundings = {}) {
  const peer = await startRestPeer((asked, response) => {
    const said: unknown = typeof answer === 'function' ? (answer as (asked: Asked) => unknown)(asked) : answer
    return said === undefined ? void response.writeHead(204).end() : said
  })
  const ran = await run(words, { ...around, env: { SSHOAL_URL: peer.url, ...around.env } })
  const asked = peer.asked.map(({ method, path, body }) => ({
    call: `${method} ${path}`,
    json: body === '' ? undefined : (JSON.parse(body) as unknown),
  }))
  return { ...ran, asked }
}

describe('sshoal user and key', () => {
  test('P070 P094: create hands in e-mail, keys and several pools, and leaves out what was not said', async () => {
    const words = ['user', 'create', 'ann@example.com', '--key', KEY, '--pool', 'a', '--pool', 'b']
    const { asked, out } = await ask(words, ann)
    expect(asked).toEqual([
      { call: 'POST /users', json: { email: 'ann@example.com', keys: [KEY], pools: ['a', 'b'] } },
    ])
    expect(out).toBe('user ann added, ann@example.com\n')
  })

  test('a person is named by e-mail, login or id, in one segment of the path', async () => {
    const { asked, out } = await ask(['user', 'show', 'ann@example.com'], ann)
    expect(asked[0]?.call).toBe('GET /users/ann%40example.com')
    expect(out).toBe(`id      u-1\nlogin   ann\ne-mail  ann@example.com\nname    -\nkey     ${PRINT}  a\n`)
  })

  test('ls fetches all pages', async () => {
    const { out } = await ask(['user', 'ls'], ({ path }: Asked) =>
      path.includes('cursor=c')
        ? { users: [{ ...ann, login: 'bob' }], next: null }
        : { users: [ann], next: 'c' },
    )
    expect(out.split('\n').map((line) => line.split(' ')[0])).toEqual(['LOGIN', 'ann', 'bob', ''])
  })

  test('set clears with null', async () => {
    const { asked } = await ask(['user', 'set', 'ann', '--login', 'anna', '--clear', 'name'], ann)
    expect(asked).toEqual([{ call: 'PATCH /users/ann', json: { login: 'anna', name: null } }])
    expect((await ask(['user', 'set', 'ann', '--clear', 'keys'], ann)).code).toBe(2)
  })

  test.each([
    [['user', 'rm', 'ann'], 'DELETE /users/ann'],
    [['user', 'revoke', 'ann'], 'POST /users/ann/revoke'],
    [['key', 'rm', 'ann', PRINT], `DELETE /users/ann/keys/${encodeURIComponent(PRINT)}`],
    [['pool', 'rm', 'printers'], 'DELETE /pools/printers'],
    [['pool', 'remove', 'printers', 'door-7'], 'DELETE /pools/printers/members/door-7'],
    [['grant', 'rm', 'u.g'], 'DELETE /grants/u.g'],
    [['target', 'rm', 'switch'], 'DELETE /targets/switch'],
    [['gate', 'rm', 'eu'], 'DELETE /gates/eu'],
    [['gate', 'remove', 'eu', 'door-7'], 'DELETE /gates/eu/targets/door-7'],
    [['project', 'rm', 'acme'], 'DELETE /projects/acme'],
    [['project', 'close', 'acme'], 'PATCH /projects/acme'],
  ])('P078: %j asks first; scripts say --yes', async (words, call) => {
    const unasked = await ask(words, undefined)
    expect(unasked).toMatchObject({ code: 1, asked: [], err: expect.stringContaining('add --yes') })
    expect(await ask(words, undefined, { answer: false })).toMatchObject({ code: 1, asked: [] })
    const said = await ask(words, undefined, { answer: true })
    expect({ code: said.code, calls: said.asked.map((one) => one.call) }).toEqual({ code: 0, calls: [call] })
    expect(await ask([...words, '--yes'], undefined)).toMatchObject({ code: 0 })
  })

  test('what was cut is said', async () => {
    const { out } = await ask(['key', 'rm', 'ann', PRINT, '--yes'], { cut: 2 })
    expect(out).toBe('key removed from ann, 2 cut\n')
    expect((await ask(['pool', 'rm', 'p', '--yes'], { cut: 0 })).out).toBe('pool p removed\n')
  })

  test('key add and set name the key by label; a bad key asks nobody', async () => {
    const added = await ask(['key', 'add', 'ann', KEY, '--label', 'laptop'], ann)
    expect(added.asked).toEqual([{ call: 'POST /users/ann/keys', json: { key: KEY, label: 'laptop' } }])
    const set = await ask(['key', 'set', 'ann', PRINT, '--label', 'desk'], ann)
    expect(set.asked[0]).toEqual({
      call: `PATCH /users/ann/keys/${encodeURIComponent(PRINT)}`,
      json: { label: 'desk' },
    })
    const bad = await ask(['key', 'add', 'ann', '/nowhere.pub'], ann)
    expect(bad).toMatchObject({ code: 1, asked: [], err: expect.stringContaining('/nowhere.pub') })
  })
})

describe('sshoal pool and grant', () => {
  test('P072 P082: a pool has members, people, and a selector over region and details', async () => {
    const words = ['pool', 'create', 'x2', '--target', 'door-7', '--user', 'ann', '--region', 'eu']
    const { asked } = await ask([...words, '--detail', 'model=x2=b'], { name: 'x2', members: [] })
    expect(asked[0]).toEqual({
      call: 'POST /pools',
      json: {
        name: 'x2',
        members: ['door-7'],
        users: ['ann'],
        selector: { region: 'eu', details: { model: 'x2=b' } },
      },
    })
    expect((await ask(['pool', 'create', 'x', '--detail', 'nonsense'])).code).toBe(2)
  })

  test('P073: add puts each target in', async () => {
    const { asked, out } = await ask(['pool', 'add', 'printers', 'a', 'b'])
    expect(asked).toEqual([
      { call: 'POST /pools/printers/members', json: { target: 'a' } },
      { call: 'POST /pools/printers/members', json: { target: 'b' } },
    ])
    expect(out).toBe('a, b added to printers\n')
  })

  test('a grant is for a pool or a target, with account, forwards and end', async () => {
    const grant = { id: 'u.g', user: 'u-1', pool: 'printers', forwards: ['22'] }
    const words = ['grant', 'create', 'ann', '--pool', 'printers', '--account', 'root', '--until', '2h']
    const { asked, out } = await ask([...words, '--forward', '22', '--forward', 'web'], grant)
    const { until, ...rest } = (asked[0]?.json ?? {}) as { until: string }
    expect(rest).toEqual({ user: 'ann', pool: 'printers', account: 'root', forwards: ['22', 'web'] })
    expect(Math.abs(Date.parse(until) - Date.now() - 7_200_000)).toBeLessThan(60_000)
    expect(out).toBe('grant u.g: ann may reach pool printers\n')
    for (const wrong of [[], ['--pool', 'a', '--target', 'b']])
      expect(await ask(['grant', 'create', 'ann', ...wrong], grant)).toMatchObject({ code: 1, asked: [] })
  })

  test('ls narrows by person, pool and target', async () => {
    const grants = [{ id: 'u.g', user: 'u-1', login: 'ann', target: 'door-7', forwards: ['22', 'web'] }]
    const { asked, out } = await ask(['grant', 'ls', '--user', 'ann', '--pool', 'p'], { grants, next: null })
    expect(asked[0]?.call).toBe('GET /grants?user=ann&pool=p&limit=500')
    expect(out).toBe(
      'USER  MAY REACH      FORWARDS  ACCOUNT  ENDS  GRANT\nann   target door-7  22,web    -        -     u.g\n',
    )
  })
})

describe('sshoal target and gate', () => {
  const host = { name: 'switch', kind: 'host', address: '10.1.2.3', port: 22, hostKeys: [KEY], gates: [] }

  test.each([
    ['10.1.2.3', { address: '10.1.2.3' }],
    ['switch.lan:2222', { address: 'switch.lan', port: 2_222 }],
    ['fd00::7', { address: 'fd00::7' }],
    ['[fd00::7]', { address: 'fd00::7' }],
    ['[fd00::7]:2222', { address: 'fd00::7', port: 2_222 }],
  ])('a host target at %s', async (at, json) => {
    const { asked } = await ask(['target', 'create', 'switch', at], host)
    expect(asked[0]).toEqual({ call: 'POST /targets', json: { name: 'switch', ...json } })
  })

  test('show prints host keys as ssh shows them', async () => {
    const { out } = await ask(['target', 'show', 'switch'], host)
    expect(out).toContain('is      10.1.2.3:22\n')
    expect(out).toContain(`host key  ${PRINT} ssh-ed25519\n`)
  })

  test('pin takes lines, .pub files and what ssh-keyscan prints, once each and without comments', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sshoal-cli-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    writeFileSync(join(folder, 'k.pub'), `${KEY}\n`)
    writeFileSync(join(folder, 'scanned'), `# door-7:22 SSH-2.0\ndoor-7 ${KEY}\n`)
    const words = ['target', 'pin', 'door-7', '--key', join(folder, 'k.pub')]
    const { asked } = await ask([...words, '--key-file', join(folder, 'scanned')], host)
    expect(asked).toEqual([
      { call: 'PATCH /targets/door-7', json: { hostKeys: [KEY.split(' ').slice(0, 2).join(' ')] } },
    ])
    expect(await ask(['target', 'pin', 'door-7'], host)).toMatchObject({ code: 1, asked: [] })
  })

  test('a gate has a public name, a port where it is not 22, and a region', async () => {
    const gate = { name: 'eu', host: 'eu.example.com', port: 2_222, region: 'eu' }
    const words = ['gate', 'create', 'eu', '--host', 'eu.example.com:2222', '--region', 'eu']
    const { asked, out } = await ask(words, gate)
    expect(asked[0]).toEqual({ call: 'POST /gates', json: gate })
    expect(out).toBe('gate eu made, served by slaves of region eu\n')
    expect((await ask(['gate', 'add', 'eu', 'door-7'])).asked).toEqual([
      { call: 'POST /gates/eu/targets', json: { target: 'door-7' } },
    ])
  })
})

test('sshoal audit prints what happened with its day, and hands on what it is narrowed by', async () => {
  const entries = [
    { id: '1', at: '2026-01-02T03:04:05Z', type: 'visit', user: 'ann', reason: 'a b\u001b[2J\u009b' },
  ]
  const words = ['audit', '--user', 'ann', '--since', '2026-01-01']
  const { asked, out } = await ask(words, { entries, next: null })
  expect(asked[0]?.call).toBe('GET /audit?user=ann&since=2026-01-01T00%3A00%3A00.000Z&limit=500')
  expect(out).toMatch(/^2026-01-0\d \d\d:\d\d:05 visit user=ann reason="a b\\u001b\[2J\?"\n$/)
})
