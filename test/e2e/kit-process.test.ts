// The kit itself: waiting, processes, folders and ports. What it says about sshoal is worth as much as this.

import { existsSync, readdirSync } from 'node:fs'

import { afterAll, describe, expect, test } from 'vitest'

import { asOwner, eventually, isAlive, makeFolder, run, start, takePorts } from '../kit/index.ts'

describe('waiting', () => {
  test('goes on as soon as the condition holds, and hands on what it found', async () => {
    let looks = 0
    expect(await eventually(() => (++looks > 3 ? 'found' : false))).toBe('found')
    expect(looks).toBe(4)
  })

  test('gives up in time, with the last failure', async () => {
    const never = eventually(() => expect(1).toBe(2), { within: 80, message: 'one is two' })
    await expect(never).rejects.toThrow(/not within 80 ms: one is two; last: .*expected 1 to be 2/)
  })

  test('gives up in time even when the look never comes back', async () => {
    await expect(eventually(() => new Promise(() => {}), { within: 80 })).rejects.toThrow(/not within 80 ms/)
  })
})

describe('processes', () => {
  const children: number[] = []
  afterAll(() => {
    expect(children).toHaveLength(4)
    expect(children.filter(isAlive)).toEqual([])
  })

  test('answer status, output and errors apart', async () => {
    const ran = await run('sh', ['-c', 'cat; echo oops >&2; exit 3'], { input: 'hello' })
    expect(ran).toMatchObject({ status: 3, signal: null, stdout: 'hello', stderr: 'oops\n' })
  })

  test('that do not exist end with a reason', async () => {
    expect(await run('no-such-program')).toMatchObject({
      status: 127,
      stderr: expect.stringMatching(/ENOENT/),
    })
  })

  test('show their output when they do not say what was awaited', async () => {
    const process = start('sh', ['-c', 'echo something else; exec sleep 1000'])
    await expect(process.waitForOutput(/ready/, 200)).rejects.toThrow(/no \/ready\/ within[^]*something else/)
    const dead = start('sh', ['-c', 'echo bad flag; exit 2'])
    await expect(dead.waitForOutput(/ready/)).rejects.toThrow(/ended with 2[^]*bad flag/)
  })

  test('get the signals themselves', async () => {
    const process = start('sh', ['-c', 'trap "echo hup" HUP; echo up; while :; do sleep 0.01; done'])
    await process.waitForOutput(/up/)
    process.signal('SIGHUP')
    await process.waitForOutput(/hup/)
    expect(await process.stop()).toEqual({ status: null, signal: 'SIGTERM' })
  })

  test('go with all their children, also with those in groups of their own', async () => {
    const family = start('bash', ['-c', 'sleep 1000 & echo $!; setsid sleep 1000 & echo $!; echo up; wait'])
    await family.waitForOutput(/up/)
    const pids = family.stdout.split('\n').slice(0, 2).map(Number)
    children.push(...pids)
    expect(pids.filter(isAlive)).toEqual(pids)
    await family.stop()
    await eventually(() => !pids.some(isAlive))
  })

  test('that nobody stopped end with their test (looked at afterwards)', () => {
    for (let n = 0; n < 2; n++) children.push(start('sh', ['-c', 'trap "" TERM; sleep 1000']).pid)
  })

  test('are ended by the caretaker when the test process is killed', async () => {
    const script = `
      import { spawn } from 'node:child_process'
      import { entrust } from '${new URL('../kit/caretaker.ts', import.meta.url).href}'
      const child = spawn('sleep', ['1000'], { detached: true })
      entrust('kill -KILL -- -' + child.pid)
      const other = spawn('sleep', ['1000'], { detached: true })
      entrust('kill -KILL -- -' + other.pid)()
      console.log('children ' + child.pid + ' ' + other.pid)
      setInterval(() => {}, 1000)`
    const dying = start('node', ['--import', 'tsx', '--input-type=module', '-e', script])
    const [, entrusted, released] = await dying.waitForOutput(/children (\d+) (\d+)/)
    expect(isAlive(Number(entrusted))).toBe(true)
    dying.signal('SIGKILL')
    await eventually(() => !isAlive(Number(entrusted)))
    expect(isAlive(Number(released))).toBe(true)
    process.kill(Number(released), 'SIGKILL')
  })
})

describe('what a test makes for others', () => {
  let shared = 0
  test('is kept for them', () => {
    shared = asOwner('file', () => start('sleep', ['1000'])).pid
  })

  test('and is still there', () => {
    expect(isAlive(shared)).toBe(true)
  })
})

describe('folders', () => {
  let folder = ''
  afterAll(() => {
    expect(existsSync(folder)).toBe(false)
  })

  test('are there during the test (and gone afterwards)', () => {
    folder = makeFolder()
    expect(readdirSync(folder)).toEqual([])
  })
})

describe('ports', () => {
  test('are never given to two', async () => {
    const ranges = await Promise.all(Array.from({ length: 20 }, () => takePorts(60)))
    const ports = ranges.flatMap(({ first, last }) =>
      Array.from({ length: last - first + 1 }, (_, index) => first + index),
    )
    expect(new Set(ports).size).toBe(20 * 60)
  })
})
