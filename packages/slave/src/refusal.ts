// Why a device is refused: a stable code, and the sentence that the person at the other end reads.

export type RefusalCode =
  | 'KEY_UNKNOWN'
  | 'BAD_SIGNATURE'
  | 'TRY_LATER'
  | 'NOT_A_DEVICE'
  | 'NO_SHELL'
  | 'NOT_READY'
  | 'DRAINING'
  | 'SLAVE_FULL'
  | 'TOO_MANY_FORWARDS'
  | 'FORWARD_TAKEN'
  | 'NAME_INVALID'
  | 'PORTS_EXHAUSTED'
  | 'PORT_IN_USE'
  | 'PORT_RESERVED'
  | 'PORT_OUT_OF_RANGE'
  | 'LISTEN_FAILED'
  | 'LOGIN_TIMEOUT'
  | 'IDLE_TIMEOUT'
  | (string & {})

export interface Refusal {
  code: RefusalCode
  /** Without the product's name; `refusalText` puts it before. */
  reason: string
}

export function refusalText(refusal: Refusal): string {
  return `sshoal: ${refusal.reason}`
}
