// What is said of a lease that cannot be had, in the same words wherever it is noticed.
import { SshoalError } from '@sshoal/shared'

export function unknownLease(id: string): SshoalError {
  return new SshoalError('UNKNOWN_LEASE', `there is no lease "${id.slice(0, 60)}" here; it may have ended`)
}

export function leasePortTaken(port: number | undefined): SshoalError {
  return new SshoalError('PORT_TAKEN', `port ${port} is taken; ask for another, or for any`, {
    details: { port },
  })
}

export function leaseKeyTaken(fingerprint: string): SshoalError {
  return new SshoalError('KEY_TAKEN', `the key ${fingerprint} belongs to a device or to another lease`, {
    details: { fingerprint },
  })
}

export function leaseBusy(): SshoalError {
  return new SshoalError('BUSY', 'the lease is being changed by many at once; try again')
}
