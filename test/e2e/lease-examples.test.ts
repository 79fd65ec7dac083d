// The examples as a newcomer runs them: against a real server, with the real ssh, curl and node.

import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

import { beforeAll, expect, test } from 'vitest'

import {
  eventually,
  start,
  startCluster,
  startEcho,
  visit,
  type Cluster,
  type Started,
} from '../kit/index.ts'

let cluster: Cluster
let token: string

beforeAll(async () => {
  cluster = await startCluster()
  const made = await cluster.api<{ token: string }>('POST', '/tokens', { role: 'integrator' })
  token = made.body.token
})

const example = (file: string): string => new URL(`../../examples/${file}`, import.meta.url).pathname

interface Shown {
  leases: { id: string; device: string; connected: boolean; visit: { address: string; port: number } }[]
}

async function tunnelOf(device: string): Promise<{ host: string; port: number }> {
  return eventually(async () => {
    const { body } = await cluster.api<Shown>('GET', `/leases?device=${device}`)
    const [lease] = body.leases
    return lease?.connected === true && { host: lease.visit.address, port: lease.visit.port }
  })
}

function surroundings(port: number): Record<string, string> {
  return { SSHOAL_URL: cluster.master.url, SSHOAL_TOKEN: token, TARGET: `127.0.0.1:${port}`, LC_ALL: 'C' }
}

async function carries(process: Started, device: string): Promise<void> {
  expect((await visit(await tunnelOf(device), 'through the lease')).toString()).toBe('through the lease')
  expect(process.exit).toBeUndefined()
}

test('K004 K008 K107: examples/lease.sh: curl asks as a back end, ssh opens, and at the end of its time it ends', async () => {
  const echo = await startEcho()
  const shell = start('sh', [example('lease.sh'), '00:13:48:02:6A:FE', '5s'], {
    env: surroundings(echo.port),
  })
  await carries(shell, '001348026afe')
  await shell.exited
  expect(shell.output).toContain('the time of this lease is over')
})

test('examples/lease.sh says what is wrong', async () => {
  const shell = start('sh', [example('lease.sh'), 'not-a-mac'], { env: surroundings(22) })
  expect((await shell.exited).status).toBe(1)
  expect(shell.output).toContain('INVALID_MAC')
})

test('K107: examples/lease.ts: with a key of the device’s own, given back when it is done', async () => {
  const echo = await startEcho()
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
  const program = start(
    process.execPath,
    ['--import', loader, example('lease.ts'), '00:13:48:02:6A:FF', '10m'],
    { env: surroundings(echo.port) },
  )
  await carries(program, '001348026aff')
  await program.stop()
  const { body } = await cluster.api<Shown>('GET', '/leases?device=001348026aff')
  expect(body.leases).toEqual([])
})
