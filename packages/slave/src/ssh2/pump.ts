// A visit: joins a channel and a socket, or two channels, until both directions ended. Bytes go from the packet into the
// socket's write and from the socket's 'data' into a packet, without a stream in between. Half-close travels on after the
// data before it is out ("EOF before the data is drained truncates" for windows of 16 KB); CLOSE comes last.
import type { Socket } from 'node:net'

import { Backlog } from './backlog.ts'
import type { Channel, ChannelEnd, ClosedBy } from './channel.ts'
import { Gathered } from './gathered.ts'
import { BULK_BYTES, isShared, readShared } from './patches/shared-reads.ts'
import { giveSlabBack, takeSlab } from './slabs.ts'
import type { VisitEnd } from './ssh-server.ts'

/** Bytes a socket may hold unsent before what follows waits in a backlog, and the peer's window with it. */
const SOCKET_UNSENT_BYTES = 64 * 1024
/** A smaller piece is written at once, a larger one is gathered with what else this turn brings. */
const SMALL_BYTES = 4 * 1024
/** How long a socket that took everything may go on after the channel was closed under it: it has its FIN to send. */
const LINGER_MS = 2_000
/** One that has bytes to take yet is given up when it took none for so long. */
const STALLED_MS = 30_000

class SocketEnd implements ChannelEnd {
  #channel: Channel
  #socket: Socket
  #resolve: (end: VisitEnd) => void
  /** Read from the socket, no room in the channel yet. */
  #unsent: Buffer | undefined
  /** What `#unsent` lies in, if it is ours. */
  #unsentSlab: Buffer | undefined
  /** From the channel, no room in the socket yet. */
  #backlog: Backlog | undefined
  #gathered: Gathered | undefined
  #readsShared = false
  /** Bytes in the socket's buffer for which the peer has not got its window back. */
  #owed = 0
  #toChannel = 0
  #fromChannel = 0
  #socketEnded = false
  #reason: VisitEnd['reason'] = 'finished'

  constructor(channel: Channel, socket: Socket, resolve: (end: VisitEnd) => void) {
    this.#channel = channel
    this.#socket = socket
    this.#resolve = resolve
    socket.on('error', () => this.#because('socket-error'))
    socket.on('close', () => this.#onSocketClose())
    socket.on('drain', () => this.#onDrain())
    socket.on('end', () => this.#onSocketEnd())
    channel.attach(this)
    socket.on('data', (data: Buffer) => this.#onSocketData(data))
    // A visitor that left while the channel was being opened has already said so.
    if (socket.readableEnded) this.#onSocketEnd()
  }

  onData(data: Buffer): void {
    this.#fromChannel += data.length
    const socket = this.#socket
    if (this.#backlog !== undefined || socket.writableLength >= SOCKET_UNSENT_BYTES) {
      this.#backlog ??= new Backlog()
      this.#backlog.add(data)
      return
    }
    this.#owed += data.length
    if (this.#gathered === undefined || this.#gathered.length === 0) {
      if (data.length < SMALL_BYTES) {
        socket.write(Buffer.from(data))
        this.#giveBackIfTaken()
        return
      }
      setImmediate(this.#writeGathered)
    } else if (!this.#gathered.fits(data.length)) this.#writeGathered()
    this.#gathered ??= new Gathered()
    this.#gathered.add(data)
  }

  #writeGathered = (): void => {
    if (this.#gathered === undefined || this.#gathered.length === 0) return
    this.#gathered.writeTo(this.#socket)
    this.#giveBackIfTaken()
  }

  /** Mostly the kernel took it at once; if not, 'drain' follows. */
  #giveBackIfTaken(): void {
    if (this.#socket.writableLength < SOCKET_UNSENT_BYTES) this.#giveBack()
  }

  onEof(): void {
    if (this.#backlog === undefined) this.#endSocket()
  }

  onRoom(): void {
    if (this.#unsent !== undefined) {
      const data = this.#unsent
      const sent = this.#channel.send(data)
      this.#toChannel += sent
      this.#unsent = sent < data.length ? data.subarray(sent) : undefined
      if (this.#unsent !== undefined) return
      this.#freeSlab()
      this.#socket.resume()
    }
    if (this.#socketEnded) this.#passEof()
  }

  onClosed(by: ClosedBy): void {
    this.#unsent = undefined
    this.#freeSlab()
    const socket = this.#socket
    if (by !== 'peer') {
      this.#because(by === 'us' ? 'destroyed' : 'channel-closed')
      socket.destroy()
      return
    }
    if (!this.#socketEnded) this.#because('channel-closed')
    // What the peer sent before its CLOSE still has to arrive; what comes from the socket has nowhere to go.
    if (this.#backlog === undefined) this.#endSocket()
    socket.resume()
    this.#linger()
  }

  #linger(): void {
    const socket = this.#socket
    let least = Infinity
    let stalledMs = 0
    const timer = setInterval(() => {
      const untaken = socket.writableLength + (this.#backlog?.length ?? 0)
      stalledMs = untaken < least ? 0 : stalledMs + LINGER_MS
      least = untaken
      if (untaken === 0 || stalledMs >= STALLED_MS) socket.destroy()
    }, LINGER_MS)
    socket.once('close', () => clearInterval(timer))
  }

  #onSocketData(data: Buffer): void {
    if (data.length >= BULK_BYTES && !this.#readsShared) {
      this.#readsShared = true
      readShared(this.#socket, (shared) => this.#onSocketData(shared))
    }
    if (this.#unsent !== undefined) {
      // Node's stream, which does not know that it is not used any more, may have begun to read although it is paused.
      this.#unsent = Buffer.concat([this.#unsent, data])
      this.#freeSlab()
      this.#socket.pause()
      return
    }
    const sent = this.#channel.send(data)
    this.#toChannel += sent
    if (sent === data.length) return
    const unsent = data.subarray(sent)
    this.#unsent = isShared(unsent) ? this.#keep(unsent) : unsent
    this.#socket.pause()
  }

  /** The next read overwrites it; a slab has room for what one read brings. */
  #keep(data: Buffer): Buffer {
    const slab = takeSlab()
    slab.set(data)
    this.#unsentSlab = slab
    return slab.subarray(0, data.length)
  }

  #freeSlab(): void {
    if (this.#unsentSlab !== undefined) giveSlabBack(this.#unsentSlab)
    this.#unsentSlab = undefined
  }

  #onSocketEnd(): void {
    this.#socketEnded = true
    if (this.#unsent === undefined) this.#passEof()
  }

  #onDrain(): void {
    // What was gathered is older than what waits in the backlog.
    this.#gathered?.writeTo(this.#socket)
    const backlog = this.#backlog
    if (backlog !== undefined) {
      this.#backlog = undefined
      this.#owed += backlog.length
      this.#socket.cork()
      for (const block of backlog.take()) this.#socket.write(block)
      this.#socket.uncork()
      if (this.#channel.gotEof || this.#channel.closed) this.#endSocket()
    }
    this.#giveBackIfTaken()
  }

  #giveBack(): void {
    const owed = this.#owed
    this.#owed = 0
    this.#channel.consumed(owed)
  }

  #passEof(): void {
    this.#channel.sendEof()
    this.#closeIfDone()
  }

  #endSocket(): void {
    this.#writeGathered()
    if (!this.#socket.writableEnded) this.#socket.end()
    this.#closeIfDone()
  }

  #closeIfDone(): void {
    if (this.#channel.sentEof && this.#channel.gotEof && this.#socket.writableEnded) this.#channel.close()
  }

  #because(reason: VisitEnd['reason']): void {
    if (this.#reason === 'finished') this.#reason = reason
  }

  #onSocketClose(): void {
    if (!this.#channel.closed) this.#because(this.#socket.errored === null ? 'destroyed' : 'socket-error')
    this.#channel.close()
    this.#resolve({
      bytesToChannel: this.#toChannel,
      bytesFromChannel: this.#fromChannel,
      reason: this.#reason,
    })
  }
}

export function joinSocket(channel: Channel, socket: Socket): Promise<VisitEnd> {
  return new Promise((resolve) => {
    if (socket.destroyed) {
      socket.on('error', () => {})
      channel.close()
      resolve({ bytesToChannel: 0, bytesFromChannel: 0, reason: 'socket-error' })
      return
    }
    void new SocketEnd(channel, socket, resolve)
  })
}

/** One direction between two channels. */
class Lane {
  bytes = 0
  #from: Channel
  #to: Channel
  #backlog: Backlog | undefined
  #ended = false

  constructor(from: Channel, to: Channel) {
    this.#from = from
    this.#to = to
  }

  add(data: Buffer): void {
    let sent = 0
    if (this.#backlog === undefined) {
      sent = this.#to.send(data)
      this.bytes += sent
      this.#from.consumed(sent)
      if (sent === data.length) return
    }
    this.#backlog ??= new Backlog()
    this.#backlog.add(data.subarray(sent))
  }

  end(): void {
    this.#ended = true
    this.flush()
  }

  flush(): void {
    const backlog = this.#backlog
    if (backlog !== undefined) {
      this.#backlog = undefined
      let full = false
      for (const block of backlog.take()) {
        const sent = full ? 0 : this.#to.send(block)
        this.bytes += sent
        this.#from.consumed(sent)
        if (sent === block.length) continue
        full = true
        this.#backlog ??= new Backlog()
        this.#backlog.add(block.subarray(sent))
      }
      if (full) return
    }
    if (!this.#ended) return
    this.#to.sendEof()
    if (this.#from.closed) this.#to.close()
  }
}

/** Joins two channels of any two connections; the counts are those of the first. */
export function joinChannel(first: Channel, second: Channel): Promise<VisitEnd> {
  return new Promise((resolve) => {
    const outward = new Lane(first, second)
    const inward = new Lane(second, first)
    let reason: VisitEnd['reason'] = 'finished'
    const settleIfDone = (): void => {
      if (first.sentEof && first.gotEof && second.sentEof && second.gotEof) {
        first.close()
        second.close()
      }
      if (!first.closed || !second.closed) return
      resolve({ bytesToChannel: inward.bytes, bytesFromChannel: outward.bytes, reason })
    }
    const end = (self: Channel, out: Lane, into: Lane, other: Channel): ChannelEnd => ({
      onData: (data) => out.add(data),
      onEof: () => {
        out.end()
        settleIfDone()
      },
      onRoom: () => {
        into.flush()
        settleIfDone()
      },
      onClosed: (by) => {
        if (by === 'us') reason = 'destroyed'
        else if (!(self.gotEof && self.sentEof)) reason = 'channel-closed'
        if (by === 'peer') out.end()
        else other.close()
        settleIfDone()
      },
    })
    first.attach(end(first, outward, inward, second))
    second.attach(end(second, inward, outward, first))
  })
}
