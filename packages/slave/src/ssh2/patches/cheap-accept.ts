// Takes connections in without Node's own detour. Node copies the options of each accepted socket and adds three to the
// copy; V8 gives such a copy a hidden class of its own each time, so that nothing about it can be cached: 13 µs of the 14
// that a socket takes to make. With options that have those three already it takes less than one. The way is Node's own
// (`onconnection` of a listening handle); where its insides are not as known, nothing is done and Node accepts as ever.
import { Socket, type Server, type SocketConstructorOpts } from 'node:net'

interface Insides {
  _handle?: { onconnection?: (error: number, accepted?: object) => void } | null
  _connections?: number
  allowHalfOpen?: boolean
  highWaterMark?: number
  noDelay?: boolean
  emit(event: 'connection', socket: Socket): boolean
}

type Accepted = Socket & { _server?: Server }

/** From now on `server`, which is listening, does so. False: not possible. */
export function acceptCheaply(server: Server): boolean {
  const insides = server as unknown as Insides
  const handle = insides._handle
  const nodes = handle?.onconnection
  if (!handle || typeof nodes !== 'function' || typeof insides._connections !== 'number') return false
  handle.onconnection = (error, accepted) => {
    if (error !== 0 || accepted === undefined || server.maxConnections > 0) {
      nodes.call(handle, error, accepted)
      return
    }
    const socket = new Socket({
      handle: accepted,
      allowHalfOpen: insides.allowHalfOpen,
      readable: true,
      writable: true,
      readableHighWaterMark: insides.highWaterMark,
      writableHighWaterMark: insides.highWaterMark,
      // These Node would add, with these values.
      emitClose: false,
      autoDestroy: true,
      decodeStrings: false,
    } as SocketConstructorOpts)
    if (insides.noDelay) socket.setNoDelay(true)
    // A server is closed when the last of its sockets is, which tells it so.
    insides._connections = (insides._connections ?? 0) + 1
    ;(socket as Accepted)._server = server
    insides.emit('connection', socket)
  }
  return true
}
