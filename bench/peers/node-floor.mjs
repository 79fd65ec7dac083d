// No SSH server: what Node alone takes for the same turns of the socket and the same cryptography as one login. Nothing that
// runs on Node and does a login can take less. Turns as an OpenSSH client makes them; sizes are those of a login.
import {
  createCipheriv,
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
} from 'node:crypto'
import { createServer } from 'node:net'
import { argv } from 'node:process'

const TURNS = 9
const withCryptography = argv[2] === 'cryptography'
const ANSWER = Buffer.alloc(100)
const host = generateKeyPairSync('ed25519')
const device = generateKeyPairSync('ed25519')
const challenge = randomBytes(200)
const signature = sign(null, challenge, device.privateKey)
const clientKey = generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' })

/** RFC 8731 and RFC 4253 §7.2: a key pair, the secret, the hash, its signature, six keys, a cipher each way. */
function exchangeKeys() {
  const own = generateKeyPairSync('x25519')
  const publicKey = createPublicKey({ key: clientKey, format: 'jwk' })
  const secret = diffieHellman({ privateKey: own.privateKey, publicKey })
  const hash = createHash('sha256').update(challenge).update(secret).digest()
  sign(null, hash, host.privateKey)
  for (const letter of 'ABCDEF') createHash('sha256').update(secret).update(hash).update(letter).digest()
  for (let way = 0; way < 2; way++) createCipheriv('aes-128-gcm', hash.subarray(0, 16), hash.subarray(0, 12))
}

const server = createServer({ noDelay: true }, (socket) => {
  let turn = 0
  socket.on('error', () => {})
  socket.on('data', () => {
    turn++
    if (withCryptography && turn === 3) exchangeKeys()
    if (withCryptography && turn === 7) verify(null, challenge, device.publicKey, signature)
    if (turn < TURNS) return socket.write(ANSWER)
    const forward = createServer().listen(0, '127.0.0.1', () => socket.write(ANSWER))
    socket.once('close', () => forward.close())
  })
})
server.listen(0, '127.0.0.1', () => process.stdout.write(`{"port":${server.address().port}}\n`))
