// Who may no longer is let in no more, and what they had open is cut within a second, on every slave; and what is kept of
// visits and changes.

import { beforeAll, describe, expect, test } from 'vitest'

import { startAccessRooms } from '../kit/access.ts'
import { startGateWorld, type GateWorld, type Opened, type Person } from '../kit/gate.ts'
import {
  eventually,
  makeKey,
  openVisit,
  runSshoal,
  startEcho,
  type Service,
  type Visit,
} from '../kit/index.ts'
import { of } from '../kit/masters.ts'

let world: GateWorld
let echo: Service
let people = 0

beforeAll(async () => {
  world = await startGateWorld()
  echo = await startEcho()
  const forwards = [`0:${echo.host}:${echo.port}`]
  await Promise.all([world.device('door', 0, { forwards }), world.device('gone', 0, { forwards })])
  for (const name of ['doors', 'all']) await world.ok('POST', '/pools', { name, members: ['door'] })
})

interface Held {
  person: Person
  /** By the slave that holds the device, and by the other one. */
  opened: Opened[]
  visits: Visit[]
}

/** A person with a visit that is carried where they came in, and one that is relayed. */
async function hold(target: string, grant: Record<string, unknown>): Promise<Held> {
  const person = await world.person(`p${++people}`)
  await world.grant(person.login, grant)
  const opened = await Promise.all([person.open(target, 22, 0), person.open(target, 22, 1)])
  const visits = await Promise.all(opened.map(({ address }) => openVisit(address)))
  for (const visit of visits) visit.send('here')
  for (const visit of visits) await visit.receive(4)
  return { person, opened, visits }
}

/** Does it, and expects that both visits are over within a second of the call and that none comes in again. */
async function expectCut({ visits, opened }: Held, act: () => Promise<unknown>): Promise<void> {
  const from = performance.now()
  await act()
  await eventually(() => visits.every(({ closed, ended }) => closed || ended))
  expect(performance.now() - from).toBeLessThan(1_000)
  for (const { address, ssh } of opened) {
    // Whoever has no key any more has no connection either.
    if (ssh.exit !== undefined) continue
    const again = await openVisit(address).catch(() => undefined)
    again?.send('again')
    await eventually(() => again === undefined || again.closed || again.ended || ssh.exit !== undefined)
    expect(again?.received.length ?? 0).toBe(0)
  }
}

async function expectKept({ visits }: Held): Promise<void> {
  for (const visit of visits) {
    const before = visit.received.length
    visit.send('still')
    await visit.receive(before + 5)
  }
}

describe('cut within a second, direct and relayed', () => {
  test('G065 P065: a key that is removed', async () => {
    const held = await hold('door', { target: 'door' })
    const path = `/users/${held.person.login}/keys/${encodeURIComponent(held.person.key.fingerprint)}`
    await expectCut(held, () => world.ok('DELETE', path))
    const next = await held.person.ssh(['door', 'true'])
    expect(next.status).toBe(255)
    expect(next.stderr).toMatch(/Permission denied|not known|no longer/i)
  })

  test('P076: a person whose keys are revoked; with a new key they are back', async () => {
    const held = await hold('door', { pool: 'doors' })
    const { login } = held.person
    await expectCut(held, () => world.ok('POST', `/users/${login}/revoke`))
    const fresh = await makeKey(world.folder)
    await world.ok('POST', `/users/${login}/keys`, { key: fresh.publicKey, label: 'new' })
    const { address } = await world.as(held.person, fresh).open('door')
    const visit = await openVisit(address)
    visit.send('back')
    await visit.receive(4)
  })

  test('a grant that is removed, by the other master', async () => {
    const person = `p${people + 1}`
    const held = await hold('door', { target: 'door' })
    const { grants } = await world.ok<{ grants: { id: string }[] }>('GET', `/grants?user=${person}`)
    await expectCut(held, () => world.ok('DELETE', `/grants/${grants[0]?.id}`, undefined, 1))
  })

  test('P071: a person who is removed', async () => {
    const held = await hold('door', { pool: 'doors' })
    await expectCut(held, () => world.ok('DELETE', `/users/${held.person.login}`, undefined, 1))
  })

  test('P074: a target that leaves its pool', async () => {
    const held = await hold('door', { pool: 'doors' })
    await expectCut(held, () => world.ok('DELETE', '/pools/doors/members/door'))
    await world.ok('POST', '/pools/doors/members', { target: 'door' })
  })

  test('P075: a pool that is removed', async () => {
    await world.ok('POST', '/pools', { name: 'brief', members: ['door'] })
    const held = await hold('door', { pool: 'brief' })
    await expectCut(held, () => world.ok('DELETE', '/pools/brief'))
  })

  test('a target that is removed, with its device', async () => {
    const held = await hold('gone', { target: 'gone' })
    await expectCut(held, () => world.ok('DELETE', '/devices/gone'))
  })

  test('a target that is put behind a gate of another region, and a project that is closed', async () => {
    await world.ok('POST', '/gates', { name: 'far-away', host: 'gate.example.com', region: 'far-away' })
    const first = await hold('door', { target: 'door' })
    await expectCut(first, () => world.ok('POST', '/gates/far-away/targets', { target: 'door' }))
    await world.ok('DELETE', '/gates/far-away/targets/door')
    const second = await hold('door', { target: 'door' })
    await world.ok('POST', '/projects', { id: 'default' })
    await expectCut(second, () => world.ok('PATCH', '/projects/default', { state: 'closed' }))
    await world.ok('PATCH', '/projects/default', { state: 'active' })
  })

  test('a grant that is removed by a master that dies with its answer', async () => {
    const held = await hold('door', { target: 'door' })
    const { grants } = await world.ok<{ grants: { id: string }[] }>(
      'GET',
      `/grants?user=${held.person.login}`,
    )
    const { process } = of(world.all.masters, 1)
    await expectCut(held, async () => {
      await world.ok('DELETE', `/grants/${grants[0]?.id}`, undefined, 1)
      process.signal('SIGKILL')
    })
    await world.all.restartMaster(1)
    await world.all.agreed()
  })

  test('a grant that is removed by a master that dies before it has told anybody', async () => {
    const held = await hold('door', { target: 'door' })
    const dying = await startAccessRooms({ redisUrl: world.all.redis.url, prefix: 'sshoal' })
    const { records } = await dying.access.grants.list('default', { user: held.person.login, limit: 1 })
    await dying.access.grants.remove('default', records[0]?.id ?? '', { token: 't-1', label: 'dying' })
    // Nobody got an answer either; the others find the number in the store, which they look at every other second.
    await eventually(() => held.visits.every(({ closed, ended }) => closed || ended), { within: 8_000 })
  })

  test('a visit whose grant is over by its `until`, without anybody doing anything', async () => {
    const until = new Date(Date.now() + 4_000)
    const held = await hold('door', { target: 'door', until: until.toISOString() })
    await expectKept(held)
    await eventually(() => held.visits.every(({ closed, ended }) => closed || ended))
    const lateMs = Date.now() - until.getTime()
    expect(lateMs).toBeGreaterThan(-100)
    expect(lateMs).toBeLessThan(1_000)
  })
})

describe('kept', () => {
  test('P068 P099: who reaches a target by two pools keeps it when one goes, and loses it with the second', async () => {
    const held = await hold('door', { pool: 'doors' })
    const { login } = held.person
    const second = await world.grant(login, { pool: 'all' })
    const { grants } = await world.ok<{ grants: { id: string }[] }>('GET', `/grants?user=${login}&pool=doors`)
    await world.ok('DELETE', `/grants/${grants[0]?.id}`)
    await expectKept(held)
    await expectCut(held, () => world.ok('DELETE', `/grants/${second}`))
  })

  test('another person’s visits to the same device, and a grant that is made longer', async () => {
    const [leaving, staying] = [
      await hold('door', { target: 'door' }),
      await hold('door', { target: 'door' }),
    ]
    const { grants } = await world.ok<{ grants: { id: string }[] }>(
      'GET',
      `/grants?user=${staying.person.login}`,
    )
    const id = grants[0]?.id
    await world.ok('PATCH', `/grants/${id}`, { until: new Date(Date.now() + 3_600_000).toISOString() })
    await expectCut(leaving, () => world.ok('DELETE', `/users/${leaving.person.login}`))
    await expectKept(staying)
  })
})

describe('the audit', () => {
  interface AuditEntry {
    type: string
    at: string
    by?: string
    before?: unknown
    after?: unknown
    via?: string
    endedAt?: string
    reason?: string
    [field: string]: unknown
  }
  const audit = async (query: string): Promise<AuditEntry[]> =>
    (await world.ok<{ entries: AuditEntry[] }>('GET', `/audit?${query}`, undefined, 1)).entries

  test('every visit is kept: who, with which key, from where, to what, as whom, how long, how much, why it ended', async () => {
    const held = await hold('door', { target: 'door' })
    const { person, visits } = held
    await eventually(async () => expect(await audit(`user=${person.login}&type=visit`)).toHaveLength(2))
    const ended = (count: number) =>
      eventually(async () => {
        const found = await audit(`user=${person.login}&type=visit`)
        expect(found.filter(({ endedAt }) => endedAt !== undefined)).toHaveLength(count)
        return found
      })
    visits[0]?.close()
    await ended(1)
    await world.ok('DELETE', `/users/${person.login}`)
    const entries = await ended(2)
    for (const entry of entries)
      expect(entry).toMatchObject({
        type: 'visit',
        user: person.login,
        target: 'door',
        fingerprint: person.key.fingerprint,
        slave: 's1',
        remoteAddress: '127.0.0.1',
        port: 22,
        account: world.account,
        bytesToTarget: 4,
        bytesFromTarget: 4,
      })
    expect(new Set(entries.map(({ via }) => via))).toEqual(new Set(['s2', undefined]))
    // One was finished, the other cut.
    expect(new Set(entries.map(({ reason }) => reason)).size).toBe(2)
  })

  test('every change is kept with who made it, before and after, and both are events', async () => {
    const events = await world.events()
    await world.ok('POST', '/users', { email: 'eve@example.com', login: 'eve' })
    await world.ok('PATCH', '/users/eve', { name: 'Eve' })
    await world.grant('eve', { target: 'door' })
    await world.ok('DELETE', '/users/eve')
    const types = (await audit('user=eve')).map(({ type }) => type)
    expect(types.slice(0, 1)).toEqual(['user.removed'])
    expect(types.toReversed()[0]).toBe('user.created')
    expect(types).toContain('grant.created')
    const [changed] = await audit('user=eve&type=user.changed')
    expect(changed?.by).toBeTruthy()
    expect(changed).toMatchObject({ before: {}, after: { name: 'Eve' } })
    expect(changed?.before).not.toHaveProperty('name')
    await events.next('user.created', { user: 'eve' })
    await events.next('user.removed', { user: 'eve' })
  })

  test('sshoal audit prints them, newest first, narrowed', async () => {
    const { url, dataDir } = of(world.all.masters, 0)
    const ran = await runSshoal(['audit', '--target', 'door', '--since', '1h', '--type', 'visit'], {
      env: { SSHOAL_URL: url, SSHOAL_DATA: dataDir },
    })
    expect(ran.status, ran.stderr).toBe(0)
    const lines = ran.stdout.trim().split('\n')
    expect(lines.length).toBeGreaterThan(10)
    for (const line of lines) expect(line).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d visit .*target=door/)
    const times = lines.map((line) => line.slice(0, 19))
    expect(times).toEqual([...times].sort().toReversed())
  })
})
