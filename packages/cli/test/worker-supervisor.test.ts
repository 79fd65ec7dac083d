import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { silentLog } from '@sshoal/shared'
import { expect, onTestFinished, test, vi } from 'vitest'

import { startSupervisor, type SupervisorSettings, type WorkerProcess } from '../src/worker-supervisor.ts'

/** Longer than the second that vitest gives: this machine may have other work. */
const eventually = (fact: () => void) => vi.waitFor(fact, { timeout: 10_000, interval: 5 })

const script = fileURLToPath(new URL('worker.mjs', import.meta.url))

interface Journal {
  lines(what: string): string[]
  settings(workers: { name: string; fail?: boolean }[]): SupervisorSettings
}

function journal(): Journal {
  const folder = mkdtempSync(join(tmpdir(), 'sshoal-workers-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'journal')
  return {
    lines: (what) =>
      (existsSync(file) ? readFileSync(file, 'utf8') : '')
        .split('\n')
        .filter((line) => line.includes(` ${what} `)),
    settings: (workers) => ({
      log: silentLog(),
      firstWaitMs: 10,
      longestWaitMs: 50,
      workers: workers.map(({ name, fail }): WorkerProcess => ({
        script,
        args: [],
        execArgv: [],
        env: { ...process.env, NAME: name, JOURNAL: file, ...(fail ? { FAIL: '1' } : {}) },
      })),
    }),
  }
}

function pidOf(line: string | undefined): number {
  return Number(line?.split(' ')[2])
}

test('workers are ready when it is, reload and stop with it', async () => {
  const book = journal()
  const supervisor = await startSupervisor(book.settings([{ name: 'a' }, { name: 'b' }]))
  expect(supervisor.workers.map(({ id }) => id)).toEqual(['a', 'b'])
  supervisor.signal('SIGHUP')
  await eventually(() => expect(book.lines('reload')).toHaveLength(2))
  await Promise.all([supervisor.close(), supervisor.close()])
  expect(book.lines('down')).toHaveLength(2)
})

test('a worker that dies is started again, until it is closed', async () => {
  const book = journal()
  const supervisor = await startSupervisor(book.settings([{ name: 'a' }]))
  process.kill(pidOf(book.lines('up')[0]), 'SIGKILL')
  await eventually(() => expect(book.lines('up')).toHaveLength(2))
  process.kill(pidOf(book.lines('up')[1]), 'SIGKILL')
  await eventually(() => expect(book.lines('up')).toHaveLength(3))
  await supervisor.close()
  expect(book.lines('down')).toHaveLength(1)
})

test('where one does not start, the start fails and none is left', async () => {
  const book = journal()
  await expect(startSupervisor(book.settings([{ name: 'a' }, { name: 'b', fail: true }]))).rejects.toThrow(
    'worker 2 did not start: it ended with exit code 3',
  )
  for (const line of book.lines('up')) expect(() => process.kill(pidOf(line), 0)).toThrow('ESRCH')
})
