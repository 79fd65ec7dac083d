// Answers slaves that ask for a visit. Reads the store at every question, a fixed number of records: nothing here grows with
// the number of devices. Says the same of a target that is not there and of one that is not granted.
import type {
  OwnQuestion,
  ReachAnswer,
  ReachQuestion,
  VisitAnswer,
  VisitQuestion,
  VisitReport,
} from '@sshoal/shared'

import type { GateDesk } from '../cluster/gate-desk.ts'
import { carrierFor, carrierOf, type GateSlaves } from './carriers.ts'
import type { Directory } from './directory.ts'
import { gateRef, type Gate } from './gate.ts'
import type { Grant } from './grant.ts'
import { mayVisit } from './may-visit.ts'
import { readAsked } from './name.ts'
import type { OwnPlaces } from './own-places.ts'
import type { Projects } from './projects.ts'
import type { Reach } from './reach.ts'
import type { TargetTraits } from './target-traits.ts'
import type { Target } from './target.ts'
import { userRef, type User } from './user.ts'
import type { Visits } from './visits.ts'

export interface VisitDeskDeps {
  directory: Directory
  projects: Projects
  traits: TargetTraits
  slaves: GateSlaves
  reach: Reach
  visits: Visits
  ownPlaces: OwnPlaces
  /** ms since 1970. */
  now(): number
  /** `outcome`: granted, or the code of the refusal. */
  count(outcome: string): void
}

type Refused = Extract<VisitAnswer, { outcome: 'refused' }>

const SSH_PORT = 22

export class VisitDesk implements GateDesk {
  readonly #deps: VisitDeskDeps

  constructor(deps: VisitDeskDeps) {
    this.#deps = deps
  }

  async visit(question: VisitQuestion, slave: string): Promise<VisitAnswer> {
    const answer = await this.#answer(question, slave)
    this.#deps.count(answer.outcome === 'granted' ? 'granted' : answer.code)
    return answer
  }

  reach(question: ReachQuestion, slave: string): Promise<ReachAnswer> {
    return this.#deps.reach.of(question, this.#deps.slaves.get(slave)?.region)
  }

  isPeer(publicKey: string): boolean {
    for (const { hello } of this.#deps.slaves.all())
      if (hello.hostKeys.some((key) => key.publicKey === publicKey)) return true
    return false
  }

  own(question: OwnQuestion): Promise<string[]> {
    return this.#deps.ownPlaces.among(question)
  }

  visited(report: VisitReport, slave: string): Promise<void> {
    return this.#deps.visits.report(report, slave)
  }

  async #answer(question: VisitQuestion, slave: string): Promise<VisitAnswer> {
    const { directory, projects, slaves } = this.#deps
    const { project, user: id, fingerprint, port } = question
    const asked = readAsked(question.target)
    const [user, closed, target, grants] = await Promise.all([
      directory.store.get<User>(userRef(project, id)),
      projects.isClosed(project),
      asked && directory.findTarget(project, asked.target),
      directory.grantsOf(project, id),
    ])
    if (!user?.value.keys.some((key) => key.fingerprint === fingerprint))
      return refused('KEY_REMOVED', 'this key was removed')
    if (closed) return refused('PROJECT_CLOSED', 'this project is closed')
    if (!asked || !target) return unknownTarget(question)
    const [pools, gates] = await Promise.all([
      this.#poolsWith(
        target.value,
        grants.map(({ value }) => value),
      ),
      this.#gatesOf(target.value),
    ])
    const now = this.#deps.now()
    const grant = mayVisit({
      grants: grants.map(({ value }) => value),
      target: target.value,
      pools,
      gates,
      region: slaves.get(question.via ?? slave)?.region,
      asked: { port, forward: asked.forward },
      now,
    })
    if (!grant) return unknownTarget(question)
    const place = await this.#place(target.value, asked.forward, port, slave)
    if ('outcome' in place) return place
    return {
      outcome: 'granted',
      target: target.value.name,
      ...(asked.forward === undefined ? {} : { forward: asked.forward }),
      grant: grant.id,
      ...(grant.account === undefined ? {} : { account: grant.account }),
      ...(grant.until === undefined ? {} : { remainingMs: Math.ceil(grant.until - now) }),
      ...place,
    }
  }

  async #place(
    target: Target,
    forward: string | undefined,
    port: number,
    asking: string,
  ): Promise<Refused | Pick<Extract<VisitAnswer, { outcome: 'granted' }>, 'to' | 'carrier'>> {
    const { slaves, traits } = this.#deps
    if (target.kind === 'host') {
      if (forward !== undefined)
        return refused('UNKNOWN_FORWARD', `${target.name} is a host, it has no forwards`)
      const carrier = carrierFor(target, slaves, asking)
      // 22 is what ssh says when nobody named a port: it means the host's own.
      const to = {
        kind: 'host',
        address: target.address,
        port: port === SSH_PORT ? target.port : port,
      } as const
      return carrier ? { to, carrier } : refused('NO_CARRIER', `no slave dials ${target.name} at the moment`)
    }
    const tunnel = traits.tunnelOf(target)
    if (!tunnel) return this.#offline(target)
    const holder = slaves.get(tunnel.slave)
    const carrier = holder && carrierOf(holder, slaves, asking)
    const to = { kind: 'device', project: target.project, device: target.device } as const
    return carrier
      ? { to, carrier }
      : refused(
          'NO_CARRIER',
          `${target.name} is on a slave that takes no visits from this one (--relay-listen)`,
        )
  }

  async #offline(target: Target): Promise<Refused> {
    const { seenAt } = await this.#deps.traits.presence(target)
    const since =
      seenAt === undefined
        ? 'it was never seen'
        : `since ${new Date(seenAt).toISOString().replace(/\.\d+Z$/, 'Z')}`
    return refused('TARGET_OFFLINE', `${target.name} is offline, ${since}`)
  }

  /** Of the pools that are granted and still there, those that have it, by hand or by their selector. */
  async #poolsWith(target: Target, grants: readonly Grant[]): Promise<Set<string>> {
    const { directory, traits } = this.#deps
    const granted = new Set(grants.filter(({ on }) => on.kind === 'pool').map(({ on }) => on.id))
    const found = new Set<string>()
    await Promise.all(
      [...granted].map(async (id) => {
        // A pool that was removed has members and grants until they are tidied up, and gives nobody anything.
        const pool = await directory.poolOfId(target.project, id)
        if (pool && (await traits.has(pool, target))) found.add(id)
      }),
    )
    return found
  }

  async #gatesOf({ project, gates }: Target): Promise<Gate[]> {
    const { store } = this.#deps.directory
    const found = await Promise.all(gates.map((gate) => store.get<Gate>(gateRef(project, gate))))
    return found.flatMap((record) => (record ? [record.value] : []))
  }
}

function refused(code: string, reason: string): Refused {
  return { outcome: 'refused', code, reason }
}

/** The same text whether it is not there or not theirs: names of targets are nobody else's business. */
function unknownTarget({ target, port }: VisitQuestion): Refused {
  // oxlint-disable-next-line no-control-regex -- what a client wrote reaches a terminal
  const shown = target.slice(0, 128).replace(/[^\u0021-\u007e]/g, '?')
  return refused('UNKNOWN_TARGET', `there is no target ${shown} with port ${port} that you may reach here`)
}
