// Leases a port for one device from a program. The device makes its key itself, so no private key ever travels:
//   SSHOAL_URL=https://sshoal.example.com SSHOAL_TOKEN=… npx tsx examples/lease.ts 00:13:48:02:6a:fe 30m
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

interface Lease {
  id: string
  port: number
  host: string
  sshPort: number
  knownHosts: string
  visit: { address: string; port: number }
  expiresAt: string
}

const { SSHOAL_URL = 'http://127.0.0.1:8080', SSHOAL_TOKEN = '', TARGET = 'localhost:22' } = process.env
const [macaddress, timeout = '30m'] = process.argv.slice(2)

async function rest<T>(method: string, path: string, body?: object): Promise<T> {
  const response = await fetch(SSHOAL_URL + path, {
    method,
    headers: {
      authorization: `Bearer ${SSHOAL_TOKEN}`,
      ...(body ? { 'content-type': 'application/json' } : {}),
    },
    ...(body ? { body: JSON.stringify(body) } : {}),
  })
  const answer = (await response.json()) as T & { error?: string }
  if (!response.ok) throw new Error(answer.error ?? response.statusText)
  return answer
}

const folder = mkdtempSync(join(tmpdir(), 'lease-'))
const key = join(folder, 'key')
execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
const lease = await rest<Lease>('POST', '/leases', {
  macaddress,
  timeout,
  publicKey: readFileSync(`${key}.pub`, 'utf8').trim(),
})
const knownHosts = join(folder, 'known_hosts')
writeFileSync(knownHosts, lease.knownHosts)
console.log(
  `lease ${lease.id}: visitors go to ${lease.visit.address}:${lease.visit.port} until ${lease.expiresAt}`,
)

const settings = [
  'BatchMode=yes',
  'IdentitiesOnly=yes',
  'ExitOnForwardFailure=yes',
  'StrictHostKeyChecking=yes',
  `UserKnownHostsFile=${knownHosts}`,
  'ServerAliveInterval=15',
]
const ssh = spawn(
  'ssh',
  [
    '-N',
    '-i',
    key,
    '-p',
    String(lease.sshPort),
    '-R',
    `${lease.port}:${TARGET}`,
    ...settings.flatMap((setting) => ['-o', setting]),
    `lease@${lease.host}`,
  ],
  { stdio: 'inherit' },
)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => ssh.kill(signal))
ssh.on('exit', (status) => {
  rmSync(folder, { recursive: true, force: true })
  // Whoever is done early gives the port back early; one that ended by itself is gone already.
  void rest('DELETE', `/leases/${lease.id}`)
    .catch(() => {})
    .then(() => process.exit(status ?? 1))
})
