// What slaves ask and tell about visits through the gate. Who may reach what is decided elsewhere (access/).
import type {
  OwnQuestion,
  ReachAnswer,
  ReachQuestion,
  VisitAnswer,
  VisitQuestion,
  VisitReport,
} from '@sshoal/shared'

export interface GateDesk {
  /** `slave`: who asks. Carries the visit itself where it can. Rejects where the store cannot be asked. */
  visit(question: VisitQuestion, slave: string): Promise<VisitAnswer>
  reach(question: ReachQuestion, slave: string): Promise<ReachAnswer>
  /** Is this the host key (wire form, base64) of a slave that is linked to some master? */
  isPeer(publicKey: string): boolean
  /** Which of these addresses are, with this port, the cluster's own? Rejects where the store cannot be asked. */
  own(question: OwnQuestion): Promise<string[]>
  /** A visit that `slave` carries began or ended. Resolves when it is written down. */
  visited(report: VisitReport, slave: string): Promise<void>
}
