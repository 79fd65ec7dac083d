// The README's first commands in a fresh copy of the checkout, and docs/first-device.md on a machine that runs `npm start`.

import { cpSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { expect, test } from 'vitest'

import { callApi, createNetwork, eventually, makeFolder, start, takePorts } from '../kit/index.ts'
import { makeHome } from '../kit/machine.ts'
import { commandBlocks } from '../kit/page.ts'

const checkout = fileURLToPath(new URL('../..', import.meta.url))
const LEFT_OUT = ['.git', 'node_modules', 'dist', 'data', 'coverage']

test('the first command installs and starts a cluster from a fresh checkout; the second is what the integration runs', async () => {
  const [first = '', second = ''] = commandBlocks('README.md')['The first run'] ?? []
  // A test cannot run all tests. That this line and no other is what they are started with, it can see.
  expect(readFileSync(join(checkout, '.ci/run'), 'utf8')).toMatch(new RegExp(`^${second}$`, 'm'))
  expect(second).toBe('npm ci && npm test')
  expect(first).toBe('npm ci && npm start')

  const fresh = join(makeFolder(), 'sshoal')
  cpSync(checkout, fresh, {
    recursive: true,
    filter: (path) => !LEFT_OUT.includes(basename(path)),
  })
  const ports = await takePorts()
  const env = {
    // Ports of its own; packages from npm's cache, and no compiler: the test of the first command is not one of npm.
    SSHOAL_LISTEN: '127.0.0.1:0',
    SSHOAL_SSH_LISTEN: '127.0.0.1:0',
    SSHOAL_FORWARD_PORTS: `${ports.first}-${ports.last}`,
    npm_config_prefer_offline: 'true',
    npm_config_ignore_scripts: 'true',
    NODE_ENV: undefined,
  }
  const running = start('bash', ['-c', first], { cwd: fresh, env })
  const [, url = ''] = await running.waitForOutput(/sshoal is up: REST at (\S+),/, 150_000)
  expect(running.output).toContain(join(fresh, 'data/admin-token'))
  expect(running.output).toMatch(/The first tunnel in three lines/)
  const token = readFileSync(join(fresh, 'data/admin-token'), 'utf8').trim()
  await eventually(async () =>
    expect(await callApi({ url, token }, 'GET', '/cluster')).toMatchObject({
      status: 200,
      body: { totals: { slaves: 1 } },
    }),
  )
  // Ctrl-C ends npm and what it started.
  process.kill(-running.pid, 'SIGINT')
  await running.exited
  await expect(fetch(url)).rejects.toThrow()
}, 200_000)

test('docs/first-device.md works as printed, from a key to its end', async () => {
  const network = await createNetwork({ hosts: { machine: [] } })
  const home = makeHome({ netns: network.netns('machine') })
  const up = home.startTyping('npx sshoal up')
  await up.waitForOutput(/sshoal is up/)
  const pages = commandBlocks('docs/first-device.md')
  const steps = Object.values(pages).flat()
  expect(steps.length).toBeGreaterThan(6)
  const outputs: string[] = []
  let tunnel: ReturnType<typeof home.startTyping> | undefined
  for (const step of steps) {
    if (step.startsWith('ssh -N')) {
      tunnel = home.startTyping(step)
      await tunnel.waitForOutput(/Allocated port \d+ for remote forward to localhost:8080/)
      continue
    }
    const { status, stdout, stderr } = await home.type(step)
    expect({ step, status, stderr }).toMatchObject({ step, status: 0 })
    outputs.push(stdout)
  }
  const all = outputs.join('\n')
  expect(all).toContain('the old barn')
  // The master's own page, through the tunnel.
  expect(all).toContain('"status":"ok"')
  expect((await tunnel?.exited)?.status).toBe(255)
  expect(tunnel?.output).toContain('an operator ended this connection')
}, 120_000)
