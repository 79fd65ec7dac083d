// The commands that a page of the documentation shows, so that tests run them as they stand there.

import { readFileSync } from 'node:fs'

/** Every `sh` block of a Markdown file, by the heading that it stands under. */
export function commandBlocks(path: string): Record<string, string[]> {
  const blocks: Record<string, string[]> = {}
  let heading = ''
  let block: string[] | undefined
  for (const line of readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8').split('\n')) {
    if (block !== undefined) {
      if (line === '```') {
        ;(blocks[heading] ??= []).push(block.join('\n'))
        block = undefined
      } else block.push(line)
    } else if (line === '```sh') block = []
    else if (line.startsWith('#')) heading = line.replace(/^#+ /, '')
  }
  return blocks
}
