// How a slave reaches its master where the way is not plain: over TLS, and through a proxy of its network.

import { writeFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'

import { beforeAll, describe, expect, test } from 'vitest'

import {
  callApi,
  eventually,
  makeFolder,
  start,
  startMaster,
  startSlave,
  takePorts,
  type ClusterView,
  type Master,
} from '../kit/index.ts'
import { makeCertificate, type Certificate } from '../kit/tls.ts'

let certificate: Certificate
let master: Master

beforeAll(async () => {
  certificate = await makeCertificate(makeFolder())
  master = await startMaster({ flags: ['--tls-cert', certificate.path, '--tls-key', certificate.keyPath] })
})

/** A CONNECT proxy as companies have it; answers its port. */
async function startProxy(...lines: string[]): Promise<number> {
  const folder = makeFolder()
  const { first: port } = await takePorts(1)
  const file = join(folder, 'tinyproxy.conf')
  const settings = [`Port ${port}`, 'Listen 127.0.0.1', 'Allow 127.0.0.1', 'LogLevel Info', ...lines]
  writeFileSync(file, `${settings.join('\n')}\n`)
  await start('tinyproxy', ['-d', '-c', file]).waitForOutput(/Accepting connections/)
  return port
}

test('T026 T027: what a slave said of itself is listed: region, address, port, since when, its own addresses', async () => {
  const plain = await startMaster()
  const slave = await startSlave({ master: plain, id: 'frank', flags: ['--region', 'eu'] })
  await slave.process.logged('linked')
  const { body } = await callApi<ClusterView>({ url: plain.url, token: plain.adminToken }, 'GET', '/cluster')
  const own = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .map(({ address }) => address)
  expect(body.slaves).toEqual([
    expect.objectContaining({
      id: 'frank',
      region: 'eu',
      publicHost: '127.0.0.1',
      publicPort: slave.port,
      tunnels: 0,
      registeredAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) as string,
      uptimeSeconds: expect.any(Number) as number,
      addresses: expect.arrayContaining(['127.0.0.1', ...own]) as string[],
    }),
  ])
})

describe('over TLS', () => {
  test('a slave that knows the authority links', async () => {
    const slave = await startSlave({ master, id: 'trusting', flags: ['--master-ca', certificate.path] })
    await slave.process.logged('linked')
    expect((await master.process.logged('slave joined')).slave).toBe('trusting')
  })

  test('T123: a slave that does not know the authority believes nobody, and says why', async () => {
    const slave = await startSlave({ master, id: 'wary' })
    const failed = await slave.process.logged('link lost')
    expect(JSON.stringify(failed)).toMatch(/self-signed certificate/)
  })

  test('T123: a certificate for another name is not the master’s', async () => {
    const elsewhere = await makeCertificate(makeFolder(), ['DNS:elsewhere.test'])
    const other = await startMaster({
      flags: ['--tls-cert', elsewhere.path, '--tls-key', elsewhere.keyPath],
    })
    const slave = await startSlave({ master: other, id: 'exact', flags: ['--master-ca', elsewhere.path] })
    const failed = await slave.process.logged('link lost')
    expect(JSON.stringify(failed)).toMatch(/altnames/)
  })
})

describe('T128: through an HTTP proxy with CONNECT', () => {
  test('the slave links, over plain HTTP as over TLS', async () => {
    const plain = await startMaster()
    const port = await startProxy()
    const proxy = ['--proxy', `http://127.0.0.1:${port}`]
    const [one, two] = await Promise.all([
      startSlave({ master: plain, id: 'one', flags: proxy }),
      startSlave({ master, id: 'two', flags: [...proxy, '--master-ca', certificate.path] }),
    ])
    await Promise.all([one.process.logged('linked'), two.process.logged('linked')])
    const view = async () =>
      (await callApi<ClusterView>({ url: plain.url, token: plain.adminToken }, 'GET', '/cluster')).body
    await eventually(async () => expect((await view()).slaves.map(({ id }) => id)).toEqual(['one']))
  })

  test('a proxy that refuses is named with its answer', async () => {
    const port = await startProxy('ConnectPort 443')
    const slave = await startSlave({
      master,
      id: 'shut-in',
      flags: ['--proxy', `http://127.0.0.1:${port}`, '--master-ca', certificate.path],
    })
    const failed = await slave.process.logged('link lost')
    expect(JSON.stringify(failed)).toMatch(/403|proxy/i)
  })
})
