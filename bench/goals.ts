// The goals of the project (issue 4) as ratios of one run: ours against the peers, or against a fixed figure.
import type { Figures } from './figures.ts'

export interface Goal {
  text: string
  goal: string
  /** What was measured, in words; undefined: not measured in this run. */
  measured: string
  reached: boolean
}

const PEERS = ['go', 'ssh2', 'sshd', 'dropbear']

export function judge(figures: Figures): Goal[] {
  const goals: Goal[] = []
  const of = (work: string, metric: string, contender = 'sshoal'): number | undefined =>
    figures.get(work, contender, metric)

  function ratio(
    text: string,
    work: string,
    metric: string,
    peer: string,
    limit: number,
    most: boolean,
  ): void {
    const ours = of(work, metric)
    const theirs = of(work, metric, peer)
    if (ours === undefined || theirs === undefined) return
    const value = ours / theirs
    goals.push({
      text,
      goal: `${most ? '≤' : '≥'} ${limit < 0.1 ? `1/${Math.round(1 / limit)}` : limit.toFixed(1)} × ${peer}`,
      measured: `${value < 0.1 ? `1/${(1 / value).toFixed(1)}` : value.toFixed(2)} × (${show(ours)} : ${show(theirs)})`,
      reached: most ? value <= limit : value >= limit,
    })
  }

  function limit(
    text: string,
    work: string,
    metric: string,
    unit: string,
    most: number,
    atLeast = false,
  ): void {
    const value = of(work, metric)
    if (value === undefined) return
    goals.push({
      text,
      goal: `${atLeast ? '≥' : '≤'} ${most.toLocaleString('en')} ${unit}`,
      measured: `${show(value)} ${unit}`,
      reached: atLeast ? value >= most : value <= most,
    })
  }

  /** Against whichever peer does best. */
  function best(text: string, work: string, metric: string, factor: number, higher: boolean): void {
    const ours = of(work, metric)
    const theirs = PEERS.map((peer) => ({ peer, value: of(work, metric, peer) })).filter(
      (entry): entry is { peer: string; value: number } => entry.value !== undefined,
    )
    theirs.sort((a, b) => (higher ? b.value - a.value : a.value - b.value))
    const [top] = theirs
    if (ours === undefined || top === undefined) return
    const value = ours / top.value
    goals.push({
      text,
      goal: `${higher ? '≥' : '≤'} ${factor.toFixed(1)} × the best peer`,
      measured: `${value.toFixed(2)} × ${top.peer} (${show(ours)} : ${show(top.value)})`,
      reached: higher ? value >= factor : value <= factor,
    })
  }

  ratio('CPU per device connect', 'connect', 'CPU per connect', 'go', 1, true)
  ratio('CPU per device connect', 'connect', 'CPU per connect', 'sshd', 1 / 12, true)
  limit('memory per idle tunnel, bound', 'idle bound', 'memory per tunnel', 'KB', 22)
  limit('memory per idle tunnel, named', 'idle named', 'memory per tunnel', 'KB', 18)
  limit('idle CPU, bound', 'idle bound', 'CPU, no keepalive', '% of a core', 1)
  limit('idle CPU, named', 'idle named', 'CPU, no keepalive', '% of a core', 1)
  for (const cores of ['one core', 'two cores']) {
    ratio(`storm of 5,000, ${cores}`, `storm, ${cores}`, 'all back after', 'go', 1, true)
    limit(`storm, ${cores}: event loop p99`, `storm, ${cores}`, 'event loop delay, p99', 'ms', 100)
    limit(`storm, ${cores}: lost`, `storm, ${cores}`, 'lost', 'devices', 0)
  }
  for (const cipher of ['aes128-gcm', 'chacha20'])
    for (const way of ['to', 'from']) {
      const work = `visit ${way} the device, ${cipher}`
      ratio(`${work}: speed`, work, 'speed', 'sshd', 1, false)
      ratio(`${work}: CPU per GB`, work, 'CPU per GB', 'sshd', 0.6, true)
    }
  best('a new visit per request', 'requests', 'rate', 1.3, true)
  best('a new visit per request: p99', 'requests', 'p99', 1, false)
  best('round trips, 32 at once: p99', 'round trips, 32 at once', 'p99', 1, false)
  best('round trips beside a download: p99', 'round trips beside a download', 'p99', 1, false)
  const million = 'plane at 1000000'
  limit('slots', million, 'slots', '/s', 20_000, true)
  limit('slots: p99 at 5,000/s', million, 'slots p99 at 5,000/s', 'ms', 5)
  limit('GET /cluster at 1,000,000: p99', million, 'GET /cluster p99', 'ms', 20)
  limit('master at 1,000,000 tunnels', million, 'memory of the master', 'MB', 1_000)
  limit('re-announcement of 2,000', 'plane', 're-announcement of 2000 tunnels, p50', 'ms', 100)
  limit('re-announcement of all', 'plane', 'all 1000000 back after a restart', 's', 20)
  limit('links gone silent meanwhile', 'plane', 'restart: links ended as silent', '', 0)
  return goals
}

export function show(value: number): string {
  if (Number.isNaN(value)) return '–'
  if (value === 0) return '0'
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString('en')
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2)
}
