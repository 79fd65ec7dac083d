import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

import { silentLog } from '@sshoal/shared'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { readAuthorizedKeys } from '../../src/hook/authorized-keys.ts'
import { HookRefusal } from '../../src/hook/hook-refusal.ts'
import type { Hook, HookContext } from '../../src/hook/hook.ts'
import { hookAuthority, openHook, type OpenHookDeps } from '../../src/hook/open-hook.ts'
import { signWebHook } from '../../src/hook/web-hook.ts'
import { FakeCluster } from '../fake-cluster.ts'
import { blob, fingerprint, keyLine } from '../key-lines.ts'
import { startRooms, temporaryFolder } from '../master-parts.ts'

let folder: ReturnType<typeof temporaryFolder>
let cluster: FakeCluster
let closing: (() => Promise<void>)[]
const log = silentLog()

beforeEach(() => {
  folder = temporaryFolder()
  cluster = new FakeCluster()
  closing = []
})
afterEach(async () => {
  for (const close of closing.toReversed()) await close()
  folder.remove()
})

function context(seed: number, change: Partial<HookContext> = {}): HookContext {
  return {
    algorithm: 'ssh-ed25519',
    fingerprint: fingerprint(seed),
    username: 'pi',
    remoteAddress: '203.0.113.5',
    slave: 's1',
    signal: AbortSignal.timeout(5_000),
    ...change,
  }
}

async function open(hook: string | undefined, deps: Partial<OpenHookDeps> = {}): Promise<Hook> {
  const opened = await openHook(hook, { registry: { byFingerprint: async () => [] }, cluster, log, ...deps })
  closing.push(() => opened.close())
  return opened
}

const ask = (hook: Hook, seed: number, change: Partial<HookContext> = {}) =>
  hook.validate_device(blob(seed), context(seed, change))

describe('the default hook', () => {
  it('answers what the registry says, and chooses between projects by the login name', async () => {
    const rooms = await startRooms()
    closing.push(() => rooms.close())
    const hook = await open(undefined, { registry: rooms.registry })
    expect(hookAuthority(undefined)).toBe('store')
    expect(await ask(hook, 1)).toBeUndefined()
    await rooms.registry.create('acme', {
      id: 'pump',
      keys: [keyLine(1)],
      ports: [20_001],
      region: 'eu',
      keepalive: '15s',
      mac: '001348026afe',
      name: 'Pump',
    })
    expect(await ask(hook, 1)).toEqual({
      client_key: 'pump',
      project: 'acme',
      ports: [20_001],
      region: 'eu',
      keepalive: '15s',
      mac: '001348026afe',
      name: 'Pump',
    })
    await rooms.registry.create('zoo', { id: 'gate', keys: [keyLine(1)] })
    expect(await ask(hook, 1, { username: 'pi+zoo' })).toMatchObject({ client_key: 'gate', project: 'zoo' })
    for (const username of ['pi', 'pi+other', 'zoo'])
      expect(await ask(hook, 1, { username })).toBeInstanceOf(HookRefusal)
  })
})

describe('a hook from a file', () => {
  const write = (name: string, text: string): string => {
    const file = join(folder.path, name)
    writeFileSync(file, text)
    return file
  }

  it('may be TypeScript that imports a package and a file of its own folder', async () => {
    const pkg = join(folder.path, 'node_modules', 'my-fleet')
    mkdirSync(pkg, { recursive: true })
    writeFileSync(join(pkg, 'package.json'), '{"name":"my-fleet","main":"index.cjs"}')
    writeFileSync(join(pkg, 'index.cjs'), 'exports.fleet = "ships"')
    write('names.ts', 'export const suffix: string = "-7"')
    const file = write(
      'hook.ts',
      `import { fleet } from 'my-fleet'
       import { suffix } from './names.ts'
       enum Kind { Known = 'known' }
       export async function validate_device(key: string, { fingerprint }: { fingerprint: string }) {
         return { client_key: fleet + suffix, kind: Kind.Known, fingerprint }
       }`,
    )
    const hook = await open(file)
    expect(hookAuthority(file)).toBe('hook')
    expect(await ask(hook, 1)).toEqual({ client_key: 'ships-7', kind: 'known', fingerprint: fingerprint(1) })
  })

  it('may be JavaScript of either kind, with a named or a default export', async () => {
    const forms: [string, string][] = [
      ['named.mjs', 'export const validate_device = () => ({ client_key: "a" })'],
      ['default.mjs', 'export default { validate_device: () => ({ client_key: "a" }) }'],
      ['common.cjs', 'exports.validate_device = () => ({ client_key: "a" })'],
      ['this.mjs', 'export default { id: "a", validate_device() { return { client_key: this.id } } }'],
    ]
    for (const [name, text] of forms)
      expect(await ask(await open(write(name, text)), 1)).toEqual({ client_key: 'a' })
  })

  it.each(['module', 'commonjs'])(
    'is fresh after a reload, its own imports too, and stays where that fails (%s)',
    async (type) => {
      write('package.json', JSON.stringify({ type }))
      write('id.ts', 'export const id = "one"')
      const file = write(
        'hook.ts',
        'import { id } from "./id.ts"; export const validate_device = () => ({ client_key: id })',
      )
      const hook = await open(file)
      expect(await ask(hook, 1)).toEqual({ client_key: 'one' })
      write('id.ts', 'export const id = "two"')
      await hook.reload()
      expect(await ask(hook, 1)).toEqual({ client_key: 'two' })
      write('id.ts', 'export const id = = syntax')
      await hook.reload()
      expect(await ask(hook, 1)).toEqual({ client_key: 'two' })
      rmSync(file)
      await hook.reload()
      expect(await ask(hook, 1)).toEqual({ client_key: 'two' })
    },
  )

  it('is refused by name where it is missing, broken, or exports nothing of the kind', async () => {
    const broken: [string, RegExp][] = [
      [join(folder.path, 'none.ts'), /no such file/],
      [write('empty.ts', 'export const x = 1'), /validate_device/],
      [write('text.ts', 'export const validate_device = "yes"'), /validate_device/],
      [write('syntax.ts', 'export const = 1'), /cannot load/],
      [write('throws.ts', 'throw new Error("at start")'), /at start/],
      [write('import.ts', 'import "not-there"; export const validate_device = () => {}'), /not-there/],
    ]
    for (const [file, message] of broken)
      await expect(open(file)).rejects.toMatchObject({
        code: 'HOOK_LOAD_FAILED',
        message: expect.stringMatching(message),
      })
  })
})

describe('an authorized_keys file', () => {
  it('gives each key to the device that its comment names, and each bad line its number', () => {
    const { keys, problems } = readAuthorizedKeys(
      [
        '# fleet',
        '',
        keyLine(1, 'pump'),
        keyLine(2),
        'nonsense',
        `  ${keyLine(3, 'a b')}`,
        keyLine(1, 'other'),
        '',
      ].join('\r\n'),
    )
    expect([...keys.values()].map(({ device }) => device)).toEqual(['pump'])
    expect(problems.map(({ line }) => line)).toEqual([4, 5, 6, 7])
  })

  it('never throws, whatever stands in the file', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string(), fc.constant(keyLine(1, 'x')))), (lines) => {
        const { keys, problems } = readAuthorizedKeys(lines.join('\n'))
        expect(keys.size + problems.length).toBeLessThanOrEqual(lines.join('\n').split(/\r?\n/).length)
      }),
    )
  })

  it('is read again when it is changed or replaced, and keys that are gone are cut', async () => {
    const file = join(folder.path, 'authorized_keys')
    writeFileSync(file, `${keyLine(1, 'one')}\n${keyLine(2, 'two')}\n`)
    const hook = await open(`authorized_keys:${file}`)
    expect(await ask(hook, 1)).toEqual({ client_key: 'one' })
    writeFileSync(`${file}.new`, `${keyLine(2, 'two')}\n${keyLine(3, 'three')}\n`)
    renameSync(`${file}.new`, file)
    await vi.waitFor(async () => expect(await ask(hook, 3)).toEqual({ client_key: 'three' }), {
      timeout: 5_000,
    })
    expect(await ask(hook, 1)).toBeUndefined()
    await vi.waitFor(() => expect(cluster.invalidated).toEqual([[fingerprint(1)]]), { timeout: 5_000 })
    // The same key under another name is another device.
    writeFileSync(file, `${keyLine(2, 'zwei')}\nbroken\n${keyLine(3, 'three')}\n`)
    await vi.waitFor(() => expect(cluster.invalidated[1]).toEqual([fingerprint(2)]), { timeout: 5_000 })
    expect(await ask(hook, 2)).toEqual({ client_key: 'zwei' })
  })

  it('keeps what it knew while the file is away', async () => {
    const file = join(folder.path, 'authorized_keys')
    writeFileSync(file, keyLine(1, 'one'))
    const hook = await open(`authorized_keys:${file}`)
    rmSync(file)
    await hook.reload()
    expect(await ask(hook, 1)).toEqual({ client_key: 'one' })
    expect(cluster.invalidated).toEqual([])
    await expect(open(`authorized_keys:${file}`)).rejects.toMatchObject({ code: 'HOOK_LOAD_FAILED' })
  })

  it('is followed where Kubernetes mounts it and turns a link', async () => {
    for (const version of ['v1', 'v2']) mkdirSync(join(folder.path, version))
    writeFileSync(join(folder.path, 'v1', 'keys'), keyLine(1, 'one'))
    writeFileSync(join(folder.path, 'v2', 'keys'), keyLine(2, 'two'))
    symlinkSync('v1', join(folder.path, '..data'))
    symlinkSync('..data/keys', join(folder.path, 'keys'))
    const hook = await open(`authorized_keys:${join(folder.path, 'keys')}`)
    expect(await ask(hook, 1)).toEqual({ client_key: 'one' })
    symlinkSync('v2', join(folder.path, '..data_tmp'))
    renameSync(join(folder.path, '..data_tmp'), join(folder.path, '..data'))
    await vi.waitFor(async () => expect(await ask(hook, 2)).toEqual({ client_key: 'two' }), {
      timeout: 5_000,
    })
    await vi.waitFor(() => expect(cluster.invalidated).toEqual([[fingerprint(1)]]), { timeout: 5_000 })
  })
})

describe('a web hook', () => {
  async function serve(answer: (request: IncomingMessage, body: string, response: ServerResponse) => void) {
    const server = createServer((request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => (body += chunk.toString()))
      request.on('end', () => answer(request, body, response))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(
      () =>
        new Promise((resolve) => {
          server.closeAllConnections()
          server.close(() => resolve())
        }),
    )
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/device`
  }

  it('posts the question, signed, and takes JSON for the answer', async () => {
    let seen: { body: string; signature: string | undefined } | undefined
    const url = await serve((request, body, response) => {
      seen = { body, signature: String(request.headers['x-sshoal-signature']) }
      response.end('{"client_key":"pump","cacheSeconds":5}')
    })
    const hook = await open(url, { secret: 's3cret' })
    expect(await ask(hook, 1)).toEqual({ client_key: 'pump', cacheSeconds: 5 })
    expect(JSON.parse(seen?.body ?? '')).toEqual({
      publicKey: blob(1),
      algorithm: 'ssh-ed25519',
      fingerprint: fingerprint(1),
      username: 'pi',
      remoteAddress: '203.0.113.5',
      slave: 's1',
    })
    const seconds = Number(/^t=(\d+),v1=[0-9a-f]{64}$/.exec(seen?.signature ?? '')?.[1])
    expect(seen?.signature).toBe(signWebHook('s3cret', seconds, seen?.body ?? ''))
    expect(Math.abs(Date.now() / 1_000 - seconds)).toBeLessThan(60)
  })

  it('refuses on 404, 403, null and nothing, and is out on everything else', async () => {
    let answer: [number, string] = [200, '']
    const url = await serve((_request, _body, response) =>
      response.writeHead(answer[0], { location: '/' }).end(answer[1]),
    )
    const hook = await open(url)
    const refusals: [number, string][] = [
      [404, 'x'],
      [403, ''],
      [200, 'null'],
      [200, ''],
    ]
    for (answer of refusals) expect((await ask(hook, 1)) ?? undefined).toBeUndefined()
    const outages: [number, string][] = [
      [500, ''],
      [302, ''],
      [401, ''],
      [204, ''],
      [200, '<html>'],
      [200, `"${'x'.repeat(64 * 1024)}"`],
    ]
    for (answer of outages) await expect(ask(hook, 1)).rejects.toMatchObject({ code: 'HOOK_FAILED' })
    const nobody = await open('http://127.0.0.1:1/')
    await expect(ask(nobody, 1)).rejects.toThrow()
  })

  it('gives up when the signal fires', async () => {
    const url = await serve(() => {})
    const hook = await open(url)
    const stop = new AbortController()
    const asked = ask(hook, 1, { signal: stop.signal })
    stop.abort()
    await expect(asked).rejects.toThrow()
  })

  it('is https, or on this machine, unless insecure is said', async () => {
    for (const url of ['http://hook.example.org/', 'ftp://127.0.0.1/', 'http://192.0.2.1/'])
      await expect(open(url)).rejects.toMatchObject({ code: 'HOOK_LOAD_FAILED' })
    for (const url of ['https://hook.example.org/', 'http://[::1]:9/', 'http://localhost/']) await open(url)
    await open('http://hook.example.org/', { insecure: true })
  })
})
