import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

import { describe, expect, it } from 'vitest'

const source = new URL('../src/log.ts', import.meta.url).href

/** What a process that logs so prints on standard error, a line each. */
async function logged(statements: string): Promise<Record<string, unknown>[]> {
  const program = `import { createLog } from '${source}'\nconst log = createLog({ level: 'info', pretty: false })\n${statements}`
  const args = ['--import', 'tsx', '--input-type=module', '-e', program]
  const { stderr } = await promisify(execFile)(process.execPath, args)
  return stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

describe('the log', () => {
  it('hides secrets among the fields, one level down and in what is bound to a child, and changes nothing that it was given', async () => {
    const lines = await logged(`
      const fields = { token: 'T1', device: 'd', link: { token: 'T2', url: 'u' }, error: new Error('E') }
      log.info(fields, 'one')
      log.child({ password: 'T3' }).warn({ list: [1], nothing: null, secret: 'T4' }, 'two')
      log.info({ kept: fields.token + fields.link.token }, 'three')
      log.info('four')`)
    expect(lines).toMatchObject([
      { msg: 'one', token: '[secret]', device: 'd', link: { token: '[secret]', url: 'u' } },
      { msg: 'two', password: '[secret]', list: [1], nothing: null, secret: '[secret]' },
      { msg: 'three', kept: 'T1T2' },
      { msg: 'four' },
    ])
  })
})
