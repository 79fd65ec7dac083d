// Every file in deploy/ is loaded by what reads it, and every flag in it is one that the command has.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

import { expect, test } from 'vitest'
import { parse } from 'yaml'

import { masterOptions } from '../../packages/master/src/options.ts'
import { flagName, loadConfig } from '../../packages/shared/src/config.ts'
import { slaveOptions } from '../../packages/slave/src/options.ts'
import { run } from '../kit/index.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const deploy = join(root, 'deploy')
const files = readdirSync(deploy, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(deploy, join(entry.parentPath, entry.name)))
const text = (file: string): string => readFileSync(join(deploy, file), 'utf8')

interface Service {
  image?: string
  build?: { context: string; dockerfile: string }
  command?: string[]
  depends_on?: Record<string, { condition: string }>
  volumes?: string[]
  ports?: string[]
  networks?: string[]
  healthcheck?: { test: string[] }
  environment?: Record<string, string>
}

const compose = parse(text('compose.yaml'), { merge: true }) as {
  services: Record<string, Service>
  volumes: Record<string, unknown>
  networks: Record<string, unknown>
}
const options = { master: masterOptions, slave: slaveOptions }

/** Secrets come from files too. */
const known = (role: keyof typeof options): string[] =>
  Object.keys(options[role]).flatMap((name) => [flagName(name), flagName(`${name}File`)])

test('each file is of a kind that this test loads', () => {
  const kinds = /(\.yaml|\.cfg|\.service|\.timer|\.init|Dockerfile|\.dockerignore|sshoal-device)$/
  expect(files.filter((file) => !kinds.test(file))).toEqual([])
})

test.each(files.filter((file) => file.endsWith('.cfg')))('haproxy takes %s', async (file) => {
  // What stands in for the certificate is the other test's business; without it nothing is listened on.
  if (/ ssl crt /.test(text(file))) return expect((await run('haproxy', ['-vv'])).stdout).toContain('SSL')
  const { status, stderr, stdout } = await run('haproxy', ['-c', '-f', join(deploy, file)])
  expect(stdout + stderr).not.toMatch(/warning/i)
  expect(status).toBe(0)
})

test.each(files.filter((file) => text(file).startsWith('#!/bin/sh')))('sh takes %s', async (file) => {
  expect(await run('sh', ['-n', join(deploy, file)])).toMatchObject({ status: 0, stderr: '' })
})

test.each(files.filter((file) => file.endsWith('.service')))('systemd takes %s', async (file) => {
  const ran = await run('systemd-analyze', ['verify', '--man=no', join(deploy, file)])
  // The command it starts is not installed here, and that is all it may complain about.
  const problems = ran.stderr
    .split('\n')
    .filter((line) => line.startsWith(deploy) || /Unknown|Invalid|Failed to parse/.test(line))
  expect(problems.filter((line) => !/is not executable|not found/.test(line))).toEqual([])
})

test('compose.yaml has two masters, Redis, three slaves and haproxy, each with what it names', () => {
  const names = Object.keys(compose.services).sort()
  expect(names).toEqual(['haproxy', 'master-1', 'master-2', 'redis', 'slave-1', 'slave-2', 'slave-3'])
  for (const [name, service] of Object.entries(compose.services)) {
    expect(service.image, name).toBeTypeOf('string')
    for (const other of Object.keys(service.depends_on ?? {})) {
      expect(names).toContain(other)
      expect(compose.services[other]?.healthcheck, `${name} waits for ${other}`).toBeDefined()
    }
    for (const network of service.networks ?? []) expect(Object.keys(compose.networks)).toContain(network)
    for (const volume of service.volumes ?? []) {
      const [source = ''] = volume.split(':')
      if (source.startsWith('.')) expect(existsSync(join(deploy, source)), source).toBe(true)
      else expect(Object.keys(compose.volumes)).toContain(source)
    }
  }
  const build = compose.services['master-1']?.build
  expect(existsSync(join(deploy, build?.context ?? '', build?.dockerfile ?? ''))).toBe(true)
  const redis = compose.services.redis?.command?.join(' ')
  expect(redis).toContain('--appendonly yes')
  expect(redis).toContain('--maxmemory-policy noeviction')
})

test.each(Object.entries(compose.services).filter(([, { image }]) => image === 'sshoal'))(
  'the settings of %s are right, and its health is asked where it listens',
  (_name, { command = [], healthcheck, ports = [] }) => {
    const [role = '', ...words] = command
    if (role !== 'master' && role !== 'slave') throw new Error(`no role ${role}`)
    const flags: Record<string, string[]> = {}
    for (const word of words) {
      const [, flag = '', value = ''] = /^(--[a-z-]+)=(.*)$/.exec(word) ?? []
      expect(known(role)).toContain(flag)
      const name = flag.slice(2).replace(/-([a-z])/g, (_match, letter: string) => letter.toUpperCase())
      // The secret itself is made at the first start.
      if (name === 'tokenFile') flags.token = ['a-token']
      else flags[name] = [value.replace(/\$\{[A-Z_]+:-([^}]*)\}/g, '$1')]
    }
    const values =
      role === 'master'
        ? loadConfig(masterOptions, { flags, env: {} })
        : loadConfig(slaveOptions, { flags, env: {} })
    const listen = 'listen' in values ? values.listen : values.statusListen
    expect(healthcheck?.test.join(' ')).toContain(`:${listen?.port}/readyz`)
    if ('sshListen' in values) {
      expect(ports.map((port) => port.split(':').at(-1))).toEqual([
        String(values.sshListen[0]?.port),
        `${values.forwardPorts.first}-${values.forwardPorts.last}`,
      ])
    }
  },
)

test('haproxy in compose.yaml gets the variables that its file knows', () => {
  const config = text('haproxy-masters.cfg')
  for (const name of Object.keys(compose.services.haproxy?.environment ?? {}))
    expect(config).toContain(`\${${name}-`)
})

test('the Dockerfile copies what there is, every package included', () => {
  const dockerfile = text('Dockerfile')
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, sources = '']) =>
    sources.split(' '),
  )
  for (const source of copied) expect(existsSync(join(root, source)), source).toBe(true)
  for (const name of readdirSync(join(root, 'packages')))
    if (existsSync(join(root, 'packages', name, 'package.json')))
      expect(copied).toContain(`packages/${name}/package.json`)
  expect(dockerfile).toContain('npm ci --omit=dev')
})

test('the commands of docs/scaling.md have only flags that exist', () => {
  const page = readFileSync(join(root, 'docs/scaling.md'), 'utf8').replace(/\\\n\s*/g, ' ')
  const commands = [...page.matchAll(/^sshoal (master|slave|up) (--.*)$/gm)]
  expect(commands.length).toBeGreaterThan(5)
  const up = [...known('master'), ...known('slave'), '--slaves']
  for (const [, role = '', words = ''] of commands) {
    const allowed = role === 'up' ? up : [...known(role === 'master' ? 'master' : 'slave'), '--workers']
    for (const [flag] of words.matchAll(/--[a-z-]+/g)) expect(allowed, words).toContain(flag)
  }
})
