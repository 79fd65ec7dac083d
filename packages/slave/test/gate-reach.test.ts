import type { Client } from 'ssh2'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { cleanText } from '../src/gate/clean-text.ts'
import { reachText, type ReachFacts } from '../src/gate/reach-text.ts'
import { until } from './fixture.ts'
import { ada, GateWorld, testKey, type GateSlave } from './gate-fixture.ts'

const facts: ReachFacts = {
  slave: 's1',
  user: ada,
  fingerprint: 'SHA256:x',
  gate: { host: 'gate.example.com', port: 22 },
  reach: {
    total: 3,
    targets: [
      { name: 'pi', account: 'root', online: true },
      { name: 'old-box', online: false, seenAt: 0 },
    ],
  },
}

describe('what `ssh GATE` says to a user', () => {
  test('who they are, what they may reach, what is online and the command to type', () => {
    expect(reachText(facts)).toBe(
      [
        'sshoal: slave s1. There is no shell here.',
        'You are ada, by the key "laptop" SHA256:x.',
        'You may reach 3 targets:',
        '  pi       online',
        '  old-box  offline since 1970-01-01T00:00:00Z',
        '  and 1 more',
        'From your own machine:',
        '  ssh -J ada@gate.example.com:22 root@pi',
      ].join('\n'),
    )
  })

  test('that there is nothing, or that nobody can say', () => {
    expect(reachText({ ...facts, reach: { total: 0, targets: [] } })).toContain(
      'no target that you may reach',
    )
    expect(reachText({ ...facts, reach: undefined })).toContain('cannot be said right now')
  })

  test('that there may be more than could be looked at', () => {
    const reach = { total: 4_500, targets: [{ name: 'pi', online: true }], incomplete: true }
    expect(reachText({ ...facts, reach })).toContain('You may reach 4500 targets or more:\n')
  })

  test('nothing that steers a terminal, whoever chose the names', () => {
    const evil = '\u001B[2J\u009B31m\u202E\r\nx'
    const text = reachText({
      ...facts,
      user: { ...ada, login: evil, keyLabel: evil, project: evil },
      reach: { total: 1, targets: [{ name: evil, account: evil, online: true }] },
    })
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    expect(text.split('\n')).toHaveLength(6)
    expect(cleanText(evil)).toBe('?[2J?31m???x')
  })
})

describe('a session of a user', () => {
  let world: GateWorld
  let s1: GateSlave
  beforeEach(async () => {
    world = await GateWorld.start()
    s1 = await world.slave('s1')
    world.script.reach = () => ({ total: 1, targets: [{ name: 'pi', online: true }] })
  })
  afterEach(() => world[Symbol.asyncDispose]())

  async function shell(client: Client, window: object | false): Promise<string> {
    let text = ''
    await new Promise<void>((resolve, reject) =>
      client.shell(window, (error, channel) => {
        if (error) return reject(error)
        channel.on('data', (data: Buffer) => (text += data.toString()))
        channel.on('close', () => resolve())
        channel.end()
      }),
    )
    return text
  }

  test('shows it and ends, with and without a terminal', async () => {
    const { client } = await world.user(s1)
    for (const window of [false, {}] as const) {
      const text = await shell(client, window)
      expect(text).toContain('You may reach 1 target:')
      expect(text).toContain(`ssh -J ada@127.0.0.1:${s1.slave.sshPorts[0]} pi`)
    }
  })

  test('of a key that is a device too shows both, and stays where there is no terminal', async () => {
    const key = testKey()
    world.roles.set(key.publicKey, { user: ada })
    const { client } = await world.device(s1, 'pi', [':22'], undefined, key)
    let text = ''
    client.shell(false, (_error, channel) => {
      channel.on('data', (data: Buffer) => (text += data.toString()))
      channel.on('close', () => (text += 'CLOSED'))
      channel.end()
    })
    await until(() => text.includes('named, through the gate'))
    expect(text).toContain('You may reach 1 target:')
    // Another answer on the same connection: a CLOSE of the session would have come before it.
    await new Promise<void>((resolve) => client.exec('true', () => resolve()))
    expect(text).not.toContain('CLOSED')
  })

  test('runs nothing', async () => {
    const { client } = await world.user(s1)
    const refused = new Promise((resolve) => client.exec('id', (error) => resolve(error?.message)))
    expect(await refused).toContain('Unable to exec')
  })
})
