// Writes docs/configuration.md from the options' records; a test says when it is out of date.
import { writeFileSync } from 'node:fs'

import { masterOptions } from '@sshoal/master'
import { slaveOptions } from '@sshoal/slave'

import { configurationPage } from '../packages/cli/src/configuration-page.ts'

writeFileSync(
  new URL('../docs/configuration.md', import.meta.url),
  configurationPage({ masterOptions, slaveOptions }),
)
