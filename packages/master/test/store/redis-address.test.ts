import { describe, expect, it } from 'vitest'

import { formatRedisAddress, parseRedisUrl, readRedisTls } from '../../src/store/redis-address.ts'

describe('the address of a Redis', () => {
  it('is one server, its sentinels or its cluster, with TLS or without', () => {
    const node = (host: string, port: number) => ({ host, port })
    expect(parseRedisUrl('redis://redis')).toEqual({
      mode: 'single',
      nodes: [node('redis', 6_379)],
      db: 0,
      tls: false,
    })
    expect(parseRedisUrl('rediss://me:p%40ss@[::1]:7000/3')).toEqual({
      mode: 'single',
      nodes: [node('::1', 7_000)],
      db: 3,
      tls: true,
      username: 'me',
      password: 'p@ss',
    })
    expect(parseRedisUrl('redis+sentinel://:a@b/c@h1,h2:1234/main/2')).toEqual({
      mode: 'sentinel',
      nodes: [node('h1', 26_379), node('h2', 1_234)],
      name: 'main',
      db: 2,
      tls: false,
      password: 'a@b/c',
    })
    expect(parseRedisUrl('rediss+cluster://h1:7001,h2')).toEqual({
      mode: 'cluster',
      nodes: [node('h1', 7_001), node('h2', 6_379)],
      db: 0,
      tls: true,
    })
  })

  it('is refused in words that never show it, because a password may stand anywhere in it', () => {
    const wrong: [string, RegExp][] = [
      ['http://secret@x', /write redis:\/\//],
      ['redis://', /write redis:\/\//],
      ['redis://:secret@', /write redis:\/\//],
      ['redis://secret:host:1', /HOST:PORT/],
      ['redis://:secret@h:99999', /HOST:PORT/],
      ['redis://:secret@h1,h2', /sentinel/],
      ['redis+sentinel://:secret@h1,h2', /name/],
      ['redis://:secret@h/x', /database/],
      ['redis://:secret@h/1/2', /database/],
      ['redis+cluster://:secret@h/1', /Cluster/],
      ['redis://:secret%@h', /%XX/],
    ]
    for (const [text, message] of wrong) {
      const parse = () => parseRedisUrl(text)
      expect(parse).toThrow(expect.objectContaining({ code: 'INVALID_VALUE' }) as Error)
      expect(parse).toThrow(message)
      expect(parse).not.toThrow(/secret/)
    }
  })

  it('is shown without user and password', () => {
    for (const text of ['redis://h:6379', 'rediss+sentinel://h1:1,h2:2/main/4', 'redis+cluster://[::1]:7000'])
      expect(formatRedisAddress(parseRedisUrl(text.replace('//', '//me:secret@')))).toBe(text)
  })

  it('has TLS settings only where it has TLS, and says which file is missing', () => {
    const secure = parseRedisUrl('rediss://h')
    expect(readRedisTls(parseRedisUrl('redis://h'), {})).toBeUndefined()
    expect(readRedisTls(secure, { serverName: 'redis.example' })).toEqual({ servername: 'redis.example' })
    for (const files of [{ ca: '/none' }, { cert: '/none' }, { cert: '/none', key: '/none' }])
      expect(() => readRedisTls(secure, files)).toThrow(
        expect.objectContaining({ code: 'REDIS_TLS' }) as Error,
      )
    expect(() => readRedisTls(parseRedisUrl('redis://h'), { ca: '/none' })).toThrow(/rediss/)
  })
})
