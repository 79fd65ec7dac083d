// What a device costs all the way: connection, key exchange, login, hook, forward, known to the master.
import type { Contender, Running } from '../contender.ts'
import { startDevices, type Devices } from '../devices.ts'
import { cpuDuring } from '../process.ts'
import { withContenders, type Bench, type Work } from '../work.ts'
import { startFloor } from './floor.ts'

async function round(bench: Bench, contender: Contender, server: Running, devices: Devices): Promise<void> {
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

/** All from one address, as behind one NAT: the shipped limits of a source count, peers have none. */
async function oneAddress(bench: Bench, contender: Contender, { sshPorts, knows }: Running): Promise<void> {
  const all = { count: 1_000, atOnce: 1_000, first: 10_000, sources: 1 }
  const devices = await startDevices({ contender, ports: sshPorts, ...all })
  const { up, failed, seconds, p99 } = await devices.up()
  await knows?.(up)
  const add = (metric: string, unit: string, value: number): void =>
    bench.figures.add('connect from one address', contender.name, metric, unit, value)
  add('connects, 1,000 at once', '1/s', up / seconds)
  add('login p99, 1,000 at once', 'ms', p99)
  add('let in, of 1,000 that try once', '', up)
  bench.say(`  ${contender.name}, one address: ${up} let in, ${failed} turned away`)
  await devices.stop()
  await knows?.(0)
}

export const connect: Work = {
  name: 'connect',
  title: 'Device connects: login, hook, forward, registered at the master',
  run: (bench) =>
    withContenders(bench, bench.contenders, async (running) => {
      const devices = new Map<Contender, Devices>()
      for (const [contender, server] of running) {
        const count = contender.oneKey ? 150 : bench.full ? 2_000 : 1_000
        const own = await startDevices({ contender, ports: server.sshPorts, count })
        devices.set(contender, own)
        // The first rounds find cold code and empty caches: a slave runs for months.
        for (let warm = 0; warm < (contender.oneKey ? 0 : 2); warm++) {
          await own.up()
          await own.down()
          await server.knows?.(0)
        }
      }
      const floors = [
        ['Node, sockets alone', await startFloor('sockets')],
        ['Node, and cryptography', await startFloor('cryptography')],
      ] as const
      for (let n = 0; n < bench.rounds; n++) {
        for (const [contender, server] of running) {
          const own = devices.get(contender)
          if (own) await round(bench, contender, server, own)
        }
        for (const [name, floor] of floors)
          bench.figures.add('connect', name, 'CPU per connect', 'ms', await floor.round())
      }
      for (const [name, floor] of floors) {
        bench.say(`  ${name}: ${bench.figures.get('connect', name, 'CPU per connect')?.toFixed(2)} ms`)
        await floor.stop()
      }
      for (const [contender, server] of running)
        if (!contender.oneKey) await oneAddress(bench, contender, server)
      for (const [contender, own] of devices) {
        const ms = bench.figures.get('connect', contender.name, 'CPU per connect')
        bench.say(`  ${contender.name}: ${ms?.toFixed(2)} ms CPU per connect`)
        await own.stop()
      }
    }),
}
