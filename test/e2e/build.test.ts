// What `npm run build` leaves in its folder.

import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { expect, test } from 'vitest'

import { makeFolder, run } from '../kit/index.ts'

const checkout = fileURLToPath(new URL('../..', import.meta.url))

function copyOfSources(): string {
  const folder = makeFolder()
  for (const name of ['packages', 'scripts', 'package.json', 'tsconfig.json'])
    cpSync(join(checkout, name), join(folder, name), {
      recursive: true,
      filter: (path) => !path.includes('node_modules'),
    })
  symlinkSync(join(checkout, 'node_modules'), join(folder, 'node_modules'))
  return folder
}

test('a build takes the parts of earlier builds away, save those that a running `sshoal` may still have to load', async () => {
  const folder = copyOfSources()
  const dist = join(folder, 'dist')
  mkdirSync(dist)
  const old = join(dist, 'chunk-OLD.mjs')
  const recent = join(dist, 'chunk-RECENT.mjs')
  for (const file of [old, recent]) writeFileSync(file, '')
  const hoursAgo = (hours: number): Date => new Date(Date.now() - hours * 3_600_000)
  utimesSync(old, hoursAgo(2), hoursAgo(2))
  utimesSync(recent, hoursAgo(0.5), hoursAgo(0.5))
  const built = await run(process.execPath, ['scripts/build.mjs'], { cwd: folder })
  expect(built).toMatchObject({ status: 0, stderr: '' })
  expect([existsSync(old), existsSync(recent)]).toEqual([false, true])
  // Nothing half written stays.
  expect(readdirSync(dist).filter((name) => !/\.mjs(\.map)?$/.test(name))).toEqual(['LICENCES.txt'])
  const version = await run(process.execPath, [join(dist, 'sshoal.mjs'), '--version'], { cwd: folder })
  expect(version).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) })
})

/** The files that Node reads before the first line of `entry` runs. */
function loadedAtOnce(dist: string, entry: string, found = new Set<string>()): Set<string> {
  if (found.has(entry)) return found
  found.add(entry)
  const source = readFileSync(join(dist, entry), 'utf8')
  for (const [, name = ''] of source.matchAll(/^(?:import|\} from) "\.\/([^"]+)";$/gm))
    loadedAtOnce(dist, name, found)
  return found
}

test('a verb loads neither a role, nor the log, nor the link: their packages stand in parts that are loaded later', () => {
  const dist = join(checkout, 'dist')
  const packages = new Set<string>()
  for (const file of loadedAtOnce(dist, 'sshoal.mjs')) {
    const { sources } = JSON.parse(readFileSync(join(dist, `${file}.map`), 'utf8')) as { sources: string[] }
    for (const source of sources) {
      const name = /(?:node_modules|packages)\/((?:@[^/]+\/)?[^/]+)/.exec(source)?.[1]
      if (name !== undefined && !source.endsWith('options.ts')) packages.add(name)
    }
  }
  expect([...packages].toSorted()).toEqual(['cli', 'commander', 'master', 'shared', 'slave'])
})

test('the licences of the packages that are in the bundle lie beside it', () => {
  const notices = readFileSync(join(checkout, 'dist/LICENCES.txt'), 'utf8').split(`\n${'-'.repeat(80)}\n\n`)
  const noticeOf = (name: string): string | undefined => notices.find((text) => text.startsWith(`${name} `))
  for (const name of ['fastify', 'ws', '@fastify/swagger-ui', 'pino'])
    expect(noticeOf(name)).toContain('Permission is hereby granted, free of charge')
  for (const name of ['lmdb', 'ssh2', 'tsx']) expect(noticeOf(name)).toBeUndefined()
})
