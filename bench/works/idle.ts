// What a tunnel costs that only stands there: memory, and CPU with and without keepalive.
import type { Contender } from '../contender.ts'
import { startDevices, type Devices } from '../devices.ts'
import { cpuDuring, memoryBytes } from '../process.ts'
import { sleep } from '../wait.ts'
import { withContenders, type Bench, type Work } from '../work.ts'

/** What has just come is worked off within this. */
const SETTLE_MS = 5_000
/**
 * V8 collects a heap that became idle 100 s after the collection before, looked at every 8 s: so each figure of the full run is one of
 * after it, not of before or after by chance. Of 9,000 tunnels it takes half a second of CPU, and a fifth of their memory goes.
 */
const COLLECT_MS = 110_000

async function hold(bench: Bench, contender: Contender, named: boolean, keepalive: string): Promise<void> {
  const heavy = contender.oneKey
  // What 20,000 descriptors have room for: a bound tunnel takes two, a named one takes one.
  const most = bench.full ? (named ? 18_000 : 9_000) : 4_000
  const counts = heavy ? [50, 300] : [1_000, most]
  const kind = named ? 'named' : 'bound'
  const watched = keepalive !== '0'
  const name = `idle ${kind}`
  await withContenders(
    bench,
    [contender],
    async (running) => {
      const server = running.get(contender)
      if (!server) return
      const memory: number[] = []
      const masterMemory: number[] = []
      const all: Devices[] = []
      let standing = 0
      for (const count of counts) {
        const devices = await startDevices({
          contender,
          ports: server.sshPorts,
          count: count - standing,
          first: standing,
          named,
        })
        all.push(devices)
        const up = await devices.up()
        if (up.failed > 0) bench.say(`  ${contender.name}: ${up.failed} failed: ${up.error}`)
        standing = count
        await server.knows?.(count)
        await sleep(SETTLE_MS)
        // With keepalive only the CPU is measured, and of the last alone.
        if (bench.full && !heavy && (count === most || !watched)) {
          const come = memoryBytes(...server.pids) / 1e6
          const { cpu } = await cpuDuring({ server: server.pids }, () => sleep(COLLECT_MS))
          if (count === most && !watched) {
            bench.figures.add(name, contender.name, `memory at ${count}, just come`, 'MB', come)
            bench.figures.add(name, contender.name, 'CPU until collected', 's', cpu.server ?? 0)
          }
        }
        memory.push(memoryBytes(...server.pids))
        masterMemory.push(memoryBytes(...(server.masterPids ?? [])))
      }
      const each = (values: number[]): number =>
        ((values[1] ?? 0) - (values[0] ?? 0)) / ((counts[1] ?? 0) - (counts[0] ?? 0)) / 1_024
      if (!watched) {
        bench.figures.add(name, contender.name, 'memory per tunnel', 'KB', each(memory))
        bench.figures.add(name, contender.name, `memory at ${counts[1]}`, 'MB', (memory[1] ?? 0) / 1e6)
        if (server.masterPids)
          bench.figures.add(name, contender.name, 'memory per tunnel, master', 'KB', each(masterMemory))
      }
      const seconds = bench.full ? 60 : 20
      if (!heavy) {
        await sleep(watched ? 20_000 : 0) // the wheel of keepalives turns evenly by then
        const { cpu } = await cpuDuring({ server: server.pids }, () => sleep(seconds * 1_000))
        const metric = watched ? `CPU, keepalive ${keepalive}` : 'CPU, no keepalive'
        bench.figures.add(name, contender.name, metric, '% of a core', ((cpu.server ?? 0) / seconds) * 100)
      }
      for (const devices of all) await devices.stop()
    },
    { slaveFlags: ['--keepalive', keepalive, '--capacity', String(most)] },
  )
}

export const idle: Work = {
  name: 'idle',
  title: 'Idle tunnels, bound and named',
  rounds: () => 1,
  async run(bench) {
    for (const contender of bench.contenders) {
      for (const named of contender.named ? [false, true] : [false]) {
        await hold(bench, contender, named, '0')
        const work = named ? 'idle named' : 'idle bound'
        const kb = bench.figures.get(work, contender.name, 'memory per tunnel')
        const cpu = bench.figures.get(work, contender.name, 'CPU, no keepalive')
        bench.say(
          `  ${contender.name}, ${named ? 'named' : 'bound'}: ${kb?.toFixed(1)} KB, ${cpu?.toFixed(2)} % of a core`,
        )
      }
      if (contender.named) await hold(bench, contender, false, '15s')
    }
  },
}
