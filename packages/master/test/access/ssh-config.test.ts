import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { writeSshConfig, type SshConfigInput } from '../../src/access/ssh-config.ts'
import { anyCharacter } from '../any-character.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICJ7pfLGyRCf5cRKBpbzkzeWB0k6N39SLuJ9mnrjIn2J'
const UUID = '0b7f6f0e-6f0c-4c43-8d4e-6a1d8a8d8a10'

function input(): SshConfigInput {
  return {
    project: 'default',
    login: 'ann',
    gates: [{ alias: 'default.default.gate.sshoal', host: 'gate.example', port: 2_222, hostKeys: [KEY] }],
    targets: [
      {
        name: 'pump-1',
        uuid: UUID,
        account: 'root',
        gate: 'default.default.gate.sshoal',
        hostKeys: [KEY],
        forwards: [{ name: 'web', account: 'root' }],
      },
      {
        name: 'pump-2',
        uuid: 'pump-2',
        gate: 'default.default.gate.sshoal',
        hostKeys: [],
        forwards: [{ name: '*' }],
      },
    ],
  }
}

describe('the configuration', () => {
  test('C23 G032: pins host keys under names of their own, forwards no agent, and never looks away', () => {
    const { config, knownHosts } = writeSshConfig(input())
    expect(config.slice(config.indexOf('Host pump-1'))).toBe(`Host pump-1 ${UUID}
  HostName pump-1
  HostKeyAlias pump-1.default.sshoal
  UserKnownHostsFile ~/.ssh/sshoal/known_hosts
  StrictHostKeyChecking yes
  User root
  ProxyJump default.default.gate.sshoal
  ForwardAgent no

Host web.pump-1
  User root
  ProxyJump default.default.gate.sshoal
  ForwardAgent no

Host pump-2
  HostName pump-2
  HostKeyAlias pump-2.default.sshoal
  ProxyJump default.default.gate.sshoal
  ForwardAgent no

Host *.pump-2
  ProxyJump default.default.gate.sshoal
  ForwardAgent no
`)
    expect(config).toContain(`Host default.default.gate.sshoal
  HostName gate.example
  Port 2222
  User ann
  HostKeyAlias default.default.gate.sshoal
  CheckHostIP no
  UserKnownHostsFile ~/.ssh/sshoal/known_hosts
  StrictHostKeyChecking yes
  ForwardAgent no
`)
    expect(config).not.toMatch(/StrictHostKeyChecking no|ForwardAgent yes|\/dev\/null|ProxyCommand/)
    expect(knownHosts).toBe(`default.default.gate.sshoal ${KEY}\npump-1.default.sshoal ${KEY}\n`)
  })

  test('C25: says the project at the gate where it is not the usual one', () => {
    expect(writeSshConfig({ ...input(), project: 'acme' }).config).toContain('  User ann+acme\n')
  })

  test('G038: whatever comes, no value adds a line, a word or a directive', () => {
    const evil = fc.string({ unit: anyCharacter, maxLength: 20 })
    fc.assert(
      fc.property(evil, fc.nat(7), (text, place) => {
        const all = input()
        const [gate] = all.gates
        const [target, ...others] = all.targets
        if (!gate || !target) throw new Error('there is one of each')
        const poisoned: SshConfigInput[] = [
          { ...all, login: text },
          { ...all, project: text },
          { ...all, gates: [{ ...gate, host: text }] },
          { ...all, gates: [{ ...gate, hostKeys: [text] }] },
          { ...all, targets: [{ ...target, name: text }, ...others] },
          { ...all, targets: [{ ...target, account: text }, ...others] },
          { ...all, targets: [{ ...target, uuid: text }, ...others] },
          { ...all, targets: [{ ...target, forwards: [{ name: text }] }, ...others] },
        ]
        // The first word of each line, and how many there are.
        const shape = ({ config }: { config: string }): unknown[] =>
          config.split('\n').map((line) => [line.trim().split(' ')[0], line.trim().split(/\s+/).length])
        try {
          const written = writeSshConfig(poisoned[place] ?? all)
          expect(shape(written)).toEqual(shape(writeSshConfig(all)))
          expect(written.config + written.knownHosts).toMatch(/^[\n\x20-\x7e]*$/)
          expect(written.knownHosts.split('\n')).toHaveLength(3)
        } catch (error) {
          if (!(error instanceof Error) || !('code' in error)) throw error
          expect(error.code).toBe('UNSAFE_VALUE')
        }
      }),
    )
  })
})
