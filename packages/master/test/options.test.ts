import { envName, flagName, loadConfig } from '@sshoal/shared'
import { describe, expect, it } from 'vitest'

import { masterOptions, readRegionFallback } from '../src/options.ts'

const load = (flags: Record<string, string[]>) => loadConfig(masterOptions, { flags, env: {} })

describe('the options of a master', () => {
  it('have the defaults that the interface promises', () => {
    expect(load({})).toMatchObject({
      listen: { host: '127.0.0.1', port: 8080 },
      data: './data',
      hook: undefined,
      hookConcurrency: 64,
      hookDeadline: 5_000,
      cacheTtl: 60_000,
      staleLimit: 3_600_000,
      connectRate: 100,
      connectBurst: 1_000,
      slaveGrace: 3_000,
      trustProxy: [],
      insecureHttp: false,
    })
  })

  it('say what they are, and keep secrets secret', () => {
    for (const [name, option] of Object.entries(masterOptions)) {
      expect([name, option.describe.length > 10]).toEqual([name, true])
      expect(flagName(name)).toMatch(/^--[a-z-]+$/)
      expect(envName(name)).toMatch(/^SSHOAL_[A-Z_]+$/)
    }
    expect(
      [masterOptions.hookSecret, masterOptions.connectToken, masterOptions.metricsToken].every(
        (o) => o.secret,
      ),
    ).toBe(true)
  })

  it('refuse an address of Redis that is none without showing it, and a fallback that is none', () => {
    expect(() => load({ redis: ['redis:/secret@x'], regionFallback: ['eu'] })).toThrow(
      /--redis: not the address of a Redis: (?![^]*secret)[^]*--region-fallback: "eu" is not a fallback/,
    )
    expect(load({ redis: ['redis://:secret@x'] })).toMatchObject({
      redis: 'redis://:secret@x',
      redisPrefix: 'sshoal',
    })
    expect(masterOptions.redis.secret).toBe(true)
  })

  it('read fallbacks in their order', () => {
    expect([...readRegionFallback(['eu=us', 'ap=us', 'eu=ap'])]).toEqual([
      ['eu', ['us', 'ap']],
      ['ap', ['us']],
    ])
  })
})
