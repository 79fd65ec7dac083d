// Takes connections in without Node's own detour. Node copies the options of each accepted socket and adds three to the
// copy; V8 gives such a copy a hidden class of its own each time, so that nothing about it can be cached: 13 µs of the 14
// that a socket takes to make. With options that have those three already it takes less than one. The way is Node's own
// (`onconnection` of a listening handle); where its insides are not as known, nothing is done and Node accepts as ever.
import { Socket, type Server, type SocketConstructorOpts } from 'node:net'

interface Insides {
  _handle?: Listening | null
  _connections?: number
  allowHalfOpen?: boolean
  highWaterMark?: number
  noDelay?: boolean
  emit(event: 'connection', socket: Socket): boolean
}

interface Listening {
  onconnection?: OnConnection
  [owner: symbol]: unknown
}

type OnConnection = (this: Listening, error: number, accepted?: object) => void

type Accepted = Socket & { _server?: Server }

/** Node's own, for what is not an everyday connection. */
let nodes: OnConnection | undefined
/** By which a handle knows its server. */
let owner: symbol | undefined

/** From now on `server`, which is listening, does so. False: not possible. */
export function acceptCheaply(server: Server): boolean {
  const { _handle: handle, _connections: connections } = server as unknown as Insides
  if (!handle || typeof handle.onconnection !== 'function' || typeof connections !== 'number') return false
  if (handle.onconnection === onConnection) return true
  owner ??= Object.getOwnPropertySymbols(handle).find(({ description }) => description === 'owner_symbol')
  if (owner === undefined || handle[owner] !== server) return false
  nodes = handle.onconnection
  // The same for all: a closure for each would take 0.2 KB of each bound tunnel.
  handle.onconnection = onConnection
  return true
}

function onConnection(this: Listening, error: number, accepted?: object): void {
  const server = this[owner as symbol] as Server
  if (error !== 0 || accepted === undefined || server.maxConnections > 0) {
    nodes?.call(this, error, accepted)
    return
  }
  const insides = server as unknown as Insides
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
