import { Socket } from 'node:net'

import { afterEach, beforeEach, expect, test, vi } from 'vitest'

import { drainTunnels } from '../src/drain.ts'
import { makeTunnel, makeTunnels, type TestTunnel } from './fixture.ts'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

function standing(count: number) {
  const test = makeTunnels()
  const each: TestTunnel[] = Array.from({ length: count }, (_, i) => makeTunnel(`d${i}`, 1, test.metrics))
  for (const { tunnel } of each) test.tunnels.up(tunnel)
  const left = (): string[] => [...test.tunnels.values()].map(({ facts }) => facts.holder.device)
  return { ...test, each, left }
}

test('devices leave spread over the time, each told to ask for another slave', async () => {
  const { tunnels, each, left } = standing(10)
  const { done } = drainTunnels(tunnels, 10_000)
  expect(left()).toHaveLength(10)
  for (let second = 1; second <= 10; second++) {
    vi.advanceTimersByTime(1_000)
    expect(Math.abs(left().length - (10 - second))).toBeLessThanOrEqual(1)
  }
  await done
  for (const { told } of each) expect(told).toEqual([expect.stringContaining('ask the master for another')])
})

test('those without visits leave first, those with visits when they are quiet, at the latest at the end', async () => {
  const { tunnels, each, left } = standing(4)
  const visits = [0, 1].map((i) => each[i]?.tunnel.visits.begin(new Socket()))
  const { done } = drainTunnels(tunnels, 4_000)
  vi.advanceTimersByTime(2_000)
  expect(left()).toEqual(['d0', 'd1'])
  vi.advanceTimersByTime(1_900)
  expect(left()).toEqual(['d0', 'd1'])
  visits[0]?.end({ bytesToChannel: 0, bytesFromChannel: 0, reason: 'finished' })
  expect(left()).toEqual(['d1'])
  vi.advanceTimersByTime(200)
  expect(left()).toEqual([])
  await done
})

test('no time at all is at once', async () => {
  const { tunnels, left } = standing(3)
  await drainTunnels(tunnels, 0).done
  expect(left()).toEqual([])
})

test('without tunnels it is over at once', async () => {
  await drainTunnels(makeTunnels().tunnels, 60_000).done
})

test('a tunnel that was taken over in the middle is cut at the end too', async () => {
  const { tunnels, left } = standing(1)
  const { done } = drainTunnels(tunnels, 1_000)
  tunnels.up(makeTunnel('late').tunnel)
  vi.advanceTimersByTime(1_100)
  await done
  expect(left()).toEqual([])
})

test('a drain that is stopped leaves the rest alone, and nobody waits for it', async () => {
  const { tunnels, left } = standing(4)
  const drain = drainTunnels(tunnels, 4_000)
  vi.advanceTimersByTime(2_000)
  const rest = left()
  drain.stop()
  vi.advanceTimersByTime(10_000)
  await drain.done
  expect(left()).toEqual(rest)
})
