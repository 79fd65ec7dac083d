import { CLOSE, linkProof, type Tunnel } from '@sshoal/shared'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { WebSocket } from 'ws'

import { MasterLink, type MasterLinkOptions } from '../src/master-link.ts'
import { helloFacts, log, startScriptedMaster, until, wireTunnel, type ScriptedMaster } from './fixture.ts'

const masters: ScriptedMaster[] = []
const links: MasterLink[] = []
afterEach(async () => {
  vi.restoreAllMocks()
  for (const link of links.splice(0)) link.close('test over')
  await Promise.all(masters.splice(0).map((master) => master.close()))
})

async function startMaster(script: Parameters<typeof startScriptedMaster>[0] = {}): Promise<ScriptedMaster> {
  const master = await startScriptedMaster(script)
  masters.push(master)
  return master
}

function startLink(urls: string[], more: Partial<MasterLinkOptions> = {}): MasterLink {
  const link = new MasterLink({
    urls,
    access: () => ({ token: 'secret', ca: undefined }),
    proxy: undefined,
    hello: helloFacts,
    snapshot: () => [],
    sign: (data) => Buffer.concat([Buffer.from('signed '), data]),
    onNotice: { fixedPorts: () => {} },
    onRequest: {
      cut: () => Promise.resolve({ cut: true }),
      yield: () => Promise.resolve({ cut: true, contested: false }),
      probe: () => Promise.resolve({ alive: true }),
      invalidate: () => Promise.resolve({ cut: 0 }),
      lease: () => Promise.resolve({ outcome: 'granted', port: 20_000 }),
      unlease: () => Promise.resolve({ cut: false }),
      drain: () => Promise.resolve({ tunnels: 0 }),
    },
    onWelcome: () => {},
    log,
    ...more,
  })
  links.push(link)
  return link
}

/** Waits without a timer. */
async function turnsUntil(fact: () => unknown): Promise<void> {
  while (!fact()) await new Promise(setImmediate)
}

const types = (said: [string, unknown][]): string[] => said.map(([type]) => type)

describe('announcing', () => {
  test('T112: the nonce is signed for this slave, the token travels in the header', async () => {
    const master = await startMaster()
    await startLink([master.url]).firstWelcome
    const [end] = master.links
    expect(end?.token).toBe('Bearer secret')
    const signature = Buffer.concat([Buffer.from('signed '), linkProof('n'.repeat(43), 's1')]).toString(
      'base64',
    )
    expect(end?.said[0]).toMatchObject([
      'hello',
      { id: 's1', tunnels: 0, signature, protocol: { version: 1 } },
    ])
  })

  test.each([
    [0, [0]],
    [1, [1]],
    [500, [500]],
    [501, [500, 1]],
    [1_250, [500, 500, 250]],
  ])('%i tunnels are announced in chunks of at most 500, the last says so', async (count, sizes) => {
    const master = await startMaster()
    const tunnels = Array.from({ length: count }, (_, i) => wireTunnel(`d${i}`))
    await startLink([master.url], { snapshot: () => tunnels }).firstWelcome
    const chunks = (master.links[0]?.said ?? [])
      .filter(([type]) => type === 'snapshot')
      .map(([, body]) => body as { tunnels: Tunnel[]; last: boolean })
    expect(chunks.map((chunk) => chunk.tunnels.length)).toEqual(sizes)
    expect(chunks.map(({ last }) => last)).toEqual(sizes.map((_, i) => i === sizes.length - 1))
    expect(chunks.flatMap((chunk) => chunk.tunnels)).toEqual(tunnels)
  })

  test('changes follow the snapshot, also before the welcome; before it they are in it', async () => {
    const master = await startMaster({ welcomes: false })
    const link = startLink([master.url])
    link.send('tunnel.up', wireTunnel('too early'))
    await until(() => master.links[0]?.said.length === 2)
    link.send('tunnel.up', wireTunnel('a'))
    await until(() => master.links[0]?.said.length === 3)
    expect(types(master.links[0]?.said ?? [])).toEqual(['hello', 'snapshot', 'tunnel.up'])
    expect(link.linked).toBe(false)
  })

  test('requests fail at once while there is no welcome, and work after it', async () => {
    const master = await startMaster({ welcomes: false })
    const link = startLink([master.url])
    const question = { project: 'p', device: 'd', fingerprint: '', remoteAddress: '', incumbent: 0 }
    await expect(link.request('admit', question)).rejects.toMatchObject({ code: 'LINK_LOST' })
    await until(() => master.links[0]?.said.length === 2)
    await expect(link.request('admit', question)).rejects.toMatchObject({ code: 'LINK_LOST' })
    master.links[0]?.welcome()
    await link.firstWelcome
    await expect(link.request('admit', question)).resolves.toEqual({ outcome: 'admitted', epoch: 42 })
  })
})

describe('coming back', () => {
  test('T110, T113: after a loss it dials again and announces what it holds then', async () => {
    const master = await startMaster()
    let tunnels = [wireTunnel('a')]
    const link = startLink([master.url], { snapshot: () => tunnels })
    await link.firstWelcome
    tunnels = [wireTunnel('a'), wireTunnel('b')]
    master.links[0]?.socket.terminate()
    await until(() => link.welcomes === 2)
    expect(master.links[1]?.said[1]).toMatchObject([
      'snapshot',
      { tunnels: [{ device: 'a' }, { device: 'b' }] },
    ])
  })

  test('each link asks anew for token and authority: they may have been replaced', async () => {
    const master = await startMaster()
    let token = 'first'
    const link = startLink([master.url], { access: () => ({ token, ca: undefined }) })
    await link.firstWelcome
    token = 'second'
    master.links[0]?.socket.terminate()
    await until(() => link.welcomes === 2)
    expect(master.links.map((end) => end.token)).toEqual(['Bearer first', 'Bearer second'])
  })

  test('T096, T126: a request that is under way when the link breaks fails at once', async () => {
    const master = await startMaster()
    const link = startLink([master.url])
    await link.firstWelcome
    const pending = link.request('who', { publicKey: '', username: '', remoteAddress: '' })
    master.links[0]?.socket.terminate()
    await expect(pending).rejects.toMatchObject({ code: 'LINK_LOST' })
    expect(link.linked).toBe(false)
  })

  test('a master that is away is left for the next one that is named', async () => {
    const gone = await startScriptedMaster()
    await gone.close()
    const master = await startMaster()
    const link = startLink([gone.url, master.url])
    await link.firstWelcome
    expect(master.links).toHaveLength(1)
  })

  test('T111: waits double from 200 ms to 5 s, and each is jittered over its upper half', async () => {
    const master = await startMaster({ status: 401 })
    const waits: number[] = []
    const infos = (fields: { retryInMs?: number }): void => {
      if (fields.retryInMs !== undefined) waits.push(fields.retryInMs)
    }
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const random = vi.spyOn(Math, 'random')
    const noted = { ...log, warn: infos, info: infos, debug: () => {} } as unknown as typeof log
    const link = startLink([master.url], { log: noted })
    for (let attempt = 0; attempt < 8; attempt++) {
      random.mockReturnValue(attempt % 2 ? 0.999 : 0)
      while (waits.length <= attempt) await new Promise((resolve) => setImmediate(resolve))
      vi.advanceTimersByTime(5_000)
    }
    link.close('enough')
    vi.useRealTimers()
    // Even attempts at half of the longest wait, odd ones at nearly all of it.
    expect(waits.slice(0, 8)).toEqual([100, 400, 400, 1_599, 1_600, 4_998, 2_500, 4_998])
  })
})

describe('the end', () => {
  test('who says nothing after the dial is left after 10 s; who has asked and is slow to welcome is not', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const mute = await startMaster({ challenges: false })
    const slow = await startMaster({ welcomes: false })
    const link = startLink([mute.url, slow.url])
    await turnsUntil(() => mute.links.length === 1)
    vi.advanceTimersByTime(10_000)
    await turnsUntil(() => mute.links[0]?.socket.readyState === WebSocket.CLOSED)
    await turnsUntil(() => vi.advanceTimersByTime(200) && slow.links[0]?.said.length === 2)
    vi.advanceTimersByTime(60_000)
    slow.links[0]?.welcome()
    await link.firstWelcome
    expect([mute.links.length, slow.links.length]).toEqual([1, 1])
  })

  test('a slave that stops says good-bye before it closes, and does not come back', async () => {
    const master = await startMaster()
    const link = startLink([master.url])
    await link.firstWelcome
    link.close('the slave stops')
    link.close('twice')
    await until(() => master.links[0]?.socket.readyState === 3)
    expect(types(master.links[0]?.said ?? []).at(-1)).toBe('bye')
    expect(types(master.links[0]?.said ?? []).filter((type) => type === 'bye')).toHaveLength(1)
    await new Promise((resolve) => setTimeout(resolve, 250))
    expect(master.links).toHaveLength(1)
  })

  test('one that is closed while it dials or waits stays away', async () => {
    const master = await startMaster()
    startLink([master.url]).close('at once')
    const gone = await startScriptedMaster()
    await gone.close()
    const waiting = startLink([gone.url, master.url])
    await new Promise((resolve) => setTimeout(resolve, 30))
    waiting.close('while it waits')
    await new Promise((resolve) => setTimeout(resolve, 250))
    expect(master.links).toHaveLength(0)
  })

  test('a frame over 8 MiB from the master ends the link, not the slave', async () => {
    const master = await startMaster()
    const link = startLink([master.url])
    await link.firstWelcome
    const codes: number[] = []
    master.links[0]?.socket.on('close', (code) => codes.push(code))
    master.links[0]?.socket.send(`["${'x'.repeat(8 * 1024 * 1024)}"]`)
    await until(() => link.welcomes === 2)
    expect(codes).toEqual([1009])
  })

  test('a nonsense master is left with 4400', async () => {
    const master = await startMaster()
    const link = startLink([master.url])
    await link.firstWelcome
    const codes: number[] = []
    master.links[0]?.socket.on('close', (code) => codes.push(code))
    master.links[0]?.socket.send('[["welcome",{}]]')
    await until(() => codes.length > 0)
    expect(codes).toEqual([CLOSE.BAD_FRAME])
  })
})
