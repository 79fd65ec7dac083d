// Why a change of a device was not made, in words that say whose fault it is not.
import { SshoalError } from '@sshoal/shared'

import type { Conflict } from '../store/store.ts'

export function hookDevice(id: string): SshoalError {
  return new SshoalError(
    'HOOK_DEVICE',
    `"${id}" is known by the hook alone: change it where the hook looks; here it can be kicked and rechecked`,
  )
}

export function busy(): SshoalError {
  return new SshoalError('BUSY', 'the device is being changed by many at once; try again')
}

export function conflictError(conflict: Conflict): SshoalError {
  if (conflict.reason !== 'taken')
    return new SshoalError('DEVICE_EXISTS', `there is a device "${conflict.ref.id}" already`)
  const { claim, by, ref } = conflict
  // Another project's devices are nobody's business here.
  const details = { [claim.index]: claim.value, ...(by.project === ref.project ? { device: by.id } : {}) }
  const holder = by.project === ref.project ? `device "${by.id}"` : 'a device of another project'
  if (claim.index === 'fingerprint')
    return new SshoalError('KEY_TAKEN', `the key ${claim.value} belongs to ${holder}`, { details })
  if (claim.index === 'mac')
    return new SshoalError('MAC_TAKEN', `the MAC ${claim.value} belongs to ${holder}`, { details })
  const port = claim.value.slice(claim.value.lastIndexOf(':') + 1)
  return new SshoalError('PORT_TAKEN', `port ${port} is fixed for ${holder}`, {
    details: { ...details, port: Number(port) },
  })
}
