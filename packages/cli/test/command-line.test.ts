import { describe, expect, test } from 'vitest'

import { run } from './command.ts'

describe('a call that is wrong', () => {
  test('says everything that is wrong at once, each with its source, and exits with 2', async () => {
    const { code, err, started } = await run(
      ['slave', '--forwrd-ports', '1-2', '--ssh-listen=nowhere', '--id'],
      {
        env: { SSHOAL_MASTER: 'ftp://a', SSHOAL_WORKERS: 'many' },
      },
    )
    expect(code).toBe(2)
    expect(started).toEqual([])
    expect(err).toContain('sshoal slave: --forwrd-ports: unknown flag; did you mean --forward-ports?')
    expect(err).toContain('sshoal slave: --ssh-listen: "nowhere" is not an address')
    expect(err).toContain('sshoal slave: --id: its value is missing: --id TEXT')
    expect(err).toContain('sshoal slave: SSHOAL_MASTER: "ftp://a" is not a URL')
    expect(err).toContain('sshoal slave: SSHOAL_WORKERS: "many" is not a whole number')
    expect(err).not.toContain('1-2')
  })

  test('names an operand that is missing, and a word too many', async () => {
    expect((await run(['device', 'show'])).err).toContain('ID is missing')
    const many = await run(['device', 'show', 'a', 'b'])
    expect(many).toMatchObject({ code: 2 })
    expect(many.err).toContain('"b": one word too many')
  })

  test('is told that a switch takes no value', async () => {
    expect((await run(['master', '--insecure-http=yes'])).err).toContain('--insecure-http: it is a switch')
  })

  test('names the near command for one that does not exist', async () => {
    const { code, err } = await run(['tunels'])
    expect(code).toBe(2)
    expect(err).toContain('tunnels')
  })

  test('learns from `up` what it settles itself', async () => {
    const { code, err } = await run(['up', '--master', 'http://a', '--token-file', 'x', '--workers', '2'])
    expect(code).toBe(2)
    expect(err).toMatch(/--master: .*sshoal slave --master/)
    expect(err).toMatch(/--token-file: .*slave-token/)
    expect(err).toMatch(/--workers: say --slaves/)
  })
})

describe('options of a role', () => {
  test('come from flags in both spellings, repeated or not, then from the environment, then from defaults', async () => {
    const { code, started } = await run(
      ['slave', '--ssh-listen', ':2200', '--ssh-listen=[::1]:2201', '--master=http://a', '--token', 't'],
      { env: { SSHOAL_ID: 'from-env', SSHOAL_MASTER: 'http://b' } },
    )
    expect(code).toBe(0)
    expect(started).toEqual([
      {
        role: 'slave',
        values: expect.objectContaining({
          sshListen: [
            { host: '::', port: 2200 },
            { host: '::1', port: 2201 },
          ],
          master: ['http://a'],
          token: 't',
          id: 'from-env',
          forwardPorts: { first: 20_000, last: 25_000 },
        }) as unknown,
      },
    ])
  })

  test('read a value that begins with a dash after an equals sign only', async () => {
    expect((await run(['slave', '--id=-x'])).started[0]?.values.id).toBe('-x')
    expect((await run(['slave', '--id', '-x'])).err).toContain('--id: its value is missing')
  })

  test('of `up` go to master and slave, with the slave token of its own master', async () => {
    const { started } = await run(['up', '--cache-ttl', '5s', '--id', 'one'], {
      env: { SSHOAL_TOKEN: "the operator's" },
    })
    expect(started.map(({ role }) => role)).toEqual(['master', 'slave'])
    expect(started[0]?.values).toMatchObject({ cacheTtl: 5_000 })
    expect(started[1]?.values).toMatchObject({ id: 'one', token: 'slave-secret' })
    expect(started[1]?.values.master).toEqual([expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/)])
  })
})

describe('help', () => {
  test('shows flag, placeholder, text, default and variable of every option within the width', async () => {
    const { code, out } = await run(['slave', '--help'], { width: 80 })
    expect(code).toBe(0)
    expect(out).toContain('--ssh-listen HOST:PORT')
    expect(out.replace(/\s+/g, ' ')).toContain(
      'Where devices connect (repeatable) [default: [::]:2222] [env: SSHOAL_SSH_LISTEN]',
    )
    expect(out).toContain('--token-file FILE')
    expect(out).toMatch(/^ {2}drain /m)
    expect(out.split('\n').filter((line) => line.length > 80)).toEqual([])
  })

  test('of the command lists every verb, and `help VERB` is `VERB --help`', async () => {
    const { out } = await run(['--help'])
    for (const name of [
      'up',
      'master',
      'slave',
      'cluster',
      'tunnels',
      'device',
      'token',
      'events',
      'recheck',
      'help',
    ])
      expect(out).toMatch(new RegExp(`^  ${name} `, 'm'))
    expect((await run(['help', 'tunnels'])).out).toBe((await run(['tunnels', '--help'])).out)
  })

  test('is what a group without a verb gets, with exit code 2', async () => {
    const { code, err } = await run(['device'])
    expect(code).toBe(2)
    expect(err).toContain('kick')
  })

  test.each([
    ['sshoal', ['fish']],
    ['sshoal grant', ['grant', 'add']],
  ])('of %s is where a word sends that it does not know, with exit code 2', async (command, words) => {
    const { code, err } = await run(words)
    expect(code).toBe(2)
    expect(err).toContain(`unknown command '${words.at(-1)}'`)
    expect(err).toContain(`See \`${command} --help\`.`)
  })

  test('is not in the way of the version', async () => {
    expect(await run(['--version'])).toMatchObject({ code: 0, out: '1.2.3\n' })
  })
})
