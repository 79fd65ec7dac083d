import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, onTestFinished, test } from 'vitest'

import { firstLines, type Start } from '../src/first-start.ts'
import { spellingOf } from '../src/program.ts'
import { run } from './command.ts'

function start(given: Partial<Start['master']> = {}): Start {
  return {
    program: { version: '1', script: '/srv/bin/sshoal', execArgv: [], spelling: 'npx sshoal' },
    cwd: '/srv',
    master: {
      url: 'http://127.0.0.1:8080',
      dataDir: '/srv/data',
      adminTokenFile: '/srv/data/admin-token',
      slaveTokenFile: '/srv/data/slave-token',
      ...given,
    },
    slaves: [{ id: 's', host: '::', sshPorts: [2222] }],
  }
}

test('the three lines are short where everything is where it usually is', () => {
  expect(firstLines(start())).toEqual([
    'npx sshoal device add first-device --new-key data/first-device && ssh -N -R 0:localhost:22 -p 2222 -i data/first-device -o IdentitiesOnly=yes -o UserKnownHostsFile=data/known_hosts first-device@127.0.0.1',
    'npx sshoal tunnels',
    'ssh -o StrictHostKeyChecking=accept-new -p $(npx sshoal tunnels --port first-device) 127.0.0.1',
  ])
})

test('they name master and data where those are elsewhere, quoted for the shell', () => {
  const [make, show, use] = firstLines(start({ url: 'http://127.0.0.1:9', dataDir: "/home/o'x/my data" }))
  const flags = ` --url http://127.0.0.1:9 --data '/home/o'\\''x/my data'`
  expect(show).toBe(`npx sshoal tunnels${flags}`)
  expect(use).toContain(`--port first-device${flags})`)
  expect(make).toContain(`-i '/home/o'\\''x/my data/first-device'`)
})

test('the first start prints them with the places of the tokens, a later one only the places', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'sshoal-first-'))
  onTestFinished(() => rmSync(cwd, { recursive: true }))
  mkdirSync(join(cwd, 'data'))
  const words = ['up', '--data', join(cwd, 'data')]
  const first = await run(words, { cwd })
  expect(first.code).toBe(0)
  expect(first.out).toContain(`${cwd}/data/admin-token`)
  expect(first.out).toMatch(/^npx sshoal device add first-device /m)
  expect(readFileSync(join(cwd, 'data/known_hosts'), 'utf8')).toBe(
    '127.0.0.1,::1,localhost ssh-ed25519 AAAAhostkey\n',
  )
  writeFileSync(join(cwd, 'data/admin-token'), 'x')
  const later = await run(words, { cwd })
  expect(later.out).toContain(`${cwd}/data/slave-token`)
  expect(later.out).not.toContain('first-device')
})

test('a command is spelled as it can be called again', () => {
  const checkout = mkdtempSync(join(tmpdir(), 'sshoal-checkout-'))
  onTestFinished(() => rmSync(checkout, { recursive: true }))
  writeFileSync(join(checkout, 'package.json'), '{"name":"sshoal"}')
  expect(spellingOf(join(checkout, 'packages/cli/src/main.ts'), checkout, '')).toBe('npx sshoal')
  mkdirSync(join(checkout, 'bin'))
  writeFileSync(join(checkout, 'bin/sshoal'), '')
  const link = join(checkout, 'elsewhere')
  symlinkSync(join(checkout, 'bin/sshoal'), link)
  expect(spellingOf(link, checkout, checkout)).toBe('npx sshoal')
  expect(spellingOf('/usr/local/bin/sshoal', '/home', '/usr/bin:/usr/local/bin')).toBe('sshoal')
  expect(spellingOf('/opt/sshoal/bin/sshoal', '/home', '/usr/bin')).toBe('/opt/sshoal/bin/sshoal')
  expect(spellingOf('/opt/sshoal/dist/sshoal.mjs', '/opt', '/usr/bin')).toBe('node sshoal/dist/sshoal.mjs')
})
