// The master's end of one cluster link: nonce, hello, snapshot, welcome, then deltas. Proves the slave before anything it
// says counts, and drops what comes over a link that no longer speaks for its slave.
import { randomBytes, randomUUID } from 'node:crypto'

import {
  CLOSE,
  holderKey,
  linkProof,
  masterSpeech,
  PROTOCOL,
  slaveSpeech,
  SshoalError,
  Wire,
  type Hello,
  type Holder,
  type Log,
  type MasterWire,
  type SlaveNoticeHandlers,
  type SlaveRequestHandlers,
  type Tunnel,
} from '@sshoal/shared'
import { verifySignature } from '@sshoal/shared/ssh-signature'
import type { WebSocket } from 'ws'

import type { GateDesk } from './gate-desk.ts'
import type { LiveCluster } from './live-cluster.ts'
import { wireHolder } from './live-tunnels.ts'
import { SlaveRecord } from './slave-record.ts'

/** From the upgrade to the hello, and from one snapshot chunk to the next. */
const HANDSHAKE_DEADLINE_MS = 10_000
/** How long the older process of an id may take to show that it is still there: a dead one stays open until its pings fail. */
const INCUMBENT_DEADLINE_MS = 3_000

type Lost = Holder & { epoch: number; reason: string }

export class SlaveLink {
  readonly #cluster: LiveCluster
  readonly #log: Log
  readonly #seenAddress: string
  readonly #nonce = randomBytes(32).toString('base64')
  readonly #link = randomUUID()
  /** When the challenge was sent. An answer may lie here while this process stands still, and the slave is elsewhere by then. */
  readonly #since: number
  readonly #wire: MasterWire
  readonly #onEnd: () => void
  #deadline: NodeJS.Timeout
  #hello: Hello | undefined
  #slave: SlaveRecord | undefined
  #chunks = 0
  /** The epochs of the snapshot, by holder; undefined: nobody will ask. */
  #named: Map<string, number> | undefined
  readonly #lost: Lost[] = []
  /** What came while the hello was being judged. */
  readonly #early: ((slave: SlaveRecord) => void)[] = []
  /** The snapshot was read to its end: from here on deltas count, also before the welcome. */
  #synced = false
  #welcomed = false
  #bye: string | undefined

  constructor(cluster: LiveCluster, socket: WebSocket, seenAddress: string, onEnd: () => void) {
    this.#cluster = cluster
    this.#log = cluster.deps.log
    this.#seenAddress = seenAddress
    this.#onEnd = onEnd
    this.#since = cluster.roster.nextSince()
    this.#deadline = setTimeout(() => this.#late(), HANDSHAKE_DEADLINE_MS)
    this.#wire = new Wire({
      socket,
      sends: masterSpeech,
      receives: slaveSpeech,
      onNotice: this.#notices(),
      onRequest: this.#requests(),
      onClose: ({ code, reason }) => this.#ended(code, reason),
      log: this.#log,
    })
    this.#wire.send('challenge', { nonce: this.#nonce, master: cluster.deps.master.id })
  }

  close(code: 1001 | 4401, reason: string): void {
    this.#wire.close(code, reason)
  }

  #notices(): SlaveNoticeHandlers {
    const cluster = this.#cluster
    return {
      hello: (hello) => this.#greet(hello),
      snapshot: (chunk) => {
        if (!this.#hello) return this.#refuse(CLOSE.BAD_FRAME, 'a snapshot before the hello')
        this.#inTurn((slave) => this.#readChunk(slave, chunk))
      },
      'tunnel.up': (tunnel) =>
        this.#delta((slave) => {
          const loss = cluster.live.up(slave, tunnel, { announced: false })
          // Cut over this very link, so that the order with the slave's own messages stays right.
          if (loss)
            void this.#wire
              .request('cut', { ...wireHolder(tunnel), epoch: tunnel.epoch, ...loss })
              .catch(() => {})
        }),
      'tunnel.changed': ({ epoch, forwards, ...holder }) =>
        this.#delta((slave) => cluster.live.changed(slave, holder, epoch, forwards)),
      'tunnel.down': ({ epoch, reason, ...holder }) =>
        this.#delta((slave) => cluster.live.down(slave, holder, epoch, reason)),
      refused: (refusal) =>
        this.#delta(() => cluster.deps.refused({ ...refusal, remoteAddress: refusal.remoteAddress })),
      contested: ({ remoteAddress, incumbentAddress, ...holder }) =>
        this.#delta((slave) => cluster.admission.contested(slave, holder, remoteAddress, incumbentAddress)),
      status: (status) => this.#delta((slave) => cluster.roster.statusChanged(slave, status)),
      draining: ({ draining }) => this.#delta((slave) => cluster.roster.drainingChanged(slave, draining)),
      bye: ({ reason }) => {
        this.#bye = reason
      },
    }
  }

  #requests(): SlaveRequestHandlers {
    return {
      who: async (question) => {
        const slave = this.#required()
        const region = slave.region === undefined ? {} : { slaveRegion: slave.region }
        return this.#cluster.deps.ask({ ...question, slave: slave.id, ...region })
      },
      admit: async (question) => this.#cluster.admission.admit(this.#required(), question),
      visit: async (question) => this.#gate().visit(question, this.#required().id),
      reach: async (question) => this.#gate().reach(question, this.#required().id),
      peer: async ({ publicKey }) => {
        this.#required()
        return { known: this.#gate().isPeer(publicKey) }
      },
      visited: async ({ reports }) => {
        const [gate, { id }] = [this.#gate(), this.#required()]
        await Promise.all(reports.map((report) => gate.visited(report, id)))
        return {}
      },
      own: async (question) => {
        this.#required()
        return { own: await this.#gate().own(question) }
      },
    }
  }

  #gate(): GateDesk {
    const { gate } = this.#cluster.deps
    if (!gate) throw new SshoalError('NO_GATE', 'this master answers no users')
    return gate
  }

  /** Now, or when the hello was judged; always in the order in which things came. */
  #inTurn(change: (slave: SlaveRecord) => void): void {
    if (this.#slave) change(this.#slave)
    else this.#early.push(change)
  }

  /** A change counts after the snapshot, and as long as this link speaks for its slave. */
  #delta(change: (slave: SlaveRecord) => void): void {
    if (!this.#hello) return void this.#cluster.live.counters.dropped++
    this.#inTurn((slave) => {
      if (this.#synced && slave.link === this.#link) change(slave)
      else this.#cluster.live.counters.dropped++
    })
  }

  #required(): SlaveRecord {
    const slave = this.#slave
    if (!slave || !this.#welcomed || slave.link !== this.#link)
      throw new SshoalError('NOT_WELCOMED', 'this link does not speak for a slave')
    return slave
  }

  #greet(hello: Hello): void {
    if (this.#hello) return this.#refuse(CLOSE.BAD_FRAME, 'a second hello')
    this.#hello = hello
    if (hello.protocol.oldest > PROTOCOL.version)
      return this.#refuse(
        CLOSE.VERSION,
        `update the master: it speaks protocol ${PROTOCOL.version}, the slave needs ${hello.protocol.oldest}`,
      )
    if (hello.protocol.version < PROTOCOL.oldest)
      return this.#refuse(
        CLOSE.VERSION,
        `update the slave: it speaks protocol ${hello.protocol.version}, the master needs ${PROTOCOL.oldest}`,
      )
    if (!proves(hello, this.#nonce))
      return this.#refuse(CLOSE.UNAUTHORIZED, 'the signature is not of the first host key')
    this.#accept(hello).catch((error: unknown) => {
      this.#log.error({ err: error, slave: hello.id }, 'a slave could not be welcomed')
      this.#refuse(CLOSE.GOING_AWAY, 'the master cannot welcome anybody now')
    })
  }

  async #accept(hello: Hello): Promise<void> {
    const known = this.#cluster.roster.slave(hello.id)
    const older = known?.wire
    if (known && !sameHostKey(known.hello, hello)) {
      if (known.hello.instance !== hello.instance && (older ?? known.master)) {
        // One that hangs on another master is believed to be there: that master drops it when it falls silent.
        if (!older ? known.state !== 'stale' : await older.alive(INCUMBENT_DEADLINE_MS))
          return this.#refuse(
            CLOSE.ID_TAKEN,
            `another slave with another host key is called ${hello.id}; give one of them another --id`,
          )
        // Meanwhile it may have gone, or another link may have come: then all is different.
        if (this.#cluster.roster.slave(hello.id) !== known || known.wire !== older) return this.#accept(hello)
      }
      this.#cluster.deps.announce('slave.host-key-changed', { slave: hello.id, address: this.#seenAddress })
    }
    if (!this.#wire.open) return
    if (known && known.since > this.#since)
      return this.#refuse(CLOSE.REPLACED, 'a newer link of this slave stands already')
    if (known) known.relink(hello, this.#link, this.#wire, this.#seenAddress)
    this.#slave = known ?? new SlaveRecord(hello, this.#link, this.#wire, this.#seenAddress)
    this.#cluster.roster.joining(this.#slave, this.#since)
    older?.close(CLOSE.REPLACED, 'a newer link of this slave took over')
    for (const change of this.#early.splice(0)) change(this.#slave)
  }

  #readChunk(slave: SlaveRecord, { tunnels, last }: { tunnels: Tunnel[]; last: boolean }): void {
    if (this.#synced) return this.#refuse(CLOSE.BAD_FRAME, 'a snapshot out of order')
    if (slave.link !== this.#link) return
    this.#deadline.refresh()
    // A slave of which no tunnel is known has none that it could leave out, as all have after the master's own start.
    if (this.#chunks++ === 0 && slave.tunnels > 0) this.#named = new Map()
    const named = this.#named
    for (const tunnel of tunnels) {
      const key = holderKey(tunnel)
      if (named) named.set(key, tunnel.epoch)
      const loss = this.#cluster.live.up(slave, tunnel, { announced: true }, key)
      if (loss) this.#lost.push({ ...wireHolder(tunnel), epoch: tunnel.epoch, ...loss })
    }
    if (!last) return
    this.#synced = true
    if (this.#named) this.#cluster.live.keepOnly(slave, this.#named)
    this.#named = undefined
    void this.#welcome(slave)
  }

  async #welcome(slave: SlaveRecord): Promise<void> {
    const fixedPorts = await this.#cluster.deps.fixedPorts(slave.region).catch((error: unknown) => {
      this.#log.error({ err: error }, 'fixed ports could not be read')
      return undefined
    })
    if (!fixedPorts) return this.#refuse(CLOSE.GOING_AWAY, 'the store cannot be read')
    const leases = await this.#cluster.deps.leases?.(slave.id)
    if (!this.#wire.open || slave.link !== this.#link) return
    clearTimeout(this.#deadline)
    this.#welcomed = true
    this.#wire.send('welcome', {
      link: this.#link,
      nowMicros: this.#cluster.deps.feed.nowMicros(),
      seenAddress: this.#seenAddress,
      invalidation: this.#cluster.invalidator.last ??
        this.#hello?.invalidation ?? { store: 'unknown', number: 0 },
      fixedPorts,
      ...(leases ? { leases } : {}),
      lost: this.#lost.splice(0),
    })
    this.#cluster.roster.joined(slave)
  }

  #late(): void {
    // What it said may lie here unread, behind the snapshots of five hundred others.
    if (this.#wire.behind) this.#deadline.refresh()
    else this.#refuse(CLOSE.DEADLINE, 'no hello in time')
  }

  #refuse(code: Parameters<MasterWire['close']>[0], reason: string): void {
    this.#log.warn({ slave: this.#hello?.id, address: this.#seenAddress, code, reason }, 'slave link refused')
    this.#wire.close(code, reason)
  }

  #ended(code: number, reason: string): void {
    clearTimeout(this.#deadline)
    this.#onEnd()
    if (!this.#slave) return
    this.#log.debug({ slave: this.#slave.id, code, reason }, 'slave link ended')
    this.#cluster.roster.left(this.#slave, this.#link, this.#bye)
  }
}

function sameHostKey(a: Hello, b: Hello): boolean {
  return a.hostKeys[0]?.publicKey === b.hostKeys[0]?.publicKey
}

function proves(hello: Hello, nonce: string): boolean {
  const key = Buffer.from(hello.hostKeys[0]?.publicKey ?? '', 'base64')
  const signature = Buffer.from(hello.signature, 'base64')
  // The blob names its own algorithm first: an RSA key signs as rsa-sha2-256 or rsa-sha2-512 (RFC 8332 §3).
  const length = signature.length >= 4 ? signature.readUInt32BE(0) : 0
  const algorithm = signature.toString('latin1', 4, 4 + Math.min(length, 64))
  return verifySignature(algorithm, key, linkProof(nonce, hello.id), signature)
}
