// `npm run bench` measures the product against what people would use instead; `-- --full` takes longer and goes further.
// Writes results/<date>-<machine>.json and a report with pictures beside it.
import { mkdirSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { makeKeys } from './contender.ts'
import { dropbear } from './contenders/dropbear.ts'
import { goServer } from './contenders/go-server.ts'
import { plainSsh2 } from './contenders/plain-ssh2.ts'
import { sshd } from './contenders/sshd.ts'
import { sshoal } from './contenders/sshoal.ts'
import { Figures } from './figures.ts'
import { makeRunFolder, resultsFolder } from './folders.ts'
import { describeMachine, readCores, stolenShare } from './machine.ts'
import { stopAll } from './process.ts'
import { compile, installPackages, programs } from './programs.ts'
import { writeResults, type Part } from './results.ts'
import type { Work } from './work.ts'
import { connect } from './works/connect.ts'
import { idle } from './works/idle.ts'
import { requests, trips } from './works/messages.ts'
import { planeRedis } from './works/plane-redis.ts'
import { plane } from './works/plane.ts'
import { storm } from './works/storm.ts'
import { visit, visits } from './works/visit.ts'

const WORKS: Work[] = [connect, idle, storm, visit, visits, requests, trips, plane, planeRedis]

const { values } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    only: { type: 'string' },
    peers: { type: 'string' },
    against: { type: 'string' },
    rounds: { type: 'string' },
    'no-build': { type: 'boolean', default: false },
    'no-report': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const HELP = `npm run bench -- [--full] [--only ${WORKS.map(({ name }) => name).join(',')}]
  --peers sshoal,go,…   only these contenders
  --against FOLDER      another build of ours (with dist/ and node_modules/) takes part as "before"
  --rounds N            of each measurement (3; 5 with --full)
  --no-build            what is in bench/.cache is measured
  --no-report           figures are printed, nothing is written
`

const startedAt = performance.now()
function say(text: string): void {
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0).padStart(4)
  process.stdout.write(`${seconds} s  ${text}\n`)
}

async function main(): Promise<void> {
  if (values.help) return void process.stdout.write(HELP)
  const picked = values.only?.split(',')
  const unknown = picked?.filter((name) => !WORKS.some((work) => work.name === name)) ?? []
  if (unknown.length > 0) throw new Error(`no such work: ${unknown.join(', ')}\n${HELP}`)
  await installPackages(say)
  if (!values['no-build']) await compile(say)
  const machine = await describeMachine()
  say(`${machine.cores} cores of ${machine.processor}, Node ${machine.node}, commit ${machine.commit}`)
  say(`ssh2's native crypto is ${machine.nativeCrypto ? 'loaded' : 'NOT loaded: visits are slow'}`)
  const folder = makeRunFolder()
  const keys = await makeKeys(`${folder}/keys`)
  const peers = values.peers?.split(',')
  const before = values.against === undefined ? [] : [sshoal('before', `${values.against}/dist/sshoal.mjs`)]
  const contenders = [sshoal(), ...before, goServer, plainSsh2, sshd, dropbear].filter(
    ({ name }) => peers === undefined || peers.includes(name) || name === 'before',
  )
  const figures = new Figures()
  const usual = Number(values.rounds ?? (values.full ? 5 : 3))
  const bench = {
    folder,
    keys,
    contenders,
    figures,
    full: values.full,
    program: programs.sshoal,
    say,
  }
  const parts: Part[] = []
  mkdirSync(resultsFolder, { recursive: true })
  for (const work of WORKS) {
    if (picked && !picked.includes(work.name)) continue
    say(work.title)
    const [began, before] = [performance.now(), readCores()]
    figures.part = work.name
    const rounds = work.rounds?.(values.full) ?? usual
    await work.run({ ...bench, rounds })
    parts.push({
      name: work.name,
      commit: machine.commit,
      full: values.full,
      rounds,
      seconds: (performance.now() - began) / 1_000,
      stolen: stolenShare(before, readCores()),
    })
    // After each, so that a run that is broken off leaves what it has measured.
    if (!values['no-report']) say(`report: ${writeResults({ machine, figures, parts })}`)
  }
}

// What it started ends with it, also when a script's time limit ends it.
process.once('SIGINT', () => process.exit(130))
process.once('SIGTERM', () => process.exit(143))
process.once('SIGHUP', () => process.exit(129))
process.once('exit', stopAll)
main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  },
)
