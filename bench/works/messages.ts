// Small things through one tunnel: a new visit for each request, round trips on standing visits, and beside a download.
import { startDeviceSsh, startTarget, type DeviceSsh } from '../device-ssh.ts'
import { cpuDuring, run } from '../process.ts'
import { programs } from '../programs.ts'
import { withContenders, type Bench, type Work } from '../work.ts'

interface Asked {
  count: number
  failed: number
  seconds: number
  p50: number
  p90: number
  p99: number
}

async function measure(bench: Bench, name: string, cipher: string, flags: string[]): Promise<void> {
  const fit = bench.contenders.filter(({ ciphers }) => ciphers.includes(cipher))
  const target = await startTarget()
  const ask = (port: number, seconds: number): Promise<Asked> =>
    run(programs.visits, [...flags, '-addr', `127.0.0.1:${port}`, '-seconds', String(seconds)]).then(
      (text) => JSON.parse(text) as Asked,
    )
  await withContenders(bench, fit, async (running) => {
    const tunnels = new Map<string, DeviceSsh>()
    for (const [contender, server] of running) {
      const { folder, keys } = bench
      tunnels.set(
        contender.name,
        await startDeviceSsh({ contender, running: server, keys, folder, cipher, target }),
      )
    }
    // Cold code, as in the other works: a just-in-time compiler is busy with it for seconds.
    for (const tunnel of tunnels.values()) await ask(tunnel.port, 5)
    for (let round = 0; round < bench.rounds; round++) {
      const direct = await ask(target.port, 1)
      bench.figures.add(name, 'direct', 'rate', '1/s', direct.count / direct.seconds)
      bench.figures.add(name, 'direct', 'p99', 'ms', direct.p99)
      for (const [contender, server] of running) {
        const tunnel = tunnels.get(contender.name)
        if (!tunnel) continue
        const groups = { server: server.pids, device: [tunnel.pid], target: [target.program.pid] }
        const { result, cpu } = await cpuDuring(groups, () => ask(tunnel.port, bench.full ? 5 : 3))
        const add = (metric: string, unit: string, value: number): void =>
          bench.figures.add(name, contender.name, metric, unit, value)
        add('rate', '1/s', result.count / result.seconds)
        add('p50', 'ms', result.p50)
        add('p99', 'ms', result.p99)
        add('CPU each', 'µs', ((cpu.server ?? 0) / result.count) * 1e6)
        add('server busy', 'share of a core', (cpu.server ?? 0) / result.seconds)
        add('target busy', 'share of a core', (cpu.target ?? 0) / result.seconds)
        if (result.failed > 0) add('failed', '', result.failed)
      }
    }
    const told = [...running.keys()].map((contender) => {
      const get = (metric: string): string =>
        (bench.figures.get(name, contender.name, metric) ?? NaN).toFixed(1)
      return `${contender.name} ${get('rate')}/s p99 ${get('p99')} ms ${get('CPU each')} µs`
    })
    bench.say(`  ${name}: ${told.join(', ')}`)
    await Promise.all([...tunnels.values()].map((tunnel) => tunnel.stop()))
  })
  await target.program.stop()
}

const GCM = 'aes128-gcm@openssh.com'

export const requests: Work = {
  name: 'requests',
  title: 'A new visit for each request, 16 at once',
  run: (bench) => measure(bench, 'requests', GCM, ['requests', '-c', '16']),
}

export const trips: Work = {
  name: 'trips',
  title: 'Round trips of 128 bytes: 32 visits at once, and 4 beside a download',
  async run(bench) {
    await measure(bench, 'round trips, 32 at once', GCM, ['trips', '-c', '32'])
    await measure(bench, 'round trips beside a download', GCM, ['trips', '-c', '4', '-bulk'])
  },
}
