import { EventEmitter } from 'node:events'

import { silentLog } from '@sshoal/shared'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'

import { holdRole } from '../src/signals.ts'
import type { Role } from '../src/verb.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }))
afterEach(() => void vi.useRealTimers())

function role(over: Partial<Role> = {}): Role {
  return { log: silentLog(), reload: async () => {}, close: async () => {}, ...over }
}

test('the first signal closes the role in good order: exit code 0', async () => {
  const source = new EventEmitter()
  const held = holdRole(role(), source, () => {})
  source.emit('SIGTERM')
  expect(await held).toBe(0)
})

test('a role that cannot close ends with 1', async () => {
  const source = new EventEmitter()
  const held = holdRole(role({ close: async () => Promise.reject(new Error('stuck')) }), source, () => {})
  source.emit('SIGINT')
  expect(await held).toBe(1)
})

test('a second signal is now, with its own exit code; an echo of the first is not a second', () => {
  const source = new EventEmitter()
  const now = vi.fn()
  void holdRole(role({ close: async () => new Promise(() => {}) }), source, now)
  source.emit('SIGINT')
  vi.advanceTimersByTime(50)
  source.emit('SIGINT')
  expect(now).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1_000)
  source.emit('SIGINT')
  source.emit('SIGTERM')
  expect(now.mock.calls).toEqual([[130], [143]])
})

test('SIGHUP reloads, and a reload that fails leaves it running', async () => {
  const source = new EventEmitter()
  const reload = vi.fn(async () => Promise.reject(new Error('bad key')))
  const held = holdRole(role({ reload }), source, () => {})
  source.emit('SIGHUP')
  source.emit('SIGTERM')
  expect(await held).toBe(0)
  expect(reload).toHaveBeenCalledOnce()
})

test('a worker whose supervisor is gone stops', async () => {
  const source = new EventEmitter()
  const held = holdRole(role(), source, () => {})
  source.emit('disconnect')
  expect(await held).toBe(0)
})
