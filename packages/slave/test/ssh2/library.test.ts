import { createRequire } from 'node:module'

import { describe, expect, it } from 'vitest'

import { missingInsides, type Protocol } from '../../src/ssh2/library.ts'

type Constructors = Parameters<typeof missingInsides>
const load = createRequire(import.meta.url)
const Protocol = load('ssh2/lib/protocol/Protocol.js') as Constructors[0]
const { KexInit } = load('ssh2/lib/protocol/kex.js') as { KexInit: Constructors[1] }

/** ssh2's Protocol with one thing about it changed. */
function changed(change: (protocol: Protocol) => void): Constructors[0] {
  return class extends Protocol {
    constructor(config: ConstructorParameters<typeof Protocol>[0]) {
      super(config)
      change(this)
    }
  }
}

describe('the start', () => {
  it('takes the installed ssh2 as it is', () => {
    expect(missingInsides(Protocol, KexInit)).toBeUndefined()
  })

  it.each([
    ['_kexinit', (protocol: Protocol) => Reflect.deleteProperty(protocol, '_kexinit')],
    ['_queue', (protocol: Protocol) => Reflect.deleteProperty(protocol, '_queue')],
    [
      'a cipher that works: it cannot begin',
      (protocol: Protocol) => Object.assign(protocol, { _cipher: {} }),
    ],
    [
      '_packetRW.write.allocStartKEX',
      (protocol: Protocol) => Object.assign(protocol._packetRW.write, { allocStartKEX: undefined }),
    ],
  ])('refuses one without %s', (name, change) => {
    expect(missingInsides(changed(change), KexInit)).toContain(name.split(/[.:] ?/).at(-1))
  })
})
