// Bytes through one tunnel: one visit or 32, both directions, each cipher. The device is OpenSSH's ssh.
import { join } from 'node:path'

import { startDeviceSsh, startTarget, type DeviceSsh } from '../device-ssh.ts'
import { benchFolder } from '../folders.ts'
import { cpuDuring, run, start, type Program } from '../process.ts'
import { programs } from '../programs.ts'
import { withContenders, type Bench, type Work } from '../work.ts'

interface Streamed {
  seconds: number
  bytes: number
}

function stream(port: number, mode: 'up' | 'down', bytes: number, streams: number): Promise<Streamed> {
  const flags = ['-addr', `127.0.0.1:${port}`, '-mode', mode, '-bytes', String(bytes), '-c', String(streams)]
  return run(programs.visits, ['stream', ...flags]).then((text) => JSON.parse(text) as Streamed)
}

/** Of any server on Node: only reading, ciphering and writing. */
const FLOOR = 'Node, and cipher'

async function startFloor(cipher: string, target: number): Promise<{ program: Program; port: number }> {
  const file = join(benchFolder, 'peers/node-floor-visit.ts')
  const program = start('node', ['--import', 'tsx', file, cipher, String(target)])
  const { port } = await program.hear()
  return { program, port: Number(port) }
}

async function measure(bench: Bench, work: string, cipher: string, streams: number): Promise<void> {
  const fit = bench.contenders.filter(({ ciphers }) => ciphers.includes(cipher))
  const bytes = bench.full ? 1e9 : 6e8
  const target = await startTarget()
  const short = cipher.split(/[-@]/, 2).join('-').replace('-poly1305', '')
  await withContenders(bench, fit, async (running) => {
    const tunnels = new Map<string, DeviceSsh>()
    for (const [contender, server] of running) {
      const { folder, keys } = bench
      tunnels.set(
        contender.name,
        await startDeviceSsh({ contender, running: server, keys, folder, cipher, target }),
      )
    }
    const floor = await startFloor(cipher, target.port)
    for (const mode of ['up', 'down'] as const) {
      const name = `${work} ${mode === 'up' ? 'to' : 'from'} the device, ${short}`
      const ports = [...tunnels.values(), floor].map(({ port }) => port)
      // Cold code, as in the other works.
      for (const port of ports) await stream(port, mode, bytes, streams)
      for (let round = 0; round < bench.rounds; round++) {
        const direct = await stream(target.port, mode, bytes, streams)
        bench.figures.add(name, 'direct', 'speed', 'MB/s', direct.bytes / direct.seconds / 1e6)
        const least = await cpuDuring({ server: [floor.program.pid] }, () =>
          stream(floor.port, mode, bytes, streams),
        )
        bench.figures.add(
          name,
          FLOOR,
          'CPU per GB',
          's',
          (least.cpu.server ?? 0) / (least.result.bytes / 1e9),
        )
        for (const [contender, server] of running) {
          const tunnel = tunnels.get(contender.name)
          if (!tunnel) continue
          const groups = { server: server.pids, device: [tunnel.pid], target: [target.program.pid] }
          const { result, cpu } = await cpuDuring(groups, () => stream(tunnel.port, mode, bytes, streams))
          const gigabytes = result.bytes / 1e9
          const add = (metric: string, unit: string, value: number): void =>
            bench.figures.add(name, contender.name, metric, unit, value)
          add('speed', 'MB/s', result.bytes / result.seconds / 1e6)
          add('CPU per GB', 's', (cpu.server ?? 0) / gigabytes)
          add('CPU per GB, ssh of the device', 's', (cpu.device ?? 0) / gigabytes)
          add('target busy', 'share of a core', (cpu.target ?? 0) / result.seconds)
        }
      }
      const told = [...running.keys()].map((contender) => {
        const get = (metric: string): number => bench.figures.get(name, contender.name, metric) ?? NaN
        return `${contender.name} ${get('speed').toFixed(0)} MB/s ${get('CPU per GB').toFixed(2)} s/GB`
      })
      const least = bench.figures.get(name, FLOOR, 'CPU per GB') ?? NaN
      bench.say(`  ${name}: ${told.join(', ')}, ${FLOOR} ${least.toFixed(2)} s/GB`)
    }
    await floor.program.stop('SIGKILL')
    await Promise.all([...tunnels.values()].map((tunnel) => tunnel.stop()))
  })
  await target.program.stop()
}

const GCM = 'aes128-gcm@openssh.com'
const CHACHA = 'chacha20-poly1305@openssh.com'

export const visit: Work = {
  name: 'visit',
  title: 'One visit, both directions, aes128-gcm and chacha20-poly1305',
  async run(bench) {
    for (const cipher of [GCM, CHACHA]) await measure(bench, 'visit', cipher, 1)
  },
}

export const visits: Work = {
  name: 'visits',
  title: '32 visits at once',
  run: (bench) => measure(bench, '32 visits', GCM, 32),
}
