import { once } from 'node:events'
import net from 'node:net'
import { networkInterfaces } from 'node:os'

import type { VisitGrant } from '@sshoal/shared'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { exchange, GateWorld, visit, type GateSlave } from './gate-fixture.ts'

/** Loopback is never dialled, so the host listens on what else this machine has. */
const own = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .find(({ internal, family }) => !internal && family === 'IPv4')?.address

let world: GateWorld
let host: net.Server
let port: number
beforeEach(async () => {
  if (own === undefined) throw new Error('these tests need an IPv4 address that is not loopback')
  world = await GateWorld.start()
  host = net.createServer({ allowHalfOpen: true }, (socket) => void socket.on('error', () => {}).pipe(socket))
  host.listen(0, own)
  await once(host, 'listening')
  port = (host.address() as net.AddressInfo).port
  world.answer = () => granted('gate')
})
afterEach(async () => {
  host.close()
  await world[Symbol.asyncDispose]()
})

const granted = (carrier: string, to: Partial<Extract<VisitGrant['to'], { kind: 'host' }>> = {}) =>
  world.grant(carrier, 'db', { to: { kind: 'host', address: own ?? '', port, ...to } })

const gateThatDials = (...dial: string[]): Promise<GateSlave> => world.slave('gate', { dial })

describe('a visit to a host', () => {
  test('G001, G002: is dialled by the slave, inside what --dial allows', async () => {
    const gate = await gateThatDials(`${own}/32:${port}`)
    expect(gate.hello.dials).toBe(true)
    const { client } = await world.user(gate)
    expect(await exchange(await visit(client, 'db'), 'select 1')).toBe('select 1')
    const [ended] = await world.ended(gate)
    expect(ended).toMatchObject({
      target: 'db',
      ended: { bytesToTarget: 8, bytesFromTarget: 8, reason: 'finished' },
    })
  })

  test('G006: what is refused says the name of the target, never its address', async () => {
    const gate = await gateThatDials(`${own}/32`)
    const { client } = await world.user(gate)
    world.answer = () => granted('gate', { address: '10.255.255.1' })
    await expect(visit(client, 'db')).rejects.toThrow(/port \d+ of db is not dialled from here/)
    host.close()
    world.answer = () => granted('gate')
    const refused = await visit(client, 'db').catch((error: Error) => error.message)
    expect(refused).toContain('db cannot be reached: connection refused')
    expect(refused).not.toContain(own)
  })

  test('is refused where the port is outside the rule, and everywhere without a rule', async () => {
    const gate = await gateThatDials(`${own}/32:1`)
    const none = await world.slave('none')
    expect(none.hello.dials).toBeUndefined()
    const { client } = await world.user(gate)
    await expect(visit(client, 'db')).rejects.toThrow('not dialled from here')
    world.answer = () => granted('none')
    const { client: other } = await world.user(none)
    await expect(visit(other, 'db')).rejects.toThrow('not dialled from here')
  })

  test('never reaches loopback, nor the ports of the slave itself', async () => {
    const gate = await gateThatDials('0.0.0.0/0', '::/0')
    const { client } = await world.user(gate)
    for (const address of ['127.0.0.1', 'localhost', '::1', '0.0.0.0', '::ffff:127.0.0.1', '2130706433']) {
      world.answer = () => granted('gate', { address, port: gate.slave.sshPorts[0] ?? 0 })
      await expect(visit(client, 'db'), address).rejects.toThrow('sshoal: ')
    }
    world.answer = () => granted('gate', { port: gate.slave.sshPorts[0] ?? 0 })
    await expect(visit(client, 'db')).rejects.toThrow('not dialled from here')
    world.answer = () => granted('gate', { port: 20_000 })
    await expect(visit(client, 'db')).rejects.toThrow('not dialled from here')
  })

  test('never reaches what the master says is the cluster’s own, whatever address it resolved to', async () => {
    const gate = await gateThatDials(`${own}/32`)
    const { client } = await world.user(gate)
    const asked: unknown[] = []
    world.script.own = (question) => {
      asked.push(question)
      return question.addresses
    }
    await expect(visit(client, 'db')).rejects.toThrow('not dialled from here')
    expect(asked).toEqual([{ addresses: [own], port }])
    world.script.own = () => []
    expect(await exchange(await visit(client, 'db'), 'a host')).toBe('a host')
  })

  test('never reaches a master, on whatever machine it is', async () => {
    // As a name that its slave was told, which leads to an address that is not loopback.
    const gate = await world.slave('gate', {
      dial: ['0.0.0.0/0'],
      master: [world.master.url, `http://${own}:${port}`],
    })
    const { client } = await world.user(gate)
    await expect(visit(client, 'db')).rejects.toThrow('not dialled from here')
  })

  test('G087: of another region is relayed to a slave that dials there', async () => {
    await world.slave('there', { dial: [`${own}/32`], relayListen: ['127.0.0.1:0'] })
    const here = await world.slave('here')
    world.answer = () => granted('there')
    const { client } = await world.user(here)
    expect(await exchange(await visit(client, 'db'), 'over there')).toBe('over there')
    expect(world.asked.map(({ by }) => by)).toEqual(['here', 'there'])
  })
})
