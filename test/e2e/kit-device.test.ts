// The kit's devices, keys and services, against a stock sshd.

import { describe, expect, test } from 'vitest'

import {
  eventually,
  makeDropbearKey,
  makeFolder,
  makeKey,
  openDevice,
  openVisit,
  run,
  startEcho,
  startHttp,
  startSilent,
  startSshd,
  visit,
} from '../kit/index.ts'

describe('keys', () => {
  test('are what ssh-keygen says they are', async () => {
    const folder = makeFolder()
    for (const key of [await makeKey(folder), await makeKey(folder, 'ecdsa'), await makeKey(folder, 'rsa')]) {
      const { stdout } = await run('ssh-keygen', ['-l', '-f', key.path])
      expect(stdout).toContain(` ${key.fingerprint} `)
      expect(key.publicKey).toContain(key.wire)
    }
  })
})

describe.each(['openssh', 'dropbear'] as const)('a device with %s', (client) => {
  const make = (folder: string) => (client === 'openssh' ? makeKey(folder) : makeDropbearKey(folder))

  test('is told its ports by a stock sshd, and visitors reach its services', async () => {
    const folder = makeFolder()
    const key = await make(folder)
    const slave = await startSshd(folder, { authorized: [key] })
    const echo = await startEcho()
    const web = await startHttp('from the device\n')
    const device = openDevice({
      slave,
      key,
      client,
      username: 'root',
      forwards: [`0:localhost:${echo.port}`, `0:localhost:${web.port}`],
    })
    const ports = [await device.port(), await device.port(1)]
    expect(new Set(ports).size).toBe(2)
    // On a busy machine the stock server may be seen before its client has reached the service.
    await eventually(async () => {
      expect((await visit({ host: '127.0.0.1', port: ports[0] ?? 0 }, 'hello')).toString()).toBe('hello')
    })
    const page = await run('curl', ['-s', `http://127.0.0.1:${ports[1]}/`])
    expect(page.stdout).toBe('from the device\n')
    await device.stop()
    await eventually(() => expect(openVisit({ host: '127.0.0.1', port: ports[0] ?? 0 })).rejects.toThrow())
  })

  test('insists on the host key it was given', async () => {
    const folder = makeFolder()
    const key = await make(folder)
    const slave = await startSshd(folder, { authorized: [key] })
    const connect = (hostKey: string) => {
      const [type, wire] = hostKey.split(' ')
      // The bare host does for both, on any port; dropbear knows no other form.
      return openDevice({
        slave,
        key,
        client,
        username: 'root',
        knownHosts: [`${slave.host} ${type} ${wire}`],
      })
    }
    expect(await connect(slave.hostKey.publicKey).port()).toBeGreaterThan(0)
    const fooled = connect((await makeKey(folder)).publicKey)
    expect((await fooled.exited).status).not.toBe(0)
    expect(fooled.output).toMatch(/host key/i)
  })

  test('that is refused says so instead of waiting', async () => {
    const folder = makeFolder()
    const slave = await startSshd(folder)
    const refused = openDevice({ slave, key: await make(folder), client, username: 'root' })
    await expect(refused.port()).rejects.toThrow(/ended with[^]*(Permission denied|No auth methods)/)
  })
})

describe('services', () => {
  test('echo after EOF, count their visitors, or keep silent', async () => {
    const echo = await startEcho({ whole: true })
    const held = await openVisit(echo)
    held.send('kept')
    expect((await visit(echo, Buffer.alloc(1 << 20, 'x'))).length).toBe(1 << 20)
    expect(held.received.length).toBe(0)
    expect([echo.accepted, echo.open]).toEqual([2, 1])
    held.halfClose()
    expect((await held.receive(4)).toString()).toBe('kept')
    await expect(visit(await startSilent(), 'anyone?', 100)).rejects.toThrow(/sends its EOF/)
  })
})
