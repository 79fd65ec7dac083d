// The names of targets, pools and gates: what may stand in a configuration, a shell and a terminal without any quoting.
// Case does not count; they are kept in lower case. A name never begins with a dash: `ssh NAME` would read it as an option.
import { SshoalError } from '@sshoal/shared'

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export function isName(text: string): boolean {
  return NAME.test(text)
}

/** In lower case. */
export function isUuid(text: string): boolean {
  return UUID.test(text)
}

/** In lower case. Throws INVALID_NAME; `what`: a target, a pool, … */
export function readName(text: string, what: string): string {
  const name = text.toLowerCase()
  if (!isName(name))
    throw new SshoalError(
      'INVALID_NAME',
      `${JSON.stringify(text.slice(0, 80))} is not the name of a ${what}: write 1 to 63 of a-z, 0-9 and -, a letter or digit first`,
    )
  // Such a name belongs to whoever has the UUID.
  if (isUuid(name)) throw new SshoalError('INVALID_NAME', `the name of a ${what} does not look like a UUID`)
  return name
}

/** One line for people. Throws INVALID_NAME. */
export function readTitle(text: string, what: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are exactly what must not reach a terminal
  if (text.length < 1 || text.length > 255 || /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(text))
    throw new SshoalError('INVALID_NAME', `${what} is one line of 1 to 255 characters`)
  return text
}

export interface AskedTarget {
  /** In lower case: a name, or a UUID. */
  target: string
  /** The name of one of its forwards. */
  forward: string | undefined
}

/** `TARGET` or `NAME.TARGET`, as a client wrote it; undefined: no such name can be. */
export function readAsked(text: string): AskedTarget | undefined {
  const parts = text.toLowerCase().split('.')
  const target = parts.pop() ?? ''
  const [forward, another] = parts
  if (another !== undefined || !isName(target)) return undefined
  if (forward !== undefined && !/^[a-z0-9-]{1,63}$/.test(forward)) return undefined
  return { target, forward }
}

/**
 * A host name or an IP address: nothing in it can end a line, a word or a pattern of a configuration.
 * Throws INVALID_ADDRESS.
 */
export function readHost(text: string): string {
  const isHostName = /^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/
  const isIpv6 = /^[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*$/
  if (
    text.length > 253 ||
    !(isHostName.test(text) || (isIpv6.test(text) && URL.canParse(`http://[${text}]/`)))
  )
    throw new SshoalError(
      'INVALID_ADDRESS',
      `${JSON.stringify(text.slice(0, 80))} is neither a host name nor an IP address`,
    )
  return text
}

/** Throws INVALID_ADDRESS. */
export function readPort(port: number): number {
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new SshoalError('INVALID_ADDRESS', `${port} is not a port: write 1 to 65535`)
  return port
}

/** Throws INVALID_REGION. */
export function readRegion(region: string): string {
  if (!/^[A-Za-z0-9._-]{1,63}$/.test(region))
    throw new SshoalError('INVALID_REGION', `${JSON.stringify(region.slice(0, 60))} is not a region name`)
  return region
}
