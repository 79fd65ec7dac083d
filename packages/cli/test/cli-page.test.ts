import { readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

import { commandTree } from '../src/command-tree.ts'
import type { Group, Verb } from '../src/verb.ts'
import { fakeOptions } from './command.ts'

function verbs(nodes: readonly (Verb | Group)[], before: string): string[] {
  return nodes.flatMap((node) =>
    'members' in node
      ? [...(node.self ? [`${before} ${node.name}`] : []), ...verbs(node.members, `${before} ${node.name}`)]
      : [`${before} ${node.name}`],
  )
}

test('docs/cli.md has an example of every verb', () => {
  const page = readFileSync(new URL('../../../docs/cli.md', import.meta.url), 'utf8')
  const never = async (): Promise<never> => Promise.reject(new Error('not started here'))
  const tree = commandTree({ ...fakeOptions, startMaster: never, startSlave: never })
  const missing = verbs(tree, 'sshoal').filter(
    (words) => !page.includes(`${words} `) && !page.includes(`${words}\``),
  )
  expect(missing).toEqual([])
})
