// What the gate does not let through, and what a person's own ssh then prints: rights, ports, roles, hosts, names.

import { networkInterfaces } from 'node:os'

import { beforeAll, describe, expect, test } from 'vitest'

import { startGateWorld, type GateWorld, type Person } from '../kit/gate.ts'
import {
  connectClient,
  eventually,
  makeFolder,
  makeKey,
  run,
  startEcho,
  startHttp,
  takePorts,
  type PortRange,
  type Ran,
} from '../kit/index.ts'
import { of } from '../kit/masters.ts'
import { startSshd } from '../kit/sshd.ts'

let world: GateWorld
let ann: Person
/** Further SSH ports of the slaves, on `own`. */
let sshPorts: PortRange
/** An address of this machine that is not loopback, which is forbidden whatever --dial says. */
const own = Object.values(networkInterfaces())
  .flat()
  .find(
    (found) => found?.family === 'IPv4' && !found.internal && !found.address.startsWith('169.254.'),
  )?.address

beforeAll(async () => {
  if (own === undefined) throw new Error('this machine has no address but loopback; host targets need one')
  sshPorts = await takePorts(2)
  world = await startGateWorld({
    slaveFlags: (n) => [
      '--region',
      'here',
      '--dial',
      `${own}/32,127.0.0.0/8,169.254.0.0/16`,
      '--ssh-listen',
      `127.0.0.1:0,${own}:${sshPorts.first + n}`,
    ],
  })
  ann = await world.person('ann')
  await world.device('near', 0)
  await world.device('far', 1)
  await world.device('secret', 1)
  for (const target of ['near', 'far']) await world.grant('ann', { target })
})

/** What ssh prints when the gate lets it through to nothing: without the file a person may name anything. */
async function refused(target: string, port = 22, via = 0): Promise<string> {
  const { config, gate } = await ann.files(via)
  const settings = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null']
  const ran = await run('ssh', ['-F', config, ...settings, '-p', String(port), '-J', gate, target, 'true'])
  expect(ran.status).toBe(255)
  return ran.stderr
}

const reason = (text: string): string => /open failed: (.*)/.exec(text)?.[1] ?? `no reason: ${text}`

describe('what may not be reached', () => {
  test('G003: an unknown and an ungranted target get the same text, which ssh prints', async () => {
    const ungranted = reason(await refused('secret'))
    const unknown = reason(await refused('nobody'))
    expect(ungranted).toMatch(/secret/)
    expect(ungranted.replaceAll('secret', 'X')).toBe(unknown.replaceAll('nobody', 'X'))
    // By the gate that holds its tunnel, and by port, nothing else is told.
    expect(reason(await refused('secret', 80, 1)).replaceAll('secret', 'X')).toBe(
      reason(await refused('nobody', 80, 1)).replaceAll('nobody', 'X'),
    )
  })

  test('G006: addresses are no way around names', async () => {
    for (const address of ['127.0.0.1', world.sshd.host, '::1', 'localhost', String(own)])
      expect(await refused(address, world.sshd.port)).toMatch(/open failed/)
  })

  test('an offline target says so and since when', async () => {
    const held = await world.device('sleeper', 1)
    await world.grant('ann', { target: 'sleeper' })
    expect((await ann.ssh(['sleeper', 'echo', 'here'])).stdout).toBe('here\n')
    await held.client.stop()
    await eventually(async () => {
      const text = await refused('sleeper')
      expect(text).toMatch(/sleeper.*(offline|not connected).*since/i)
    })
    await world.ok('POST', '/devices', { id: 'never' })
    await world.grant('ann', { target: 'never' })
    expect(reason(await refused('never'))).toMatch(/never.*(offline|not connected|never)/i)
  })

  test('G036: a target that is attached to a gate of another region is not reached by this one', async () => {
    await world.ok('POST', '/gates', { name: 'elsewhere', host: 'gate.example.com', region: 'elsewhere' })
    await world.device('walled', 0)
    await world.grant('ann', { target: 'walled' })
    expect((await ann.ssh(['walled', 'echo', 'here'])).stdout).toBe('here\n')
    await world.ok('POST', '/gates/elsewhere/targets', { target: 'walled' })
    expect(reason(await refused('walled')).replaceAll('walled', 'X')).toBe(
      reason(await refused('nobody')).replaceAll('nobody', 'X'),
    )
    // G062: many to many; a second gate, which is here, lets through.
    await world.ok('POST', '/gates/via-s1/targets', { target: 'walled' })
    expect((await ann.ssh(['walled', 'echo', 'here'])).stdout).toBe('here\n')
  })
})

describe('which forward', () => {
  test('a port reaches only a forward requested as that port; 22 alone falls back to the first', async () => {
    const [first, second] = [await startHttp('first'), await startHttp('second')]
    const forwards = [`0:${first.host}:${first.port}`, `81:${second.host}:${second.port}`]
    await world.device('ports', 1, { forwards })
    await world.grant('ann', { target: 'ports', forwards: ['*'] })
    const get = async (port: number): Promise<string> => {
      const { address } = await ann.open('ports', port)
      return (await fetch(`http://127.0.0.1:${address.port}`)).text()
    }
    expect(await get(22)).toBe('first')
    expect(await get(81)).toBe('second')
    expect(reason(await refused('ports', 80))).toMatch(/ports offers no port 80/)
    // The number that a bound forward was given is nobody's name for it.
    const tunnels = await world.all.tunnels(0)
    const given = tunnels.find(({ device }) => device === 'ports')?.forwards[0]?.port ?? 0
    expect(reason(await refused('ports', given))).toMatch(/offers no port/)
  })

  test('a grant for 22 opens no other port, one for a name opens that name', async () => {
    const web = await startHttp('web')
    const forwards = [`0:${world.sshd.host}:${world.sshd.port}`, `web:80:${web.host}:${web.port}`]
    await world.device('named', 0, { forwards })
    await world.grant('ann', { target: 'named', forwards: ['22'] })
    const denied = reason(await refused('named', 80))
    expect(denied.replaceAll('named', 'X')).toBe(
      reason(await refused('nobody', 80)).replaceAll('nobody', 'X'),
    )
    expect(await refused('web.named', 80)).toMatch(/open failed/)
    await world.grant('ann', { target: 'named', forwards: ['web'], account: 'other' })
    const { address } = await ann.open('web.named', 80)
    expect(await (await fetch(`http://127.0.0.1:${address.port}`)).text()).toBe('web')
  })
})

describe('roles', () => {
  const asKey = (key: { path: string }, words: string[], via = 0): Promise<Ran> => {
    const slave = of(world.all.slaves, via)
    const settings = [
      'BatchMode=yes',
      'IdentitiesOnly=yes',
      'IdentityAgent=none',
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
    ]
    const flags = settings.flatMap((setting) => ['-o', setting])
    const at = ['-p', String(slave.port), '-i', key.path]
    return run('ssh', ['-F', 'none', ...at, ...flags, ...words, `x@${slave.host}`])
  }

  test('a user never gets to listen, a device never gets to visit', async () => {
    const listening = await asKey(ann.key, ['-N', '-o', 'ExitOnForwardFailure=yes', '-R', '0:localhost:22'])
    expect(listening.status).toBe(255)
    const held = await world.device('only-device', 0)
    const visiting = await asKey(held.key, ['-W', 'near:22'])
    expect(visiting.status).not.toBe(0)
    expect(visiting.stdout).toBe('')
    expect(visiting.stderr).toMatch(/open failed/)
  })

  test('one key may be a device’s and a user’s, each for what it is', async () => {
    const key = await makeKey(world.folder)
    const echo = await startEcho({ whole: true })
    const both = await world.person('both', { key })
    await world.grant('both', { target: 'near' })
    await world.device('own', 1, { key, forwards: [`0:${echo.host}:${echo.port}`] })
    expect((await both.ssh(['near', 'echo', 'here'])).stdout).toBe('here\n')
    // When the person goes the device stays, and the other way round.
    await world.ok('DELETE', '/users/both')
    expect(await refused('own')).toMatch(/open failed/)
    const gone = await asKey(key, ['-W', 'near:22'])
    expect(gone.stderr).toMatch(/open failed/)
    const tunnels = await world.all.tunnels(1)
    expect(tunnels.map(({ device }) => device)).toContain('own')
  })

  test('a key that nobody knows is told its fingerprint, and nobody gets a command', async () => {
    const stranger = await makeKey(world.folder)
    const ran = await asKey(stranger, ['-W', 'near:22'])
    expect(ran.stderr).toContain(stranger.fingerprint)
    const { gate } = await ann.files()
    const command = await ann.ssh([gate, 'id'])
    expect(command.status).not.toBe(0)
    expect(command.stdout).not.toContain('uid=')
  })
})

describe('host targets', () => {
  const create = (name: string, address: string, port: number, region = 'here') =>
    world.ok('POST', '/targets', { name, address, port, region })

  test('a host inside --dial is reached, by slaves of its region', async () => {
    const sshd = await startSshd(makeFolder(), { host: String(own), authorized: [ann.key] })
    await create('switch', String(own), sshd.port)
    await world.grant('ann', { target: 'switch' })
    for (const via of [0, 1]) {
      const ran = await ann.ssh(['switch', 'echo', 'here'], via)
      expect(ran.stdout, ran.stderr).toBe('here\n')
    }
    // Only the port of its record, whatever is asked.
    expect(await refused('switch', sshd.port)).toMatch(/open failed/)
  })

  test.each([
    ['outside --dial', '203.0.113.9'],
    ['on loopback, which --dial names', '127.0.0.1'],
    ['on loopback by a name', 'localhost'],
    ['link-local', '169.254.1.1'],
  ])('a host %s is never dialled', async (_what, address) => {
    const echo = await startEcho()
    const name = `host-${address.replaceAll('.', '-')}`
    const made = await world.all.api(0, 'POST', '/targets', {
      name,
      address,
      port: echo.port,
      region: 'here',
    })
    if (made.status >= 400) return
    await world.grant('ann', { target: name })
    expect(reason(await refused(name))).toMatch(/is not dialled from here \(--dial\)/)
    expect(echo.accepted).toBe(0)
  })

  test('the cluster’s own ports are never dialled, though --dial covers them', async () => {
    for (const n of [0, 1]) {
      await create(`own-ssh-${n}`, String(own), sshPorts.first + n)
      await world.grant('ann', { target: `own-ssh-${n}` })
      expect(reason(await refused(`own-ssh-${n}`, 22, n))).toMatch(/is not dialled from here/)
    }
  })

  test('a host of a region without slaves that dial is nobody’s to carry', async () => {
    await create('abroad', String(own), 22, 'abroad')
    await world.grant('ann', { target: 'abroad' })
    expect(reason(await refused('abroad'))).toMatch(/no slave dials abroad/)
  })
})

describe('hostile names', () => {
  const bad = [
    'a b',
    'a\nHost *',
    'a"b',
    'a%h',
    '-oProxyCommand=x',
    '../x',
    'a;b',
    'a$(id)',
    'ä',
    'a_b',
    '.a',
    '',
  ]

  test('G038: no name, account, address or gate can inject a line or a word', async () => {
    for (const name of bad) {
      for (const [path, body] of [
        ['/targets', { name, address: '198.51.100.7' }],
        ['/targets', { name: 'ok', address: name }],
        ['/pools', { name }],
        ['/gates', { name, host: 'gate.example.com' }],
        ['/gates', { name: 'ok', host: name }],
        ['/users', { email: 'x@example.com', login: name }],
      ] as const) {
        // An underscore and a dot are fine in a login.
        if (path === '/users' && /^[a-z._-]+$/i.test(name)) continue
        if ('address' in body && body.address === name && /^(ä|a_b)$/.test(name)) continue
        const answer = await world.all.api(0, 'POST', path, body)
        expect(answer.status, `${path} ${JSON.stringify(body)}`).toBe(400)
      }
      for (const account of name === 'a_b' ? [] : [name]) {
        const answer = await world.all.api(0, 'POST', '/grants', { user: 'ann', target: 'near', account })
        expect(answer.status, JSON.stringify(account)).toBe(400)
      }
    }
  })

  test('G038: a device with a hostile id is a target by a harmless name, and the config holds', async () => {
    for (const id of ['Printer 3', 'a%h"b', 'ProxyCommand=touch /tmp/x', 'ü'.repeat(20), 'x'.repeat(128)]) {
      const made = await world.all.api(0, 'POST', '/devices', { id })
      if (made.status >= 400) continue
      const { targets } = await world.ok<{ targets: { name: string; device?: string }[] }>(
        'GET',
        '/targets?limit=1000',
      )
      const name = targets.find(({ device }) => device === id)?.name ?? 'none'
      expect(name).toMatch(/^[a-z0-9][a-z0-9-]{0,62}$/)
      await world.grant('ann', { target: name })
    }
    const { config } = await ann.files()
    const effective = await run('ssh', ['-F', config, '-G', 'near'])
    expect(effective.status).toBe(0)
    expect((await ann.ssh(['near', 'echo', 'here'])).stdout).toBe('here\n')
  })

  test('what a client types comes back without control characters', async () => {
    const client = await connectClient({ slave: of(world.all.slaves, 0), key: ann.key })
    const said = await new Promise<string>((resolve) =>
      client.forwardOut('127.0.0.1', 1, '\u001b]2;owned\u0007\u009b', 22, (error) =>
        resolve(error?.message ?? 'let through'),
      ),
    )
    expect(said).toMatch(/owned/)
    expect(said).not.toMatch(/\p{Cc}/u)
  })
})
