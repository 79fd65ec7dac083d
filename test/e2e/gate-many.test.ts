// Twenty thousand devices behind one selector: what a person waits for, on the embedded store and on Redis.

import { expect, test } from 'vitest'

import {
  callApi,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  openVisit,
  run,
  start,
  startEcho,
  startMaster,
  startSlave,
  takePorts,
} from '../kit/index.ts'
import { startRedis } from '../kit/redis.ts'

const MANY = 20_000

test.each(['embedded', 'redis'])(
  'a selector of 20,000 devices is granted, shown, visited and taken back at once (%s)',
  { timeout: 300_000 },
  async (kind) => {
    const flags = kind === 'redis' ? ['--redis', (await startRedis()).url] : []
    const master = await startMaster({ flags })
    const slave = await startSlave({ master, id: 's1', flags: ['--region', 'eu'] })
    const ok = async <T = unknown>(method: string, path: string, body?: unknown): Promise<T> => {
      const answer = await callApi<T>({ url: master.url, token: master.adminToken }, method, path, body)
      if (answer.status >= 300) throw new Error(`${path}: ${JSON.stringify(answer.body)}`)
      return answer.body
    }
    const took: Record<string, number> = {}
    const timed = async <T>(what: string, act: () => Promise<T>): Promise<T> => {
      const from = performance.now()
      const result = await act()
      took[what] = Math.round(performance.now() - from)
      return result
    }
    const lines = Array.from({ length: MANY }, (_, n) => JSON.stringify({ id: `pump-${n}`, region: 'eu' }))
    await timed('import', () => ok('POST', '/devices/import', lines.join('\n')))
    const folder = makeFolder()
    const [key, hers] = [await makeKey(folder), await makeKey(folder)]
    const echo = await startEcho()
    // Far behind in the order of names.
    await ok('POST', '/devices/pump-9999/keys', { key: key.publicKey })
    const device = openDevice({ slave, key, forwards: [`0:${echo.host}:${echo.port}`] })
    await eventually(async () => {
      const { tunnels } = await ok<{ tunnels: unknown[] }>('GET', '/cluster/tunnels')
      if (tunnels.length !== 1)
        throw new Error(JSON.stringify(tunnels) + device.output + slave.process.output)
      return true
    })
    await ok('POST', '/users', { email: 'ann@example.com', login: 'ann', keys: [hers.publicKey] })
    await timed('pool', () => ok('POST', '/pools', { name: 'eu', selector: { region: 'eu' } }))
    const grant = await timed('grant', () =>
      ok<{ id: string }>('POST', '/grants', { user: 'ann', pool: 'eu' }),
    )

    const settings = [
      'BatchMode=yes',
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'LogLevel=ERROR',
    ]
    const ssh = ['-F', 'none', '-i', hers.path, '-p', String(slave.port)].concat(
      settings.flatMap((setting) => ['-o', setting]),
    )
    for (const n of [1, 2]) {
      const shown = await timed(`ssh GATE ${n}`, () => run('ssh', [...ssh, 'ann@127.0.0.1']))
      // A machine that is busy with much else may not come to look at all of them.
      expect(shown.stdout, shown.stderr).toMatch(/You may reach (20000 targets|\d+ targets or more):/)
      expect(shown.stdout).toMatch(/:\r?\n\s+pump-9999\s+online/)
      expect(shown.stdout).toMatch(/and \d+ more/)
    }
    const config = await timed('ssh-config', () => ok<{ config: string }>('GET', '/ssh-config?user=ann'))
    expect(config.config.match(/^Host pump-/gm)).toHaveLength(MANY)

    const { first: port } = await takePorts(1)
    const visitor = start('ssh', [
      ...ssh,
      '-v',
      '-N',
      '-L',
      `127.0.0.1:${port}:pump-9999:22`,
      'ann@127.0.0.1',
    ])
    await visitor.waitForOutput(/Entering interactive session/)
    const visit = await openVisit({ host: '127.0.0.1', port })
    await timed('visit', async () => {
      visit.send('x')
      await visit.receive(1)
    })
    await timed('cut', async () => {
      await ok('DELETE', `/grants/${grant.id}`)
      await eventually(() => visit.closed || visit.ended)
    })
    expect(took.cut).toBeLessThan(1_000)
    await device.stop()
  },
)
