// `sshoal store …` on live masters: everything moves between the embedded store and Redis, as one view, in files of one's own.
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import {
  callApi,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  runSshoal,
  startMaster,
  startSlave,
  type Master,
} from '../kit/index.ts'
import { startRedis } from '../kit/redis.ts'

const at = ({ url, dataDir }: Master): string[] => ['--url', url, '--data', dataDir]
const api = <T>({ url, adminToken: token }: Master, method: string, path: string, body?: unknown) =>
  callApi<T>({ url, token }, method, path, body)

async function store(words: string[], master: Master) {
  const ran = await runSshoal(['store', ...words, ...at(master)])
  return { ...ran, said: ran.stdout + ran.stderr }
}

const ids = async (master: Master): Promise<string[]> => {
  const { status, body } = await api<{ devices: { id: string }[] }>(master, 'GET', '/devices')
  expect(status).toBe(200)
  return body.devices.map(({ id }) => id).sort()
}

test('everything moves from the embedded store to Redis and back, under live masters, with the tunnel that is up', async () => {
  const folder = makeFolder()
  const file = join(folder, 'export.ndjson')
  const alone = await startMaster()
  const key = await makeKey(folder)
  for (const id of ['door', 'gate', 'roof'])
    expect(
      (await api(alone, 'POST', '/devices', { id, keys: id === 'door' ? [key.publicKey] : [] })).status,
    ).toBe(201)

  const exported = await store(['export', file], alone)
  expect(exported.said).toMatch(/\d+ records/)
  expect(exported.status).toBe(0)
  expect(statSync(file).mode & 0o777).toBe(0o600)
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
  expect(JSON.parse(lines.at(-1) ?? '')).toEqual({ end: lines.length - 2 })
  expect(readFileSync(file, 'utf8')).not.toContain(alone.adminToken.split('.').at(-1) ?? 'never')

  const redis = await startRedis()
  const flags = ['--redis', redis.url]
  const [one, two] = await Promise.all([startMaster({ flags }), startMaster({ flags })])
  const slave = await startSlave({ master: one, id: 's1' })
  const full = await store(['import', file], one)
  expect(full.said).toContain('STORE_NOT_EMPTY')
  expect(full.status).toBe(1)
  const unasked = await store(['import', file, '--replace'], one)
  expect(unasked.said).toContain('--yes')
  const imported = await store(['import', file, '--replace', '--yes'], one)
  expect(imported.said).toContain(`${lines.length - 2} records imported`)
  // Both masters, with their own tokens of before.
  for (const master of [one, two])
    await eventually(async () => expect(await ids(master)).toEqual(['door', 'gate', 'roof']))
  expect((await store(['show'], two)).stdout).toBe((await store(['show'], alone)).stdout)

  const device = openDevice({ slave, key })
  await device.port()
  const again = join(folder, 'again.ndjson')
  expect((await store(['export', again], two)).status).toBe(0)
  expect((await store(['import', again, '--replace', '--yes'], alone)).status).toBe(0)
  expect(await ids(alone)).toEqual(['door', 'gate', 'roof'])
  // Its own token still lets the first one in, and the device of the others never noticed.
  expect((await api(alone, 'GET', '/cluster')).status).toBe(200)
  expect(device.exit).toBeUndefined()

  // What the import no longer has is refused, and cut.
  const without = join(folder, 'without.ndjson')
  const kept = readFileSync(again, 'utf8')
    .trimEnd()
    .split('\n')
    .filter((line) => !line.includes('"id":"door"'))
  kept[kept.length - 1] = JSON.stringify({ end: kept.length - 2 })
  writeFileSync(without, `${kept.join('\n')}\n`)
  expect((await store(['import', without, '--replace', '--yes'], two)).status).toBe(0)
  await device.exited
  expect(await ids(one)).toEqual(['gate', 'roof'])
}, 90_000)

test('an export of many records is larger than a body may be elsewhere, and half of one changes nothing', async () => {
  const folder = makeFolder()
  const master = await startMaster()
  const lines = Array.from({ length: 12_000 }, (_, n) =>
    JSON.stringify({ id: `d${n}`, name: 'x'.repeat(80) }),
  )
  const { url, adminToken } = master
  const response = await fetch(`${url}/devices/import`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/x-ndjson' },
    body: lines.join('\n'),
  })
  expect(await response.json()).toMatchObject({ created: 12_000 })
  const file = join(folder, 'export.ndjson')
  expect((await store(['export', file], master)).status).toBe(0)
  expect(statSync(file).size).toBeGreaterThan(2 * 1024 * 1024)
  const half = join(folder, 'half.ndjson')
  const text = readFileSync(file, 'utf8')
  writeFileSync(half, text.slice(0, Math.floor(text.length / 2)))
  const broken = await store(['import', half, '--replace', '--yes'], master)
  expect(broken.said).toContain('INVALID_EXPORT')
  expect((await store(['import', file, '--replace', '--yes'], master)).said).toContain('records imported')
  expect((await api<{ devices: unknown[] }>(master, 'GET', '/devices?q=d11999')).body.devices).toHaveLength(1)
  const wrong = await store(['import', join(folder, 'none'), '--yes'], master)
  expect(wrong.status).toBe(1)
  writeFileSync(half, '{"not":"ours"}\n')
  expect((await store(['import', half, '--yes'], master)).said).toContain('not an export')
}, 60_000)

test('only an admin of all projects moves the store', async () => {
  const master = await startMaster()
  const made = await api<{ token: string }>(master, 'POST', '/tokens', { role: 'admin', project: 'north' })
  const { url } = master
  const routes = [
    ['GET', '/store'],
    ['GET', '/store/export'],
    ['POST', '/store/import'],
    ['POST', '/store/accept'],
  ]
  for (const [method = '', path = ''] of routes) {
    expect(await callApi({ url, token: made.body.token }, method, path)).toMatchObject({ status: 403 })
    expect(await callApi({ url }, method, path)).toMatchObject({ status: 401 })
  }
})
