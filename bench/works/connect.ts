// What a device costs all the way: connection, key exchange, login, hook, forward, known to the master.
import { startDevices } from '../devices.ts'
import { cpuDuring } from '../process.ts'
import { withContenders, type Work } from '../work.ts'

export const connect: Work = {
  name: 'connect',
  title: 'Device connects: login, hook, forward, registered at the master',
  async run(bench) {
    for (const contender of bench.contenders) {
      await withContenders(bench, [contender], async (running) => {
        const server = running.get(contender)
        if (!server) return
        const heavy = contender.oneKey
        const count = (heavy ? 150 : 1_000) * (bench.full && !heavy ? 2 : 1)
        const devices = await startDevices({ contender, ports: server.sshPorts, count })
        // The first rounds find cold code and empty caches: a slave runs for months.
        for (let warm = 0; warm < (heavy ? 0 : 2); warm++) {
          await devices.up()
          await devices.down()
          await server.knows?.(0)
        }
        for (let round = 0; round < bench.rounds; round++) {
          const groups = { server: server.pids, master: server.masterPids ?? [], load: [devices.pid] }
          const { result, seconds, cpu } = await cpuDuring(groups, async () => {
            const up = await devices.up()
            await server.knows?.(up.up)
            return up
          })
          if (result.failed > 0) bench.say(`  ${contender.name}: ${result.failed} failed: ${result.error}`)
          const add = (metric: string, unit: string, value: number): void =>
            bench.figures.add('connect', contender.name, metric, unit, value)
          add('CPU per connect', 'ms', ((cpu.server ?? 0) / result.up) * 1_000)
          if (server.masterPids) add('CPU per connect, master', 'ms', ((cpu.master ?? 0) / result.up) * 1_000)
          add('CPU per connect, load', 'ms', ((cpu.load ?? 0) / result.up) * 1_000)
          add('server busy', 'share of a core', (cpu.server ?? 0) / seconds)
          add('load busy', 'share of a core', (cpu.load ?? 0) / seconds)
          add('connects', '1/s', result.up / result.seconds)
          add('login p50, 32 at once', 'ms', result.p50)
          add('login p99, 32 at once', 'ms', result.p99)
          await devices.down()
          await server.knows?.(0)
        }
        await devices.stop()
      })
      const ms = bench.figures.get('connect', contender.name, 'CPU per connect')
      bench.say(`  ${contender.name}: ${ms?.toFixed(2)} ms CPU per connect`)
    }
  },
}
