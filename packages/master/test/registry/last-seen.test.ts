import { silentLog } from '@sshoal/shared'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'

import { LastSeen } from '../../src/registry/last-seen.ts'
import { startRooms } from '../master-parts.ts'

let parts: Awaited<ReturnType<typeof startRooms>>

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  parts = await startRooms()
})
afterEach(async () => {
  await parts.close()
  vi.useRealTimers()
})

test('many that are noted at once do not wait for the second to be over', async () => {
  const asked = vi.spyOn(parts.store, 'get')
  const seen = new LastSeen(parts.store, silentLog())
  const note = (first: number, count: number): void => {
    for (let n = first; n < first + count; n++)
      seen.note('default', `d${n}`, { at: 1, where: 'here', why: 'connected' })
  }
  note(0, 499)
  await Promise.resolve()
  expect(asked).not.toHaveBeenCalled()
  note(499, 2)
  await Promise.resolve()
  expect(asked).toHaveBeenCalled()
  await seen.close()
  expect(asked).toHaveBeenCalledTimes(501)
})
