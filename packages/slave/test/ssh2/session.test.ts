import { once } from 'node:events'

import type { ClientChannel } from 'ssh2'
import { afterEach, describe, expect, it } from 'vitest'

import { startServer, until } from './fixture.ts'
import type { Fixture } from './fixture.ts'

let fixture: Fixture
afterEach(() => fixture?.close())

async function shell(terminal: boolean): Promise<{ stream: ClientChannel; text: () => string }> {
  fixture = await startServer({ onShell: async () => ({ text: 'hello\nthere' }) })
  const client = await fixture.connect()
  const stream = await new Promise<ClientChannel>((resolve, reject) =>
    client.shell(terminal ? {} : false, (error, channel) => (error ? reject(error) : resolve(channel))),
  )
  let text = ''
  stream.on('data', (data: Buffer) => (text += data.toString()))
  return { stream, text: () => text }
}

describe('a session', () => {
  it('with a terminal shows its text with CRLF and ends with status 0 at Ctrl-C or Ctrl-D', async () => {
    for (const key of ['\x03', '\x04']) {
      const { stream, text } = await shell(true)
      await until(() => text() === 'hello\r\nthere\r\n')
      const exit = once(stream, 'exit')
      const close = once(stream, 'close')
      stream.write('x')
      stream.write(key)
      expect(await exit).toEqual([0])
      await close
      await fixture.close()
    }
  })

  it('without a terminal ignores EOF, so that a tunnel without -N stays', async () => {
    const { stream, text } = await shell(false)
    await until(() => text() === 'hello\nthere\n')
    let closed = false
    stream.on('close', () => (closed = true))
    stream.end()
    const { connection } = fixture.visitors[0]!
    const before = connection.lastHeardAt
    connection.ping()
    await until(() => connection.lastHeardAt > before)
    expect(closed).toBe(false)
    expect(fixture.visitors[0]?.closeCalls).toBe(0)
  })

  it('refuses exec, subsystems and a shell that nobody answers', async () => {
    let sessions = 0
    fixture = await startServer({ onSession: () => (sessions += 1) })
    const client = await fixture.connect()
    const errors = await Promise.all([
      new Promise((resolve) => client.exec('id', (error) => resolve(error?.message))),
      new Promise((resolve) => client.subsys('sftp', (error) => resolve(error?.message))),
      new Promise((resolve) => client.shell(false, (error) => resolve(error?.message))),
    ])
    expect(errors).toEqual([
      expect.stringMatching(/exec/),
      expect.stringMatching(/subsystem/),
      expect.stringMatching(/shell/),
    ])
    expect(sessions).toBe(3)
  })
})
