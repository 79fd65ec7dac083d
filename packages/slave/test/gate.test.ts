import { once } from 'node:events'

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

describe('a user of the gate', () => {
  test('G001, G016: reaches a device of the same slave by its name', async () => {
    await world.device(s1, 'pi')
    const { client, key } = await world.user(s1)
    expect(await exchange(await visit(client, 'PI'), 'hello')).toBe('hello')
    expect(world.asked).toEqual([
      {
        by: 's1',
        project: 'default',
        user: 'u-ada',
        fingerprint: key.fingerprint,
        target: 'PI',
        port: 22,
        remoteAddress: '127.0.0.1',
      },
    ])
    const [ended] = await world.ended(s1)
    expect(ended).toMatchObject({
      user: 'u-ada',
      login: 'ada',
      fingerprint: key.fingerprint,
      target: 'pi',
      port: 22,
      grant: 'g1',
      ended: { bytesToTarget: 5, bytesFromTarget: 5, reason: 'finished' },
    })
    expect(world.reports(s1).map(({ id }) => id)).toEqual([ended?.id, ended?.id])
  })

  test('G003: what is not granted is refused with the text of the master', async () => {
    await world.device(s1, 'pi')
    const { client } = await world.user(s1)
    await expect(visit(client, 'other')).rejects.toThrow('sshoal: there is no target other for you')
    expect(world.reports(s1)).toEqual([])
    expect(await exchange(await visit(client, 'pi'), 'still here')).toBe('still here')
  })

  test('a port that the device does not offer is refused, and so is a name that cannot be one', async () => {
    await world.device(s1, 'pi', [':22', 'web:80'])
    const { client } = await world.user(s1)
    await expect(visit(client, 'pi', 443)).rejects.toThrow('sshoal: pi offers no port 443')
    await expect(visit(client, '', 22)).rejects.toThrow('is no target')
    await expect(visit(client, 'pi', 0)).rejects.toThrow('is no target')
    await expect(visit(client, 'x'.repeat(300), 22)).rejects.toThrow('is no target')
    expect(await exchange(await visit(client, 'web.pi', 80), 'web')).toBe('web')
  })

  test('never gets to listen, and a device never gets to visit', async () => {
    const { client: device } = await world.device(s1, 'pi')
    const { client: user } = await world.user(s1)
    await expect(visit(device, 'pi')).rejects.toThrow('not open connections through this slave')
    const closed = once(user, 'close')
    await expect(
      new Promise((resolve, reject) =>
        user.forwardIn('', 0, (error, port) => (error ? reject(error) : resolve(port))),
      ),
    ).rejects.toThrow()
    await closed
    expect(world.asked).toEqual([])
  })

  test('one key may be a device and a user', async () => {
    const key = testKey()
    world.roles.set(key.publicKey, { user: ada })
    const { client: both } = await world.device(s1, 'pi', [':22'], echo, key)
    expect(await exchange(await visit(both, 'pi'), 'myself')).toBe('myself')
  })

  test('while no master answers a visit is refused, and says so', async () => {
    await world.device(s1, 'pi')
    const { client } = await world.user(s1)
    await world.master.close()
    await until(() => s1.master.wire !== undefined)
    await expect(visit(client, 'pi')).rejects.toThrow('cannot be checked right now')
  })

  test('at most so many visits of one connection', async () => {
    const s2 = await world.slave('s2', { maxUserVisits: ['2'] })
    await world.device(s2, 'pi')
    const { client } = await world.user(s2)
    const first = await visit(client, 'pi')
    await visit(client, 'pi')
    await expect(visit(client, 'pi')).rejects.toThrow('at most 2 visits')
    await exchange(first, 'bye')
    await world.ended(s2)
    await visit(client, 'pi')
  })

  test('who leaves while a visit is being opened leaves nothing behind', async () => {
    let accept = (): void => {}
    await world.device(s1, 'pi', [':22'], echo)
    world.answer = (question) =>
      new Promise((resolve) => {
        accept = () => resolve(world.granted(question))
      })
    const { client } = await world.user(s1, ada, testKey())
    void visit(client, 'pi').catch(() => {})
    await until(() => world.asked.length === 1)
    client.destroy()
    await once(client, 'close')
    accept()
    world.answer = undefined
    const { client: next } = await world.user(s1)
    expect(await exchange(await visit(next, 'pi'), 'next')).toBe('next')
    await world.ended(s1)
    expect(world.reports(s1)).toHaveLength(2)
  })

  test('a device that has as many visits as it may refuses more, until one ends', async () => {
    const few = await world.slave('few', { maxVisits: ['2'] })
    await world.device(few, 'busy')
    const { client } = await world.user(few)
    const open = [await visit(client, 'busy'), await visit(client, 'busy')]
    await expect(visit(client, 'busy')).rejects.toThrow('busy has too many visits now')
    await exchange(open[0]!, 'bye')
    await vi.waitFor(async () => expect(await exchange(await visit(client, 'busy'), 'in')).toBe('in'))
  })

  test('a user who has as many visits as they may opens no more; nobody else is concerned', async () => {
    const few = await world.slave('few', { maxUserVisits: ['1'] })
    await world.device(few, 'busy')
    const { client, key } = await world.user(few)
    const open = await visit(client, 'busy')
    await expect(visit(client, 'busy')).rejects.toThrow('at most 1 visits per connection')
    const again = await world.connect(few, key)
    expect(await exchange(await visit(again, 'busy'), 'another')).toBe('another')
    await exchange(open, 'bye')
    await vi.waitFor(async () => expect(await exchange(await visit(client, 'busy'), 'in')).toBe('in'))
  })
})
