import { readFileSync } from 'node:fs'

import { masterOptions } from '@sshoal/master'
import { slaveOptions } from '@sshoal/slave'
import { expect, test } from 'vitest'

import { configurationPage } from '../src/configuration-page.ts'

test('docs/configuration.md says what the options say (else: npx tsx scripts/write-configuration-docs.ts)', () => {
  const page = readFileSync(new URL('../../../docs/configuration.md', import.meta.url), 'utf8')
  expect(page).toBe(configurationPage({ masterOptions, slaveOptions }))
})

test('every option of both roles is on the page', () => {
  const page = configurationPage({ masterOptions, slaveOptions })
  for (const flag of ['--listen', '--hook', '--ssh-listen', '--workers', '--slaves', '--token-file', '--url'])
    expect(page).toContain(`\`${flag} `)
})
