// What `npm run build` leaves in its folder.

import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { expect, test } from 'vitest'

import { makeFolder, run } from '../kit/index.ts'

const checkout = fileURLToPath(new URL('../..', import.meta.url))

test('a build takes the parts of earlier builds away, save those that a running `sshoal` may still have to load', async () => {
  const folder = makeFolder()
  for (const name of ['packages', 'scripts', 'package.json', 'tsconfig.json'])
    cpSync(join(checkout, name), join(folder, name), {
      recursive: true,
      filter: (path) => !path.includes('node_modules'),
    })
  symlinkSync(join(checkout, 'node_modules'), join(folder, 'node_modules'))
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
  expect(readdirSync(dist).filter((name) => !/\.mjs(\.map)?$/.test(name))).toEqual([])
  const version = await run(process.execPath, [join(dist, 'sshoal.mjs'), '--version'], { cwd: folder })
  expect(version).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) })
})
