// What every ClusterFeed promises, alone or over Redis. `solo-feed.test.ts` and `test/e2e/redis-feed.test.ts` run it.
import { expect, test } from 'vitest'

import type {
  ClusterFeed,
  FeedChange,
  FeedListener,
  FeedSnapshot,
  SlaveFacts,
} from '../../src/cluster/feed/cluster-feed.ts'

export interface Heard {
  listener: FeedListener
  snapshots: FeedSnapshot[]
  changes: FeedChange[]
}

/** A listener that remembers, and holds nothing. */
export function listen(): Heard {
  const snapshots: FeedSnapshot[] = []
  const changes: FeedChange[] = []
  return {
    snapshots,
    changes,
    listener: {
      onChange: (change) => changes.push(change),
      onSnapshot: (snapshot) => snapshots.push(snapshot),
      holdings: () => [],
      onSilent() {},
      onRequest: () => Promise.reject(new Error('nothing is linked here')),
    },
  }
}

export function factsOf(id: string, since = 1): SlaveFacts {
  return {
    hello: {
      protocol: { version: 1, oldest: 1 },
      id,
      instance: id,
      version: '1',
      publicPort: 2222,
      sshPorts: [2222],
      forwardAddress: '127.0.0.1',
      forwardPorts: { first: 20_000, last: 25_000 },
      capacity: 1_000,
      uptimeSeconds: 0,
      draining: false,
      addresses: [],
      hostKeys: [{ algorithm: 'ssh-ed25519', publicKey: 'AAAA' }],
      signature: '',
      tunnels: 0,
    },
    seenAddress: '127.0.0.1',
    state: 'ready',
    registeredAt: 1,
    since,
  }
}

const holder = { project: 'default', device: 'd' }
const everyChange: FeedChange[] = [
  { type: 'joining', slave: 's', link: 'l', facts: factsOf('s') },
  {
    type: 'up',
    slave: 's',
    link: 'l',
    arrived: true,
    tunnel: { ...holder, epoch: 1, fingerprint: 'f', remoteAddress: 'a', connectedAt: 1, forwards: [] },
  },
  {
    type: 'changed',
    slave: 's',
    link: 'l',
    tunnel: { ...holder, epoch: 1, fingerprint: 'f', remoteAddress: 'a', connectedAt: 1, forwards: [] },
  },
  { type: 'down', slave: 's', link: 'l', holder, epoch: 1, reason: 'left' },
  { type: 'synced', slave: 's', link: 'l' },
  { type: 'state', slave: 's', link: 'l', facts: factsOf('s') },
  { type: 'status', slave: 's', link: 'l', status: { load: 0, visits: 0, connections: 0 } },
  { type: 'gone', slave: 's', link: 'l', reason: 'bye' },
  { type: 'slots', slaves: ['s'] },
  { type: 'invalidate', number: 1, store: 'store-1', fingerprints: null },
  { type: 'fixedPorts' },
  { type: 'contested', holder },
  { type: 'revoked', token: 't' },
  { type: 'refused', refusal: { code: 'c', reason: 'r', remoteAddress: 'a' } },
  { type: 'event', event: { type: 'e', data: {}, scope: {} } },
]

/** `make`: a feed of its own at each call, which the suite closes. */
export function feedSuite(make: () => Promise<ClusterFeed> | ClusterFeed): void {
  const started = async (): Promise<{ feed: ClusterFeed; heard: Heard }> => {
    const feed = await make()
    const heard = listen()
    await feed.start(heard.listener)
    return { feed, heard }
  }

  test('a start hands over one snapshot, before it resolves', async () => {
    const { feed, heard } = await started()
    expect(heard.snapshots).toEqual([{ slaves: [] }])
    await feed.close()
  })

  test('publishing never throws, and one does not hear oneself', async () => {
    const { feed, heard } = await started()
    for (const change of everyChange) feed.publish(change)
    await feed.close()
    for (const change of everyChange) feed.publish(change)
    expect(heard.changes).toEqual([])
  })

  test('a reservation names one of the candidates, or leaves the choice', async () => {
    const { feed } = await started()
    const candidates = ['a', 'b'].map((id) => ({ id, tunnels: 0, capacity: 10 }))
    const chosen = await Promise.all(
      Array.from({ length: 10 }, async (_, n) => feed.reserve(`wish ${n % 2}`, () => candidates)),
    )
    for (const id of chosen) expect([undefined, 'a', 'b']).toContain(id)
    await feed.close()
    expect(await feed.reserve('', () => candidates)).toBeUndefined()
  })

  test('the clock is near ours and does not go back', async () => {
    const { feed } = await started()
    let last = feed.nowMicros()
    expect(Math.abs(last / 1_000 - Date.now())).toBeLessThan(2_000)
    for (let n = 0; n < 1_000; n++) {
      const now = feed.nowMicros()
      expect(now).toBeGreaterThanOrEqual(last)
      last = now
    }
    await feed.close()
  })

  test('a request to a master that nobody knows is refused as a lost link', async () => {
    const { feed } = await started()
    const asked = feed.request('nobody', 's', 'probe', holder, 1_000)
    await expect(asked).rejects.toMatchObject({ code: 'LINK_LOST' })
    await feed.close()
  })

  test('there is nobody else where there is nobody else, and closing twice is closing once', async () => {
    const { feed } = await started()
    expect(feed.others()).toEqual([])
    await Promise.all([feed.close(), feed.close()])
    await feed.close()
  })
}
