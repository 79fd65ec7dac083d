// Secrets and certificates that are replaced while the cluster runs: read again by the next connection that needs them.

import { copyFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import {
  callApi,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  startCluster,
  startMaster,
  startSlave,
  type Slave,
} from '../kit/index.ts'
import { startRedis } from '../kit/redis.ts'
import { makeCertificate } from '../kit/tls.ts'

const links = ({ process }: Slave) => process.logs.filter(({ msg }) => msg === 'linked').length

test('a slave takes the token that is in --token-file when it links again; no signal, no restart, no tunnel lost', async () => {
  const cluster = await startCluster({ slaves: 0 })
  const file = join(makeFolder(), 'token')
  const make = async () => {
    const { body } = await cluster.api<{ id: string; token: string }>('POST', '/tokens', { role: 'slave' })
    writeFileSync(file, `${body.token}\n`)
    return body.id
  }
  const first = await make()
  const slave = await startSlave({ master: { ...cluster.master, slaveTokenFile: file }, id: 'rotating' })
  const key = await makeKey(makeFolder())
  await cluster.addDevice('barn', key)
  const device = openDevice({ slave, key })
  await device.port()
  await make()
  expect((await cluster.api('DELETE', `/tokens/${first}`)).status).toBe(204)
  await eventually(() => links(slave) === 2)
  await eventually(async () =>
    expect(await cluster.tunnels()).toMatchObject([{ device: 'barn', slave: 'rotating' }]),
  )
  expect(device.exit).toBeUndefined()
})

test('SIGHUP says what of a slave cannot be read again, and what was read before stays', async () => {
  const cluster = await startCluster({ slaves: 0 })
  const file = join(makeFolder(), 'token')
  copyFileSync(cluster.master.slaveTokenFile, file)
  const slave = await startSlave({ master: { ...cluster.master, slaveTokenFile: file }, id: 'careless' })
  await eventually(() => links(slave) === 1)
  slave.process.signal('SIGHUP')
  await slave.process.logged('host keys, token and authority read again')
  rmSync(file)
  slave.process.signal('SIGHUP')
  const { err } = await slave.process.logged('reloading failed, going on as before')
  expect((err as Error).message).toContain('--token-file: cannot read the file')
  await cluster.restartMaster()
  await eventually(() => links(slave) === 2)
  await slave.process.logged('token or authority cannot be read again; what was read before stays')
})

test('the authority of --master-ca may change with the certificate of the master', async () => {
  const [theirs, mine] = [await makeCertificate(makeFolder()), join(makeFolder(), 'ca.pem')]
  copyFileSync(theirs.path, mine)
  const tls = ['--tls-cert', theirs.path, '--tls-key', theirs.keyPath]
  const master = await startMaster({ flags: tls })
  const slave = await startSlave({ master, id: 'trusting', flags: ['--master-ca', mine] })
  await eventually(() => links(slave) === 1)
  const next = await makeCertificate(makeFolder())
  copyFileSync(next.path, theirs.path)
  copyFileSync(next.keyPath, theirs.keyPath)
  master.process.signal('SIGHUP')
  await master.process.logged('TLS files and hook read again')
  master.process.signal('SIGTERM')
  await master.process.exited
  await startMaster({ dataDir: master.dataDir, listen: new URL(master.url).host, flags: tls })
  // It does not trust the new one before it is told to.
  await slave.process.logged('no link', ({ reason }) => /self-signed|certificate/.test(String(reason)))
  copyFileSync(next.path, mine)
  await eventually(() => links(slave) === 2, { within: 20_000 })
})

test('SIGHUP says which TLS file for Redis a master cannot read', async () => {
  const certificate = await makeCertificate(makeFolder())
  const redis = await startRedis({ tls: certificate })
  const ca = join(makeFolder(), 'ca.pem')
  copyFileSync(certificate.path, ca)
  const master = await startMaster({ flags: ['--redis', redis.url, '--redis-ca', ca] })
  rmSync(ca)
  master.process.signal('SIGHUP')
  const { err } = await master.process.logged('reload failed; what was in force stays')
  expect((err as Error).message).toContain('--redis-ca')
  expect(await callApi({ url: master.url, token: master.adminToken }, 'GET', '/cluster')).toMatchObject({
    status: 200,
  })
})
