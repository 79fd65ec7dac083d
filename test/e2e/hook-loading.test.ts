// Where hooks come from: files of the user's, from sources and from the build, read again on SIGHUP; an
// authorized_keys file; an HTTP service; a function in code.

import { createHmac } from 'node:crypto'
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import {
  atEnd,
  eventually,
  makeFolder,
  makeKey,
  makeSteeredHook,
  openDevice,
  runSshoal,
  start,
  startCluster,
  startMaster,
  startSlave,
  type Cluster,
  type Key,
  type Slave,
} from '../kit/index.ts'

const root = new URL('../..', import.meta.url).pathname

function first({ slaves }: Cluster): Slave {
  const [slave] = slaves
  if (slave === undefined) throw new Error('no slave')
  return slave
}

async function refused(slave: Slave, key: Key): Promise<string> {
  const device = openDevice({ slave, key })
  expect((await device.exited).status).toBe(255)
  return device.output
}

test.each([
  ['the sources', join(root, 'packages/cli/src/main.ts')],
  ['the production build', join(root, 'dist/sshoal.mjs')],
])('a hook in TypeScript with a package of its own folder runs from %s', async (_name, cli) => {
  const hook = makeSteeredHook({ look: true })
  const master = await startMaster({ hook: hook.file, cli })
  const slave = await startSlave({ master, id: 'slave-1' })
  const key = await makeKey(makeFolder())
  hook.on(key, { answer: { client_key: 'barn' } })
  await openDevice({ slave, key, username: 'root' }).port()
  const [asked] = hook.asked(key)
  expect(asked).toMatchObject({ username: 'root', remoteAddress: '127.0.0.1', slave: 'slave-1' })
  // Its answer looked at the address, so the slave asks again.
  await openDevice({ slave, key, username: 'root' }).port()
  expect(hook.asked(key)).toHaveLength(2)
})

test('SIGHUP reads the hook again with what it imports; one that is broken leaves the old one in force', async () => {
  const folder = makeFolder()
  const [file, names] = [join(folder, 'hook.ts'), join(folder, 'names.ts')]
  writeFileSync(names, "export const name: string = 'first'\n")
  writeFileSync(
    file,
    `import { name } from './names.ts'
     export const validate_device = (): { client_key: string; cacheSeconds: number } =>
       ({ client_key: name, cacheSeconds: 0 })\n`,
  )
  const cluster = await startCluster({ hook: file })
  const key = await makeKey(folder)
  const loginAs = async (id: string): Promise<void> => {
    const device = openDevice({ slave: first(cluster), key })
    await device.port()
    await eventually(async () => expect((await cluster.tunnels()).map(({ device }) => device)).toContain(id))
    await device.stop()
  }
  await loginAs('first')
  writeFileSync(names, "export const name: string = 'second'\n")
  cluster.master.process.signal('SIGHUP')
  await cluster.master.process.logged('hook reloaded')
  await loginAs('second')
  writeFileSync(file, 'export const validate_device = (\n')
  cluster.master.process.signal('SIGHUP')
  await cluster.master.process.logged('the hook could not be reloaded; the old one stays')
  await loginAs('second')
})

test.each([
  ['is not there', undefined, /there is no such file/],
  ['is not TypeScript', 'export const validate_device = (', /cannot load the hook/],
  ['exports nothing of use', 'export const validate = 1', /does not export a function validate_device/],
  ['imports what is not there', "import 'no-such-package'", /no-such-package/],
])('a master does not start with a hook that %s, and says so', async (_name, code, reason) => {
  const folder = makeFolder()
  const file = join(folder, 'hook.ts')
  if (code !== undefined) writeFileSync(file, code)
  const args = ['master', '--listen', '127.0.0.1:0', '--data', folder, '--hook', file]
  const ran = await runSshoal(args, { cwd: folder })
  expect(ran.status).not.toBe(0)
  expect(ran.stdout + ran.stderr).toMatch(reason)
})

test('an authorized_keys file is followed: who is added gets in, who is removed is cut within a second', async () => {
  const folder = makeFolder()
  const [barn, mill] = [await makeKey(folder), await makeKey(folder)]
  const line = (key: Key, id: string): string => `${key.publicKey.split(' ').slice(0, 2).join(' ')} ${id}\n`
  const file = join(folder, 'devices')
  const write = (text: string): void => {
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }
  write(`# our devices\n${line(barn, 'barn')}this is no key\n`)
  const cluster = await startCluster({ slaves: 2, hook: `authorized_keys:${file}` })
  const device = openDevice({ slave: first(cluster), key: barn })
  await device.port()
  await eventually(async () => expect(await cluster.tunnels()).toMatchObject([{ device: 'barn' }]))
  expect(await refused(first(cluster), mill)).toContain(mill.fingerprint)
  expect((await cluster.master.process.logged('a line of the authorized keys was skipped')).line).toBe(3)

  write(line(mill, 'mill'))
  const from = performance.now()
  await device.exited
  expect(performance.now() - from).toBeLessThan(1_000)
  await openDevice({ slave: first(cluster), key: mill }).port()
  // A file that is away for a moment cuts nobody.
  rmSync(file)
  await cluster.master.process.logged('authorized keys could not be read; the ones before stay')
  for (const slave of cluster.slaves) await openDevice({ slave, key: mill }).port()
})

test('a web hook is asked with a signed POST; its refusals are refusals, its failures are outages', async () => {
  const secret = 'only the two of us know this'
  const asked: { headers: IncomingHttpHeaders; body: string }[] = []
  let answer: { status: number; body: string } = { status: 404, body: '' }
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      asked.push({ headers: request.headers, body })
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  atEnd(() => {
    server.close()
    server.closeAllConnections()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/who`
  const folder = makeFolder()
  writeFileSync(join(folder, 'secret'), `${secret}\n`)
  const cluster = await startCluster({
    hook: url,
    masterFlags: ['--hook-secret-file', join(folder, 'secret')],
  })
  const events = await cluster.events()
  const key = await makeKey(folder)
  expect(await refused(first(cluster), key)).toContain(key.fingerprint)
  const { headers, body } = asked[0] ?? { headers: {}, body: '' }
  expect(JSON.parse(body)).toEqual({
    publicKey: key.wire,
    algorithm: 'ssh-ed25519',
    fingerprint: key.fingerprint,
    username: 'device',
    remoteAddress: '127.0.0.1',
    slave: 'slave-1',
  })
  const [, seconds = '', given] =
    /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers['x-sshoal-signature'])) ?? []
  expect(given).toBe(createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex'))
  expect(Math.abs(Date.now() / 1_000 - Number(seconds))).toBeLessThan(60)

  answer = { status: 500, body: 'oops' }
  expect(await refused(first(cluster), key)).toContain('try again later')
  const failed = await events.next('hook.failed', { fingerprint: key.fingerprint })
  expect(failed.data.reason).toContain('status 500')
  answer = { status: 200, body: JSON.stringify({ client_key: 'barn', shelf: 7 }) }
  await openDevice({ slave: first(cluster), key }).port()
  await eventually(async () =>
    expect(await cluster.tunnels()).toMatchObject([{ device: 'barn', details: { shelf: 7 } }]),
  )
})

/** The block of docs/hook.md that begins with these words. */
function shown(begin: string): string {
  const page = readFileSync(join(root, 'docs/hook.md'), 'utf8')
  const [, block] = page.split(`\n\`\`\`ts\n${begin}`)
  if (block === undefined) throw new Error(`docs/hook.md shows no ${begin}`)
  return begin + block.slice(0, block.indexOf('\n```') + 1)
}

test('the function that docs/hook.md shows is a hook', async () => {
  const folder = makeFolder()
  const key = await makeKey(folder)
  writeFileSync(join(folder, 'hook.ts'), shown('// hook.ts').replace('SHA256:…', key.fingerprint))
  const cluster = await startCluster({ hook: join(folder, 'hook.ts') })
  await openDevice({ slave: first(cluster), key }).port()
  await eventually(async () =>
    expect(await cluster.tunnels()).toMatchObject([{ device: 'barn', details: { customer: 'Weber' } }]),
  )
  expect(await refused(first(cluster), await makeKey(folder))).toContain('Permission denied')
})

test('the same seam is a function in code', async () => {
  const folder = makeFolder()
  const key = await makeKey(folder)
  // The page's own program, with this test's key, folder and port in place of the page's.
  const program = shown('import { createMaster }')
    .replace('SHA256:…', key.fingerprint)
    .replace("'./data'", JSON.stringify(folder))
    .replace('port: 8080', 'port: 0')
  // Inside the checkout, so that the packages of the workspace are found by name.
  const file = join(root, 'test', `.code-seam-${process.pid}.ts`)
  writeFileSync(file, program)
  atEnd(() => {
    rmSync(file)
  })
  const running = start('node', ['--import', 'tsx', file], { cwd: root })
  const [, url = ''] = await running.waitForOutput(/the master is at (\S+)/)
  const slave = await startSlave({
    master: { url, slaveTokenFile: join(folder, 'slave-token') },
    id: 'slave-1',
  })
  await openDevice({ slave, key }).port()
  await refused(slave, await makeKey(folder))
})
