import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'

import { envName, flagName, loadConfig, type ConfigSources } from '../src/config.ts'
import { option } from '../src/option.ts'
import { SshoalError } from '../src/sshoal-error.ts'

const options = {
  sshListen: option.addresses({ describe: 'd', fallback: ['[::]:2222'] }),
  workers: option.integer({ describe: 'd', minimum: 1, maximum: 64, fallback: 1 }),
  cacheTtl: option.duration({ describe: 'd', fallback: '60s', minimum: 1_000, maximum: 3_600_000 }),
  token: option.secret({ describe: 'd' }),
  level: option.choice({ describe: 'd', values: ['info', 'debug'], fallback: 'info' }),
  insecureHttp: option.toggle({ describe: 'd' }),
  master: option.urls({ describe: 'd', protocols: ['http:', 'https:'] }),
  region: option.text({ describe: 'd' }),
}

const folder = mkdtempSync(join(tmpdir(), 'sshoal-config-'))
afterAll(() => rmSync(folder, { recursive: true }))
function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

const load = (sources: Partial<ConfigSources>) => loadConfig(options, { flags: {}, env: {}, ...sources })

function problems(sources: Partial<ConfigSources>): string[] {
  try {
    load(sources)
  } catch (error) {
    expect(error).toMatchObject({ code: 'INVALID_CONFIG' })
    const { details, message } = error as SshoalError
    expect(message.split('\n')).toEqual(details?.problems)
    return details?.problems as string[]
  }
  return []
}

describe('where a value comes from', () => {
  test('nobody says anything: the defaults', () => {
    expect(load({})).toEqual({
      sshListen: [{ host: '::', port: 2_222 }],
      workers: 1,
      cacheTtl: 60_000,
      token: undefined,
      level: 'info',
      insecureHttp: false,
      master: [],
      region: undefined,
    })
  })

  test('a flag wins over the environment', () => {
    const env = { SSHOAL_WORKERS: '2', SSHOAL_REGION: 'eu' }
    expect(load({ flags: { workers: ['3'] }, env })).toMatchObject({ workers: 3, region: 'eu' })
  })

  test('an empty environment variable is one that is not set', () => {
    const env = { SSHOAL_WORKERS: '', SSHOAL_TOKEN: '', SSHOAL_TOKEN_FILE: '', SSHOAL_MASTER: '' }
    expect(load({ env })).toEqual(load({}))
  })

  test('lists repeat as flags and have commas in the environment', () => {
    const urls = ['http://a:1', 'https://b']
    expect(load({ flags: { master: urls } }).master).toEqual(urls)
    expect(load({ env: { SSHOAL_MASTER: 'http://a:1/, https://b,' } }).master).toEqual(urls)
  })

  test('the last of several values counts', () => {
    expect(load({ flags: { workers: ['2', '5'] } }).workers).toBe(5)
  })

  test('a secret may stand in a file; the line end is not part of it', () => {
    const path = file('token', 'geheim\n')
    expect(load({ flags: { tokenFile: [path] } }).token).toBe('geheim')
    expect(load({ env: { SSHOAL_TOKEN_FILE: path } }).token).toBe('geheim')
    expect(load({ flags: { token: ['direct'] }, env: { SSHOAL_TOKEN_FILE: path } }).token).toBe('direct')
  })

  test('only secrets are read from files', () => {
    expect(load({ env: { SSHOAL_REGION_FILE: '/nowhere' } }).region).toBeUndefined()
  })
})

describe('what is wrong', () => {
  test('all problems are told at once, each with its source and without the secret', () => {
    const told = problems({
      flags: { workers: ['0'], sshListen: ['nonsense'], tokenFile: [join(folder, 'missing')] },
      env: { SSHOAL_CACHE_TTL: '5', SSHOAL_LEVEL: 'loud', SSHOAL_MASTER: 'ftp://x' },
    })
    expect(told).toHaveLength(6)
    for (const source of [
      '--workers',
      '--ssh-listen',
      '--token-file',
      'SSHOAL_CACHE_TTL',
      'SSHOAL_LEVEL',
      'SSHOAL_MASTER',
    ])
      expect(
        told.filter((line) => line.startsWith(`${source}: `)),
        source,
      ).toHaveLength(1)
  })

  test('an empty secret file is a problem, not an empty secret', () => {
    expect(problems({ flags: { tokenFile: [file('empty', '\n')] } })).toEqual([
      '--token-file: the value is empty',
    ])
  })

  test.each([
    ['workers', '65'],
    ['workers', '1.5'],
    ['workers', '1e1'],
    ['workers', ''],
    ['cacheTtl', '999ms'],
    ['cacheTtl', '2h'],
    ['level', 'INFO'],
    ['insecureHttp', 'maybe'],
    ['master', 'localhost:8080'],
    ['region', ''],
  ])('%s cannot be %j', (name, text) => {
    const told = problems({ flags: { [name]: [text] } })
    expect(told).toHaveLength(1)
    expect(told[0]).toContain(`${flagName(name)}: `)
  })
})

describe('names', () => {
  test('flags and variables follow from the name', () => {
    expect([flagName('sshListen'), envName('sshListen')]).toEqual(['--ssh-listen', 'SSHOAL_SSH_LISTEN'])
  })

  test('two names never share a flag or a variable', () => {
    const name = fc.stringMatching(/^[a-z]{1,4}([A-Z][a-z]{0,3}){0,3}$/)
    fc.assert(
      fc.property(name, name, (a, b) => {
        fc.pre(a !== b)
        expect(flagName(a)).not.toBe(flagName(b))
        expect(envName(a)).not.toBe(envName(b))
      }),
    )
  })
})

test('any texts are values or named problems, as many as there are bad options', () => {
  const good: Record<keyof typeof options, string> = {
    sshListen: ':22',
    workers: '2',
    cacheTtl: '2s',
    token: 't',
    level: 'debug',
    insecureHttp: 'true',
    master: 'http://m',
    region: 'r',
  }
  const bad = {
    ...good,
    sshListen: 'x',
    workers: 'x',
    cacheTtl: 'x',
    level: 'x',
    insecureHttp: 'x',
    master: 'x',
  }
  const pick = fc.record(
    Object.fromEntries(
      Object.keys(good).map((name) => [name, fc.constantFrom('good', 'bad', 'flag-bad', undefined)]),
    ),
  )
  fc.assert(
    fc.property(pick, (picked) => {
      const flags: Record<string, string[]> = {}
      const env: Record<string, string> = {}
      let wrong = 0
      for (const [name, kind] of Object.entries(picked) as [keyof typeof good, string | undefined][]) {
        if (kind === undefined) continue
        const text = kind === 'good' ? good[name] : bad[name]
        if (text !== good[name]) wrong++
        if (kind === 'flag-bad') flags[name] = [text]
        else env[envName(name)] = text
      }
      expect(problems({ flags, env })).toHaveLength(wrong)
    }),
  )
})
