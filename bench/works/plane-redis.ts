// The control plane over Redis: two masters on one real redis-server. All slaves hang on the first; what the second one
// shows has come over the stream.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

import { median } from '../figures.ts'
import { ask, ControlMaster, UNLIMITED, type Asked } from '../load/control-master.ts'
import { cpuDuring, memoryBytes, run, start } from '../process.ts'
import { startSimulatedSlaves } from '../simulated-slaves.ts'
import { listening, sleep, until } from '../wait.ts'
import { takePort, type Work } from '../work.ts'

const SLAVES = 500
const CHANGES = 2_000

export const planeRedis: Work = {
  name: 'plane-redis',
  title: `Control plane over Redis: two masters, ${SLAVES} simulated slaves`,
  rounds: () => 1,
  async run(bench) {
    const { figures, full } = bench
    const seconds = full ? 10 : 4
    const sizes = full ? [10_000, 50_000, 100_000] : [5_000, 20_000]
    const port = takePort()
    const folder = join(bench.folder, 'redis')
    mkdirSync(folder, { recursive: true })
    const settings = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '']
    const durable = ['--appendonly', 'yes', '--appendfsync', 'everysec']
    const logFile = join(folder, 'redis.log')
    const redis = start('redis-server', [...settings, ...durable], { logFile })
    await listening(port)
    const usedMemory = async (): Promise<number> =>
      Number(/^used_memory:(\d+)/m.exec(await run('redis-cli', ['-p', String(port), 'INFO', 'memory']))?.[1])
    const [one, two] = [new ControlMaster(bench), new ControlMaster(bench)]
    const flags = [...UNLIMITED, '--redis', `redis://127.0.0.1:${port}`]
    const slaves = await startSimulatedSlaves()
    const add = (metric: string, unit: string, value: number, work = 'plane over Redis'): void =>
      figures.add(work, 'sshoal', metric, unit, value)
    const load = (master: ControlMaster, more: string[]): Promise<Asked> =>
      ask(`${master.url}/connect`, ['-seconds', String(seconds), '-c', '32', '-sources', '32', ...more])
    const both = (size: number) => (): Promise<boolean> =>
      Promise.all([one.tunnels(), two.tunnels()]).then((shown) => shown.every((count) => count === size))
    try {
      await Promise.all([one.start(flags), two.start(flags)])
      const groups = { masters: [one.pid, two.pid], redis: [redis.pid] }
      const empty = await usedMemory()
      const token = one.token('slave')
      const first = (sizes[0] ?? 0) / SLAVES
      await slaves.do({ type: 'join', url: one.url, token, slaves: SLAVES, tunnels: first })
      for (const size of sizes) {
        const at = `plane over Redis at ${size}`
        const grown = await cpuDuring(groups, async () => {
          await slaves.do({ type: 'grow', tunnels: size / SLAVES })
          await until(`${size} tunnels at both masters`, both(size), 240_000, 50)
        })
        add('shown by both masters after', 's', grown.seconds, at)
        // Its entries of the stream last 30 s.
        await sleep(2_000)
        add('memory of a master', 'MB', memoryBytes(two.pid) / 1e6, at)
        add('memory of Redis, with its stream', 'MB', (await usedMemory()) / 1e6, at)
        const slots = await cpuDuring(groups, () => Promise.all([load(one, []), load(two, [])]))
        const given = slots.result.reduce((sum, { count, failed }) => sum + count - failed, 0)
        add('slots of both masters', '1/s', given / slots.seconds, at)
        add('slots, masters busy', 'share of a core', (slots.cpu.masters ?? 0) / slots.seconds, at)
        add('slots, Redis busy', 'share of a core', (slots.cpu.redis ?? 0) / slots.seconds, at)
        const steady = await Promise.all([load(one, ['-rate', '1000']), load(two, ['-rate', '1000'])])
        add('slots p99 at 1,000/s each', 'ms', Math.max(...steady.map(({ p99 }) => p99)), at)
        bench.say(
          `  ${size} tunnels: at both after ${grown.seconds.toFixed(1)} s, ${Math.round(given / slots.seconds)} slots/s, p99 ${Math.max(...steady.map(({ p99 }) => p99)).toFixed(1)} ms at 2,000/s`,
        )
      }
      const size = sizes.at(-1) ?? 0
      const churn = await cpuDuring(groups, () =>
        slaves.do({ type: 'churn', changes: CHANGES, seconds: full ? 30 : 10 }),
      )
      add(`churn of ${CHANGES}/s told`, '1/s', churn.result.changes / churn.seconds)
      add(`churn of ${CHANGES}/s, masters busy`, 'share of a core', (churn.cpu.masters ?? 0) / churn.seconds)
      add(`churn of ${CHANGES}/s, Redis busy`, 'share of a core', (churn.cpu.redis ?? 0) / churn.seconds)
      const settled = performance.now()
      await until('both views after churn', both(size), 60_000, 10)
      add('both views right after the last change', 'ms', performance.now() - settled)
      const words = `-p ${port} MEMORY USAGE {sshoal}:live:stream SAMPLES 0`
      const stream = await run('redis-cli', words.split(' '))
      add('memory of Redis per tunnel', 'bytes', ((await usedMemory()) - Number(stream) - empty) / size)
      const again = await slaves.do({ type: 'again', slaves: 20 })
      add(`re-announcement of ${size / SLAVES} tunnels, p50`, 'ms', median(again.took))
      await two.kill()
      const joined = await cpuDuring(groups, async () => {
        await two.start(flags)
        await until('the view of a new master', both(size), 60_000, 20)
      })
      add('a new master shows all after', 's', joined.seconds)
      bench.say(`  a new master shows all after ${joined.seconds.toFixed(1)} s`)
    } finally {
      slaves.stop()
      await Promise.all([one.kill(), two.kill()])
      await redis.stop('SIGKILL')
    }
  },
}
