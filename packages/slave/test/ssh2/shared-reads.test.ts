import { once } from 'node:events'
import net from 'node:net'

import { expect, test } from 'vitest'

import { isShared, readShared } from '../../src/ssh2/patches/shared-reads.ts'

async function pair(): Promise<{ near: net.Socket; far: net.Socket; close: () => void }> {
  const listener = net.createServer({ allowHalfOpen: true })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const far = net.connect((listener.address() as net.AddressInfo).port, '127.0.0.1')
  const [near] = (await once(listener, 'connection')) as [net.Socket]
  return {
    near,
    far,
    close: () => {
      near.destroy()
      far.destroy()
      listener.close()
    },
  }
}

test('an accepted socket reads into the shared buffer, in order, and says its end', async () => {
  const { near, far, close } = await pair()
  const got: Buffer[] = []
  const take = (chunk: Buffer): void => {
    expect(isShared(chunk)).toBe(true)
    got.push(Buffer.from(chunk))
    // Pausing in the middle of a read, as a full channel does, loses nothing.
    if (got.length % 3 === 0) {
      near.pause()
      setTimeout(() => near.resume(), 1)
    }
  }
  near.on('data', (chunk: Buffer) => {
    got.push(Buffer.from(chunk))
    if (got.length === 1) expect(readShared(near, take)).toBe(true)
  })
  const sent = Buffer.alloc(4 * 1024 * 1024)
  for (let i = 0; i < sent.length; i += 4) sent.writeUInt32BE(i, i)
  far.end(sent)
  await once(near, 'end')
  expect(Buffer.concat(got).equals(sent)).toBe(true)
  close()
})

test('it is done once, and never to a socket that is gone', async () => {
  const { near, close } = await pair()
  expect(readShared(near, () => {})).toBe(true)
  expect(readShared(near, () => {})).toBe(false)
  close()
  expect(readShared(near, () => {})).toBe(false)
})
