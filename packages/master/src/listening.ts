// Where a master listens and with which certificate.
import { readFileSync } from 'node:fs'
import type { ServerOptions } from 'node:https'
import { networkInterfaces } from 'node:os'
import { createSecureContext } from 'node:tls'

import { errorText, formatHostPort, SshoalError } from '@sshoal/shared'

import type { buildApi } from './api/build-api.ts'
import type { MasterSettings } from './options.ts'

/** Rejects with LISTEN_FAILED. */
export async function listen(
  api: Awaited<ReturnType<typeof buildApi>>,
  { listen: { host, port } }: MasterSettings,
): Promise<void> {
  try {
    await api.listen({ host, port })
  } catch (error) {
    throw new SshoalError(
      'LISTEN_FAILED',
      `cannot listen on ${formatHostPort(host, port)}: ${errorText(error)}`,
      { cause: error },
    )
  }
}

/** Throws TLS_UNUSABLE; undefined: plain HTTP. */
export function readTls({ tlsCert, tlsKey }: MasterSettings): ServerOptions | undefined {
  if (tlsCert === undefined || tlsKey === undefined) return undefined
  try {
    const tls = { cert: readFileSync(tlsCert), key: readFileSync(tlsKey) }
    createSecureContext(tls) // throws where the two do not fit, before anything is put in force
    return tls
  } catch (error) {
    throw new SshoalError('TLS_UNUSABLE', `--tls-cert/--tls-key cannot be used: ${errorText(error)}`, {
      cause: error,
    })
  }
}

/** A wildcard stands for all addresses of this machine. */
export function hostsOf(address: string): string[] {
  if (address !== '0.0.0.0' && address !== '::') return [address]
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((one) => one.address))
}

/** A wildcard is no address to go to. */
export function reachable(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1'
  return address === '::' ? '::1' : address
}
