import { loadConfig } from '@sshoal/shared'
import { expect, test } from 'vitest'

import { slaveOptions } from '../src/options.ts'

const load = (env: Record<string, string>) => loadConfig(slaveOptions, { flags: {}, env })

test('the defaults are those of the design', () => {
  expect(load({})).toMatchObject({
    master: [],
    sshListen: [{ host: '::', port: 2_222 }],
    forwardAddress: '127.0.0.1',
    forwardPorts: { first: 20_000, last: 25_000 },
    algorithms: 'modern',
    keepalive: 15_000,
    keepaliveMax: 3,
    loginGraceTime: 30_000,
    idleGraceTime: 30_000,
    maxAuthTries: 6,
  })
})

test.each(['SSHOAL_LOGIN_GRACE_TIME', 'SSHOAL_IDLE_GRACE_TIME'])(
  '%s stays below what a timer holds, beyond which it would be over at once',
  (name) => {
    expect(() => load({ [name]: '30d' })).toThrow(`${name}: "30d" is more than`)
  },
)

test.each([
  ['SSHOAL_MASTER', 'localhost:8080'],
  ['SSHOAL_SSH_LISTEN', '2222'],
  ['SSHOAL_FORWARD_PORTS', '25000-20000'],
  ['SSHOAL_PUBLIC_PORT', '0'],
  ['SSHOAL_CAPACITY', '0'],
  ['SSHOAL_KEEPALIVE_MAX', '0'],
  ['SSHOAL_ALGORITHMS', 'ancient'],
])('%s cannot be %j', (name, text) => {
  expect(() => load({ [name]: text })).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
})
