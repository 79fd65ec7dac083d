// HTTPS before something that speaks HTTP, with a certificate made for the test.

import { readFileSync } from 'node:fs'
import { connect, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createServer, type TlsOptions } from 'node:tls'

import { atEnd } from './ending.ts'
import { run } from './run.ts'

export interface Certificate {
  /** PEM; signed by itself, so also the file with the authority that signed it. */
  path: string
  keyPath: string
}

/** For 127.0.0.1 and localhost unless told: `['DNS:elsewhere.test']`. */
export async function makeCertificate(
  folder: string,
  names: string[] = ['IP:127.0.0.1', 'DNS:localhost'],
  keyType: 'ec' | 'rsa' = 'ec',
): Promise<Certificate> {
  const path = join(folder, 'certificate.pem')
  const keyPath = join(folder, 'certificate-key.pem')
  const bits = keyType === 'ec' ? 'ec_paramgen_curve:prime256v1' : 'rsa_keygen_bits:2048'
  const kind = ['-x509', '-newkey', keyType, '-pkeyopt', bits, '-nodes', '-days', '2']
  const text = ['-subj', '/CN=sshoal test', '-addext', `subjectAltName=${names.join()}`]
  const made = await run('openssl', ['req', ...kind, ...text, '-keyout', keyPath, '-out', path])
  if (made.status !== 0) throw new Error(`openssl failed: ${made.stderr}`)
  return { path, keyPath }
}

/** Answers the https URL at which the service at this http URL is reached. */
export async function startTlsFront(
  url: string,
  { path, keyPath }: Certificate,
  options: TlsOptions = {},
): Promise<string> {
  const { hostname, port } = new URL(url)
  const files = { cert: readFileSync(path), key: readFileSync(keyPath) }
  const server = createServer({ ...files, ...options }, (socket) => {
    const behind = connect(Number(port), hostname)
    socket.on('error', () => behind.destroy()).on('close', () => behind.destroy())
    behind.on('error', () => socket.destroy()).on('close', () => socket.destroy())
    socket.pipe(behind).pipe(socket)
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  atEnd(() => server.close())
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`
}
