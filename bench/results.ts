// Writes what was measured: every value as JSON, and a report in Markdown with pictures beside it.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'

import { bars, curves } from './chart.ts'
import { Figures, median, spread, type Figure } from './figures.ts'
import { resultsFolder, rootFolder } from './folders.ts'
import { judge, show } from './goals.ts'
import type { Machine } from './machine.ts'

/** One kind of work as it was measured. */
export interface Part {
  name: string
  commit: string
  full: boolean
  rounds: number
  seconds: number
  /** How much of all cores the host of this machine gave to others meanwhile; undefined: nobody says. */
  stolen: number | undefined
}

export interface Results {
  machine: Machine
  figures: Figures
  /** Those of this run. */
  parts: Part[]
}

/** The report's file, seen from the root. */
export function writeResults(results: Results): string {
  const { machine } = results
  const date = new Date().toISOString().slice(0, 10)
  const name = `${date}-${machine.name}`
  mkdirSync(join(resultsFolder, name), { recursive: true })
  const { figures, parts } = withOthers(join(resultsFolder, `${name}.json`), results)
  const goals = judge(figures)
  const json = { date, machine, parts, figures: figures.all(), goals }
  writeFileSync(join(resultsFolder, `${name}.json`), `${JSON.stringify(json, undefined, 2)}\n`)
  const pictures = draw(figures)
  for (const [file, svg] of Object.entries(pictures)) writeFileSync(join(resultsFolder, name, file), svg)
  const report = join(resultsFolder, `${name}.md`)
  writeFileSync(report, text({ machine, figures, parts }, date, name, Object.keys(pictures)))
  return relative(rootFolder, report)
}

/** With what an earlier run of this day measured and this one did not: a part can be measured again alone. */
function withOthers(file: string, { figures, parts }: Results): Pick<Results, 'figures' | 'parts'> {
  if (!existsSync(file)) return { figures, parts }
  const before = JSON.parse(readFileSync(file, 'utf8')) as { figures: Figure[]; parts?: Part[] }
  const again = new Set(parts.map(({ name }) => name))
  const all = new Figures()
  for (const figure of [...before.figures.filter(({ part }) => !again.has(part)), ...figures.all()]) {
    const { part, work, contender, metric, unit, values } = figure
    all.part = part
    for (const value of values) all.add(work, contender, metric, unit, value)
  }
  return { figures: all, parts: [...(before.parts ?? []).filter(({ name }) => !again.has(name)), ...parts] }
}

function text({ machine, figures, parts }: Results, date: string, name: string, pictures: string[]): string {
  const lines = [
    `# Benchmark of ${date} on ${machine.name}`,
    '',
    `${machine.cores} cores of ${machine.processor}, ${machine.memoryGb} GB, Linux ${machine.kernel}; Node ${machine.node}, ssh2 ${machine.ssh2}`,
    `with its native crypto **${machine.nativeCrypto ? 'loaded' : 'not loaded'}**; ${machine.openssh}; ${machine.go}; ${machine.dropbear}.`,
    '',
    'Ours is the whole product (hook, master, metrics, log), the slave process is counted and the master told beside; peers do',
    'only SSH. All take turns in each round (idle and storm: one after another). CPU is user and system time of the process tree, memory is PSS. Figures are',
    'medians, ± half the distance of the quartiles. "busy" rows show that neither the load nor the target was the limit.',
    '',
    'Each part as it was measured last; what the host of this machine gave to others meanwhile makes the times on the clock longer.',
    '',
    '| `npm run bench -- --only` | commit | | rounds | minutes | stolen by the host |',
    '|---|---|---|---|---|---|',
    ...parts.map(
      ({ name, commit, full, rounds, seconds, stolen }) =>
        `| ${name} | ${commit} | ${full ? '`--full`' : 'short'} | ${rounds} | ${show(seconds / 60)} | ${stolen === undefined ? 'not known' : `${show(stolen * 100)} %`} |`,
    ),
    '',
    '## Goals',
    '',
    '| | goal | measured | |',
    '|---|---|---|---|',
    ...judge(figures).map(
      ({ text, goal, measured, reached }) => `| ${text} | ${goal} | ${measured} | ${reached ? '✓' : '✗'} |`,
    ),
    '',
    ...pictures.map((file) => `![${file.replace('.svg', '')}](${name}/${file})\n`),
    '## Figures',
  ]
  const works = [...new Set(figures.all().map(({ work }) => work))]
  for (const work of works)
    lines.push('', `### ${work}`, '', ...table(figures.all().filter((f) => f.work === work)))
  return `${lines.join('\n')}\n`
}

function table(figures: Figure[]): string[] {
  const contenders = [...new Set(figures.map(({ contender }) => contender))]
  const metrics = [...new Set(figures.map(({ metric }) => metric))]
  const cell = (metric: string, contender: string): string => {
    const found = figures.find((figure) => figure.metric === metric && figure.contender === contender)
    if (!found) return ''
    const share = spread(found.values)
    return `${show(median(found.values))}${found.values.length > 1 && share > 0 ? ` ±${(share * 100).toFixed(0)} %` : ''}`
  }
  return [
    `| | ${contenders.join(' | ')} |`,
    `|---|${contenders.map(() => '---').join('|')}|`,
    ...metrics.map((metric) => {
      const unit = figures.find((figure) => figure.metric === metric)?.unit ?? ''
      return `| ${metric}${unit === '' ? '' : `, ${unit}`} | ${contenders.map((c) => cell(metric, c)).join(' | ')} |`
    }),
  ]
}

function draw(figures: Figures): Record<string, string> {
  const all = figures.all()
  const pictures: Record<string, string> = {}
  const bar = (
    file: string,
    title: string,
    unit: string,
    metric: string,
    fits: (work: string) => boolean,
  ): void => {
    const found = all.filter((figure) => figure.metric === metric && fits(figure.work))
    if (found.length === 0) return
    const values = found.map(({ work, contender, values }) => ({
      group: work,
      name: contender,
      value: median(values),
    }))
    pictures[file] = bars(title, unit, values)
  }
  const isVisit = (work: string): boolean => work.includes('visit')
  bar('connect.svg', 'CPU per device connect, less is better', 'ms', 'CPU per connect', () => true)
  bar('memory.svg', 'Memory per idle tunnel, less is better', 'KB', 'memory per tunnel', (work) =>
    work.startsWith('idle'),
  )
  bar('visit-speed.svg', 'Speed of visits, more is better', 'MB/s', 'speed', isVisit)
  bar('visit-cpu.svg', 'CPU of visits, less is better', 's per GB', 'CPU per GB', isVisit)
  bar('rates.svg', 'Small messages, more is better', '1/s', 'rate', (work) => work !== 'plane')
  bar('delays.svg', 'Small messages, p99, less is better', 'ms', 'p99', (work) => work !== 'plane')
  bar('storm.svg', '5,000 devices come back, less is better', 's', 'all back after', () => true)
  const sizes = all.filter(({ work }) => work.startsWith('plane at '))
  const line = (metric: string) => ({
    name: metric,
    points: sizes
      .filter((figure) => figure.metric === metric)
      .map(({ work, values }) => ({ x: Number(work.slice('plane at '.length)), y: median(values) })),
  })
  if (sizes.length > 0) {
    pictures['plane-latency.svg'] = curves('Latency by tunnels', 'ms', [
      line('GET /cluster p99'),
      line('GET /cluster/tunnels p99'),
      line('slots p99 at 5,000/s'),
    ])
    pictures['plane-memory.svg'] = curves('Memory by tunnels', 'MB', [line('memory of the master')])
    pictures['plane-slots.svg'] = curves('Slots by tunnels', '1/s', [line('slots')])
  }
  return pictures
}
