import { once } from 'node:events'

import type { VisitAnswer } from '@sshoal/shared'
import type { ClientChannel } from 'ssh2'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import { until } from './fixture.ts'
import { ada, echo, exchange, GateWorld, testKey, visit, type GateSlave } from './gate-fixture.ts'

let world: GateWorld
let s1: GateSlave
beforeEach(async () => {
  world = await GateWorld.start()
  s1 = await world.slave('s1')
})
afterEach(() => world[Symbol.asyncDispose]())

const refused = (code: string): VisitAnswer => ({ outcome: 'refused', code, reason: `because ${code}` })
const invalidate = (slave: GateSlave, number: number, fingerprints: string[] | null) =>
  slave.master.wire.request('invalidate', { number, fingerprints })

function closing(channel: ClientChannel): Promise<unknown> {
  channel.resume()
  return once(channel, 'close')
}

describe('when something changes', () => {
  test('P071: a visit that is not granted any more is cut, and the next refused', async () => {
    await world.device(s1, 'pi')
    const { client, key } = await world.user(s1)
    const closed = closing(await visit(client, 'pi'))
    world.answer = () => refused('UNKNOWN_TARGET')
    expect(await invalidate(s1, 2, [key.fingerprint])).toEqual({ cut: 1 })
    await closed
    await expect(visit(client, 'pi')).rejects.toThrow('because UNKNOWN_TARGET')
    const [ended] = await world.ended(s1)
    expect(ended?.ended?.reason).toBe('because UNKNOWN_TARGET')
  })

  test('P068: one that is still granted, by whatever, goes on; so do those of other keys', async () => {
    await world.device(s1, 'pi')
    const { client, key } = await world.user(s1)
    const { client: other } = await world.user(s1)
    const mine = await visit(client, 'pi')
    const theirs = await visit(other, 'pi')
    world.answer = (question) => ({ ...(world.granted(question) as object), grant: 'g2' }) as VisitAnswer
    const before = world.asked.length
    expect(await invalidate(s1, 2, [key.fingerprint])).toEqual({ cut: 0 })
    expect(world.asked.length).toBe(before + 1)
    expect(await exchange(mine, 'mine')).toBe('mine')
    expect(await exchange(theirs, 'theirs')).toBe('theirs')
  })

  test('an outage, and a target that is only offline, cut nobody', async () => {
    await world.device(s1, 'pi')
    const { client } = await world.user(s1)
    const channel = await visit(client, 'pi')
    for (const [number, code] of ['TARGET_OFFLINE', 'NO_CARRIER'].entries()) {
      world.answer = () => refused(code)
      expect(await invalidate(s1, number + 2, null)).toEqual({ cut: 0 })
    }
    world.answer = () => Promise.reject(new Error('no store'))
    expect(await invalidate(s1, 4, null)).toEqual({ cut: 0 })
    expect(await exchange(channel, 'still')).toBe('still')
  })

  test('while the store is away nobody who is here loses a role, and what is open goes on', async () => {
    const key = testKey()
    world.roles.set(key.publicKey, { user: ada })
    const { client: both } = await world.device(s1, 'pi', [':22'], echo, key)
    const { client: alone } = await world.user(s1)
    const open = await Promise.all([visit(both, 'pi'), visit(alone, 'pi')])
    const { who } = world.script
    // As a master says it: the hook knows the device, users cannot be read.
    world.script.who = (question) =>
      question.publicKey === key.publicKey
        ? {
            outcome: 'known',
            identity: { device: { project: 'default', device: 'pi' } },
            cacheMs: 0,
            staleMs: 60_000,
            addressBound: false,
            usersOut: 'the store does not answer',
          }
        : { outcome: 'outage', reason: 'users cannot be read' }
    world.answer = () => Promise.reject(new Error('no store'))
    expect(await invalidate(s1, 2, null)).toEqual({ cut: 0 })
    for (const client of [both, alone])
      await expect(visit(client, 'pi')).rejects.toThrow('cannot be checked right now what you may reach')
    const late = await world.connect(s1, key)
    await expect(visit(late, 'pi')).rejects.toThrow('it could not be checked who you are')
    for (const channel of open) expect(await exchange(channel, 'still')).toBe('still')
    world.answer = undefined
    world.script.who = who!
    for (const client of [both, alone]) expect(await exchange(await visit(client, 'pi'), 'back')).toBe('back')
  })

  test('a key that is removed cuts the connection of its user', async () => {
    await world.device(s1, 'pi')
    const { client, key } = await world.user(s1)
    void closing(await visit(client, 'pi'))
    const closed = once(client, 'close')
    world.roles.delete(key.publicKey)
    world.answer = () => refused('KEY_REMOVED')
    await invalidate(s1, 2, [key.fingerprint])
    await closed
    await expect(world.connect(s1, key)).rejects.toThrow()
  })

  test('a key that loses its user keeps the tunnel of its device, and no visit', async () => {
    const key = testKey()
    world.roles.set(key.publicKey, { user: ada })
    const { client } = await world.device(s1, 'pi', [':22'], echo, key)
    const closed = closing(await visit(client, 'pi'))
    world.roles.set(key.publicKey, { device: { project: 'default', device: 'pi' } })
    world.answer = () => refused('KEY_REMOVED')
    await invalidate(s1, 2, [key.fingerprint])
    await closed
    await expect(visit(client, 'pi')).rejects.toThrow('not open connections')
    world.answer = undefined
    const { client: other } = await world.user(s1)
    expect(await exchange(await visit(other, 'pi'), 'tunnel stands')).toBe('tunnel stands')
  })

  test('a change while a visit is being opened makes the slave ask again', async () => {
    await world.device(s1, 'pi')
    const { client, key } = await world.user(s1)
    let answer = (_answer: VisitAnswer): void => {}
    world.answer = () => new Promise((resolve) => (answer = resolve))
    const opening = visit(client, 'pi').catch((error: Error) => error.message)
    await until(() => world.asked.length === 1)
    await invalidate(s1, 2, [key.fingerprint])
    const early = answer
    world.answer = () => refused('UNKNOWN_TARGET')
    early(world.grant('s1', 'pi'))
    expect(await opening).toContain('because UNKNOWN_TARGET')
    expect(world.asked).toHaveLength(2)
  })

  test('a relayed visit is asked about and cut at both ends', async () => {
    const s2 = await world.slave('s2', { relayListen: ['127.0.0.1:0'] })
    await world.device(s2, 'pi')
    const { client, key } = await world.user(s1)
    const first = closing(await visit(client, 'pi'))
    world.answer = () => refused('UNKNOWN_TARGET')
    expect(await invalidate(s2, 2, [key.fingerprint])).toEqual({ cut: 1 })
    await first
    expect((await world.ended(s2))[0]?.ended?.reason).toBe('because UNKNOWN_TARGET')
    world.answer = undefined
    const second = closing(await visit(client, 'pi'))
    world.answer = () => refused('UNKNOWN_TARGET')
    expect(await invalidate(s1, 2, [key.fingerprint])).toEqual({ cut: 1 })
    await second
    // Only one of the two heard of it, and the audit says it all the same.
    const reasons = (await world.ended(s2, 2)).map(({ ended }) => ended?.reason)
    expect(reasons).toEqual(['because UNKNOWN_TARGET', 'because UNKNOWN_TARGET'])
  })

  test('a slave that missed a change asks about all visits when it is linked again', async () => {
    await world.device(s1, 'pi')
    const { client } = await world.user(s1)
    const closed = closing(await visit(client, 'pi'))
    world.answer = () => refused('UNKNOWN_TARGET')
    await invalidate(s1, 7, ['SHA256:of somebody else'])
    await closed
  })
})

describe('the end of a grant', () => {
  test('cuts the visit when its time is over, unless it is granted again', async () => {
    await world.device(s1, 'pi')
    const { client } = await world.user(s1)
    world.answer = () => world.grant('s1', 'pi', { remainingMs: 200 })
    const closed = closing(await visit(client, 'pi'))
    await until(() => world.asked.length >= 3)
    world.answer = () => refused('UNKNOWN_TARGET')
    await closed
    const [ended] = await world.ended(s1)
    expect(ended?.ended?.reason).toBe('the time of the grant is over')
  })

  test('cuts it also when nobody can say otherwise', async () => {
    await world.device(s1, 'pi')
    const { client } = await world.user(s1)
    world.answer = () => world.grant('s1', 'pi', { remainingMs: 200 })
    const closed = closing(await visit(client, 'pi'))
    world.answer = () => Promise.reject(new Error('no store'))
    await closed
  })
})

describe('while no master is linked', () => {
  test('visits go on, and what became of them is told when one is there again', async () => {
    await world.device(s1, 'pi')
    const { client } = await world.user(s1)
    const channel = await visit(client, 'pi')
    await until(() => world.reports(s1).length === 1)
    world.script.welcomes = false
    s1.master.wire.terminate()
    await until(() => world.master.links.length === 2)
    expect(await exchange(channel, 'alone')).toBe('alone')
    await expect(visit(client, 'pi')).rejects.toThrow('cannot be checked right now')
    world.master.links[1]?.welcome()
    const [ended] = await world.ended(s1)
    expect(ended?.ended).toMatchObject({ bytesToTarget: 5, reason: 'finished' })
  })

  test('a visit that stands is told again to the next master, which may have taken it for lost', async () => {
    await world.device(s1, 'pi')
    const { client } = await world.user(s1)
    await exchange(await visit(client, 'pi'), 'over')
    const channel = await visit(client, 'pi')
    await until(() => world.reports(s1).length === 3)
    s1.master.wire.terminate()
    await until(() => world.reports(s1).length > 3)
    expect(world.reports(s1).at(-1)).toEqual({ ...world.reports(s1)[2], standing: true })
    expect(await exchange(channel, 'still')).toBe('still')
    expect((await world.ended(s1, 2)).at(-1)).not.toHaveProperty('standing')
  })

  test('an end that was told into a link that broke is told again to the next master, and no more once it is confirmed', async () => {
    await world.device(s1, 'pi')
    const { client } = await world.user(s1)
    const channel = await visit(client, 'pi')
    await until(() => world.reports(s1).length === 1)
    // The master hears it and dies before it is written down.
    world.script.visited = () => {
      s1.master.wire.terminate()
      return false
    }
    await exchange(channel, 'gone')
    await until(() => world.master.links.length === 2)
    world.script.visited = () => true
    const [ended] = await world.ended(s1)
    expect(ended?.ended).toMatchObject({ bytesToTarget: 4, reason: 'finished' })
    // Behind the confirmation on the same link.
    await world.master.links[1]?.wire.request('probe', { project: 'default', device: 'pi' })
    world.master.links[1]?.wire.terminate()
    await until(() => world.master.links.length === 3)
    const next = await vi.waitFor(() => visit(client, 'pi'), { timeout: 5_000 })
    expect(await exchange(next, 'next')).toBe('next')
    await world.ended(s1, 2)
    expect(world.reports(s1).filter(({ id }) => id === ended?.id)).toHaveLength(2)
  })

  test('a master that cannot write it down is told again', async () => {
    await world.device(s1, 'pi')
    const { client } = await world.user(s1)
    let tries = 0
    world.script.visited = () => ++tries > 2
    await exchange(await visit(client, 'pi'), 'hello')
    expect(await world.ended(s1)).toHaveLength(1)
    expect(tries).toBeGreaterThan(2)
  })
})
