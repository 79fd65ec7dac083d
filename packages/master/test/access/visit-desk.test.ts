import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { fingerprint, keyLine } from '../key-lines.ts'
import { startParts } from '../master-parts.ts'
import { gateSlave, online, outcome, person, visit, type Parts } from './fixture.ts'

let parts: Parts

beforeEach(async () => {
  parts = await startParts()
  for (const slave of [gateSlave('eu-1', { region: 'eu' }), gateSlave('us-1', { region: 'us' })])
    parts.gateSlaves.set(slave.id, slave)
})
afterEach(() => parts.close())

const grant = (body: object) => parts.call('POST', '/grants', body)

describe('a visit', () => {
  test('G010 C24: of a granted target is granted, with its grant, its account and the slave that carries it', async () => {
    await online(parts, 'pump-1')
    const ann = await person(parts, 'ann', 1)
    const { body } = await grant({ user: 'ann', target: 'pump-1', account: 'root' })
    expect(await visit(parts, ann, 1, 'pump-1')).toEqual({
      outcome: 'granted',
      target: 'pump-1',
      grant: body.id,
      account: 'root',
      to: { kind: 'device', project: 'default', device: 'pump-1' },
      carrier: { slave: 'eu-1' },
    })
    expect(await visit(parts, ann, 1, 'PUMP-1', { slave: 'us-1' })).toMatchObject({
      carrier: { slave: 'eu-1', relay: { host: '192.0.2.7', port: 7_000, hostKeys: ['AAAAeu1'] } },
    })
    expect(parts.visitOutcomes).toEqual(['granted', 'granted'])
  })

  test('G003 G035: of another target is refused with the text of one that is not there', async () => {
    await online(parts, 'pump-1')
    await online(parts, 'pump-2')
    const ann = await person(parts, 'ann', 1)
    await grant({ user: 'ann', target: 'pump-1' })
    const textOf = async (target: string): Promise<unknown> => {
      const answer = await visit(parts, ann, 1, target)
      if (answer.outcome === 'granted') throw new Error('granted')
      return { ...answer, reason: answer.reason.replace(target, 'NAME') }
    }
    expect(await textOf('pump-2')).toEqual(await textOf('pump-3'))
    expect(await outcome(parts, ann, 1, 'pump-2')).toBe('UNKNOWN_TARGET')
  })

  test('G015: a target is known by its UUID too', async () => {
    await online(parts, 'pump-1')
    const ann = await person(parts, 'ann', 1)
    await grant({ user: 'ann', target: 'pump-1' })
    const { uuid } = (await parts.call('GET', '/targets/pump-1')).body
    expect(await visit(parts, ann, 1, uuid.toUpperCase())).toMatchObject({
      outcome: 'granted',
      target: 'pump-1',
    })
  })

  test('C22: only by a key that is the user’s now', async () => {
    await online(parts, 'pump-1')
    const ann = await person(parts, 'ann', 1)
    await grant({ user: 'ann', target: 'pump-1' })
    expect(await outcome(parts, ann, 2, 'pump-1')).toBe('KEY_REMOVED')
    await parts.call('POST', '/users/ann/keys', { key: keyLine(2), label: 'desktop' })
    expect(await outcome(parts, ann, 2, 'pump-1')).toBe('granted')
    const gone = await parts.call('DELETE', `/users/ann/keys/${encodeURIComponent(fingerprint(1))}`)
    expect(gone.status).toBe(200)
    expect(await outcome(parts, ann, 1, 'pump-1')).toBe('KEY_REMOVED')
    expect(parts.cluster.invalidated.at(-1)).toEqual([fingerprint(1)])
  })

  test('of a device that is away says so, and since when', async () => {
    await parts.registry.create('default', { id: 'pump-1' })
    const ann = await person(parts, 'ann', 1)
    await grant({ user: 'ann', target: 'pump-1' })
    expect(await visit(parts, ann, 1, 'pump-1')).toMatchObject({
      code: 'TARGET_OFFLINE',
      reason: 'pump-1 is offline, it was never seen',
    })
    parts.registry.seen('default', 'pump-1', { where: 'x', why: 'left' })
    expect(await visit(parts, ann, 1, 'pump-1')).toMatchObject({
      reason: expect.stringMatching(/^pump-1 is offline, since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/) as string,
    })
  })

  test('lasts as long as its grant', async () => {
    await online(parts, 'pump-1')
    const ann = await person(parts, 'ann', 1)
    const until = new Date(parts.clock.now + 60_000).toISOString()
    await grant({ user: 'ann', target: 'pump-1', until })
    expect(await visit(parts, ann, 1, 'pump-1')).toMatchObject({ remainingMs: 60_000 })
    parts.clock.now += 60_000
    expect(await outcome(parts, ann, 1, 'pump-1')).toBe('UNKNOWN_TARGET')
  })
})
