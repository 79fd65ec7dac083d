// The control plane: one master, 500 simulated slaves, 10,000 to 1,000,000 tunnels.
import { median } from '../figures.ts'
import { ask, ControlMaster, UNLIMITED, type Asked } from '../load/control-master.ts'
import { anonymousBytes, cpuDuring, memoryBytes } from '../process.ts'
import { startSimulatedSlaves } from '../simulated-slaves.ts'
import { sleep, until } from '../wait.ts'
import type { Bench, Work } from '../work.ts'

const SLAVES = 500

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(share * (sorted.length - 1))] ?? NaN
}

export const plane: Work = {
  name: 'plane',
  title: `Control plane: one master, ${SLAVES} simulated slaves, up to 1,000,000 tunnels`,
  rounds: () => 1,
  async run(bench) {
    const { figures, full } = bench
    const say = (text: string): void => bench.say(text)
    const sizes = full ? [10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000] : [10_000, 100_000, 1_000_000]
    const seconds = full ? 10 : 4
    const add = (metric: string, unit: string, value: number, work = 'plane'): void =>
      figures.add(work, 'sshoal', metric, unit, value)
    const master = new ControlMaster(bench)
    await master.start(UNLIMITED)
    const slaves = await startSimulatedSlaves()
    const load = (path: string, more: string[]): Promise<Asked> =>
      ask(`${master.url}${path}`, ['-token', master.token('admin'), '-seconds', String(seconds), ...more])
    try {
      const first = (sizes[0] ?? 0) / SLAVES
      const empty = memoryBytes(master.pid)
      const token = master.token('slave')
      await slaves.do({ type: 'join', url: master.url, token, slaves: SLAVES, tunnels: first })
      for (const size of sizes) {
        await slaves.do({ type: 'grow', tunnels: size / SLAVES })
        await until(`${size} tunnels`, async () => (await master.tunnels()) === size, 240_000, 100)
        await sleep(2_000)
        const at = `plane at ${size}`
        add('memory of the master', 'MB', memoryBytes(master.pid) / 1e6, at)
        add("memory without the store's file", 'MB', anonymousBytes(master.pid) / 1e6, at)
        const cluster = await load('/cluster', ['-c', '2', '-rate', '20'])
        add('GET /cluster p50', 'ms', cluster.p50, at)
        add('GET /cluster p99', 'ms', cluster.p99, at)
        const page = await load('/cluster/tunnels?limit=100', ['-c', '2', '-rate', '20'])
        add('GET /cluster/tunnels p50', 'ms', page.p50, at)
        add('GET /cluster/tunnels p99', 'ms', page.p99, at)
        const groups = { master: [master.pid] }
        const slots = await cpuDuring(groups, () => load('/connect', ['-c', '32', '-sources', '32']))
        add('slots', '1/s', slots.result.count / slots.result.seconds, at)
        add('slots, master busy', 'share of a core', (slots.cpu.master ?? 0) / slots.seconds, at)
        add('CPU per slot', 'µs', ((slots.cpu.master ?? 0) / slots.result.count) * 1e6, at)
        if (slots.result.failed > 0) add('slots refused', '', slots.result.failed, at)
        const steady = await load('/connect', ['-c', '32', '-sources', '32', '-rate', '5000'])
        add('slots p99 at 5,000/s', 'ms', steady.p99, at)
        say(
          `  ${size} tunnels: ${Math.round(slots.result.count / slots.result.seconds)} slots/s, p99 ${steady.p99.toFixed(1)} ms at 5,000/s, ` +
            `${(((slots.cpu.master ?? 0) / slots.result.count) * 1e6).toFixed(0)} µs CPU each, /cluster p99 ${cluster.p99.toFixed(1)} ms, page p99 ${page.p99.toFixed(1)} ms, ${(memoryBytes(master.pid) / 1e6).toFixed(0)} MB (${(anonymousBytes(master.pid) / 1e6).toFixed(0)} without the file)`,
        )
      }
      const size = sizes.at(-1) ?? 0
      add('memory per tunnel', 'bytes', (memoryBytes(master.pid) - empty) / size)

      const one = await slaves.do({ type: 'again', slaves: full ? 50 : 20 })
      add(`re-announcement of ${size / SLAVES} tunnels, p50`, 'ms', median(one.took))
      add(`re-announcement of ${size / SLAVES} tunnels, p99`, 'ms', percentile(one.took, 0.99))
      say(`  one slave comes back within ${median(one.took).toFixed(0)} ms`)

      await master.loopDelay()
      const churn = await cpuDuring({ master: [master.pid], load: [slaves.pid] }, () =>
        slaves.do({ type: 'churn', changes: 5_000, seconds: full ? 30 : 10 }),
      )
      add('churn told', '1/s', churn.result.changes / churn.seconds)
      add('churn of 5,000/s, master busy', 'share of a core', (churn.cpu.master ?? 0) / churn.seconds)
      add('churn of 5,000/s, load busy', 'share of a core', (churn.cpu.load ?? 0) / churn.seconds)
      add('churn of 5,000/s, event loop delay p99', 'ms', await master.loopDelay())
      await until('the view after churn', async () => (await master.tunnels()) === size, 60_000, 100)
      say(`  churn: master ${(((churn.cpu.master ?? 0) / churn.seconds) * 100).toFixed(0)} % of a core`)

      await master.kill()
      await master.start(UNLIMITED)
      const back = await cpuDuring({ master: [master.pid], load: [slaves.pid] }, async () => {
        const answer = await slaves.do({ type: 'back' })
        await until(`${size} tunnels`, async () => (await master.tunnels()) === size, 60_000, 20)
        return answer
      })
      add(`all ${size} back after a restart`, 's', back.seconds)
      add('restart: links ended as silent', '', back.result.silent)
      add('restart: event loop delay p99', 'ms', await master.loopDelay())
      add('restart: master busy', 'share of a core', (back.cpu.master ?? 0) / back.seconds)
      add('restart: load busy', 'share of a core', (back.cpu.load ?? 0) / back.seconds)
      add('memory of the master after it', 'MB', memoryBytes(master.pid) / 1e6)
      say(
        `  all back after ${back.seconds.toFixed(1)} s (master ${(back.cpu.master ?? 0).toFixed(1)} s CPU, load ${(back.cpu.load ?? 0).toFixed(1)} s), ${back.result.silent} links went silent`,
      )
    } finally {
      slaves.stop()
      await master.kill()
    }
    await shippedLimits(bench)
  },
}

/** One source against the limits as they are shipped: a burst of 1,000, then 100 a second. */
async function shippedLimits(bench: Bench): Promise<void> {
  const master = new ControlMaster(bench)
  await master.start()
  const slaves = await startSimulatedSlaves()
  const token = master.token('slave')
  await slaves.do({ type: 'join', url: master.url, token, slaves: 10, tunnels: 10 })
  const asked = await ask(`${master.url}/connect`, ['-c', '8', '-seconds', '3'])
  const given = asked.count - asked.failed
  bench.figures.add('plane', 'sshoal', 'one source, shipped limits: slots in 3 s', '', given)
  bench.figures.add(
    'plane',
    'sshoal',
    'one source, shipped limits: answers',
    '1/s',
    asked.count / asked.seconds,
  )
  slaves.stop()
  await master.kill()
}
