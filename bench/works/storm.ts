// A server that holds thousands is killed; all its devices come back to another at once, with the shipped limits.
import type { Contender } from '../contender.ts'
import { startDevices, type Devices } from '../devices.ts'
import { cpuDuring } from '../process.ts'
import { takePort, type Bench, type Work } from '../work.ts'

async function once(bench: Bench, contender: Contender, threads: number): Promise<void> {
  const { folder, keys } = bench
  const count = 5_000
  const name = threads === 1 ? 'storm, one core' : 'storm, two cores'
  const first = await contender.start({ folder, keys, sshPort: takePort(), threads: 1 })
  const second = await contender.start({ folder, keys, sshPort: takePort(), threads })
  const each = Math.ceil(count / second.sshPorts.length)
  const all: Devices[] = []
  for (const [i, port] of second.sshPorts.entries()) {
    const ports = [...first.sshPorts, port]
    const options = { contender, ports, count: each, first: i * each, reconnect: true, sources: 100 }
    all.push(await startDevices({ ...options, threads: 1 }))
  }
  let held = 0
  for (const devices of all) held += (await devices.up()).up
  await second.loopDelay?.()
  const add = (metric: string, unit: string, value: number): void =>
    bench.figures.add(name, contender.name, metric, unit, value)
  const groups = { server: second.pids, load: all.map(({ pid }) => pid) }
  const back = await cpuDuring(groups, async () => {
    await first.stop()
    return Promise.all(all.map((devices) => devices.back()))
  })
  const seconds = Math.max(...back.result.map((one) => one.seconds))
  add('all back after', 's', seconds)
  add('logins', '1/s', held / seconds)
  add(
    'tries again',
    '',
    back.result.reduce((sum, { retries }) => sum + retries, 0),
  )
  add('server busy', 'share of a core', (back.cpu.server ?? 0) / back.seconds)
  add('load busy', 'share of a core', (back.cpu.load ?? 0) / back.seconds)
  if (second.loopDelay) add('event loop delay, p99', 'ms', await second.loopDelay())
  let standing = 0
  for (const devices of all) standing += await devices.count()
  add('lost', '', held - standing)
  await second.knows?.(standing)
  bench.say(`  ${contender.name}, ${name}: ${seconds.toFixed(1)} s, ${held - standing} lost`)
  await Promise.all(all.map((devices) => devices.stop()))
  await second.stop()
}

export const storm: Work = {
  name: 'storm',
  title: 'A slave that holds 5,000 is killed',
  rounds: (full) => (full ? 3 : 1),
  async run(bench) {
    const fit = bench.contenders.filter(({ oneKey }) => !oneKey)
    for (let round = 0; round < bench.rounds; round++)
      for (const threads of [1, 2])
        for (const contender of fit)
          if (contender.name !== 'ssh2' || threads === 1) await once(bench, contender, threads)
  },
}
