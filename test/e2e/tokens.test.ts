// Tokens: made, listed, ended. What a token opened ends with it, and two slave tokens overlap for a rotation.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { beforeAll, expect, test } from 'vitest'

import {
  callApi,
  eventually,
  followEvents,
  makeFolder,
  makeKey,
  openDevice,
  runSshoal,
  startCluster,
  startSlave,
  type Cluster,
} from '../kit/index.ts'

let cluster: Cluster
let folder: string

beforeAll(async () => {
  folder = makeFolder()
  cluster = await startCluster()
})

const sshoal = (...args: string[]) =>
  runSshoal(args, {
    cwd: folder,
    env: { SSHOAL_URL: cluster.master.url, SSHOAL_TOKEN: cluster.master.adminToken },
  })

async function create(...args: string[]): Promise<{ id: string; token: string }> {
  const { status, stdout, stderr } = await sshoal('token', 'create', ...args)
  expect({ status, stderr }).toMatchObject({ status: 0 })
  return { token: stdout.trim(), id: /token (\S+);/.exec(stderr)?.[1] ?? '' }
}

const ask = (token: string, path = '/cluster', method = 'GET') =>
  callApi({ url: cluster.master.url, token }, method, path)

test('a token is shown once, listed without what it is, and does what its role may', async () => {
  const { id, token } = await create('--role', 'operator', '--label', 'wall display', '--expires', '90d')
  expect(await ask(token)).toMatchObject({ status: 200 })
  expect(await ask(token, '/devices')).toMatchObject({ status: 403, body: { code: 'FORBIDDEN' } })
  expect(await ask(token, '/tokens')).toMatchObject({ status: 403 })
  const listed = await sshoal('token', 'ls', '--json')
  expect(listed.stdout).not.toContain(token.split('_')[2])
  const { tokens } = JSON.parse(listed.stdout) as { tokens: { id: string; expiresAt: string | null }[] }
  const mine = tokens.find((one) => one.id === id)
  expect(mine).toMatchObject({ role: 'operator', label: 'wall display' })
  const days = (Date.parse(mine?.expiresAt ?? '') - Date.now()) / 86_400_000
  expect(days).toBeGreaterThan(89)
  expect(days).toBeLessThanOrEqual(90)
  expect((await sshoal('token', 'ls')).stdout).toContain('wall display')
})

test('a token goes in the header, and nowhere else', async () => {
  const { adminToken, url } = cluster.master
  for (const path of [`/cluster?token=${adminToken}`, `/cluster?access_token=${adminToken}`])
    expect(await callApi({ url }, 'GET', path)).toMatchObject({ status: 401 })
})

test('a token that is revoked closes the event stream that it opened, at once', async () => {
  const { id, token } = await create('--role', 'operator')
  const response = await fetch(`${cluster.master.url}/cluster/events`, {
    headers: { authorization: `Bearer ${token}` },
  })
  expect(response.status).toBe(200)
  const others = await followEvents({ url: cluster.master.url, token: cluster.master.adminToken })
  const from = performance.now()
  expect(await sshoal('token', 'revoke', id, '--yes')).toMatchObject({ status: 0 })
  // Resolves when the stream is over.
  await response.text()
  expect(performance.now() - from).toBeLessThan(5_000)
  expect(await ask(token)).toMatchObject({ status: 401 })
  // Other streams go on, and tell of it.
  await eventually(() => expect(others.list.map(({ type }) => type)).toEqual(['token.revoked']))
  expect(await sshoal('token', 'revoke', id, '--yes')).toMatchObject({ status: 1 })
})

test('a token ends by itself', async () => {
  const expiresAt = new Date(Date.now() + 1_500).toISOString()
  const { body } = await cluster.api<{ token: string }>('POST', '/tokens', { role: 'operator', expiresAt })
  expect(await ask(body.token)).toMatchObject({ status: 200 })
  await eventually(async () => expect(await ask(body.token)).toMatchObject({ status: 401 }))
  expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiresAt))
})

test('two slave tokens overlap, so that slaves change one by one; revoking the old one closes only its links', async () => {
  const [old, next] = [await create('--role', 'slave', '--label', 'old'), await create('--role', 'slave')]
  const start = (id: string, token: string, again: { folder?: string } = {}) => {
    const file = join(folder, `token-${id}`)
    writeFileSync(file, `${token}\n`)
    return startSlave({ master: { url: cluster.master.url, slaveTokenFile: file }, id, ...again })
  }
  const [left, right] = [await start('left', old.token), await start('right', old.token)]
  const key = await makeKey(folder)
  await cluster.addDevice('barn', key)
  const device = openDevice({ slave: right, key })
  await device.port()
  await left.process.stop()
  await start('left', next.token, left)
  await eventually(async () => {
    const { slaves } = await cluster.cluster()
    expect(slaves.map(({ id, state }) => `${id} ${state}`).sort()).toEqual([
      'left ready',
      'right ready',
      'slave-1 ready',
    ])
  })
  const events = await cluster.events()
  expect(await sshoal('token', 'revoke', old.id, '--yes')).toMatchObject({ status: 0 })
  await events.next('slave.lost', { slave: 'right' })
  expect(events.list.filter(({ data }) => data.slave === 'left')).toEqual([])
  // Outside it goes on serving, and says why it is outside.
  await right.process.logged('the master does not let this slave in', ({ status }) => status === 401)
  expect(device.exit).toBeUndefined()
  expect(await callApi({ url: right.statusUrl }, 'GET', '/readyz')).toMatchObject({ status: 200 })
  expect(await callApi<string>({ url: right.statusUrl }, 'GET', '/metrics')).toMatchObject({
    body: expect.stringMatching(/^sshoal_tunnels 1$/m),
  })
})

test('an operator or a device token is no slave token', async () => {
  const { token } = await create('--role', 'operator')
  const file = join(folder, 'operator-token')
  writeFileSync(file, token)
  const slave = await startSlave({
    master: { url: cluster.master.url, slaveTokenFile: file },
    id: 'imposter',
  })
  await slave.process.logged('the master does not let this slave in', ({ status }) => status === 401)
  const { slaves } = await cluster.cluster()
  expect(slaves.map(({ id }) => id)).not.toContain('imposter')
})
