// What one slave says to another when it hands a visit over: JSON, the payload of an SSH channel `visit@sshoal` to the relay
// of the slave that carries it. That slave asks the master the same question and believes only the answer, which must be the
// grant that is named here.
import { Type, type Static } from 'typebox'
import { Compile } from 'typebox/compile'

import { VisitQuestion } from './gate-protocol.ts'

const Name = Type.String({ minLength: 1, maxLength: 255 })

const RelayedVisitSchema = Type.Object({
  /** The same as in the report. */
  id: Name,
  login: Name,
  /** By which the master let it in where the user logged in. */
  grant: Name,
  question: Type.Object({ ...VisitQuestion.properties, via: Name }),
})
export type RelayedVisit = Static<typeof RelayedVisitSchema>

const validator = Compile(RelayedVisitSchema)

/** Undefined: it is none. */
export function readRelayedVisit(payload: Buffer): RelayedVisit | undefined {
  try {
    const visit: unknown = JSON.parse(payload.toString('utf8'))
    return validator.Check(visit) ? visit : undefined
  } catch {
    return undefined
  }
}
