// Which addresses and ports `--dial` lets this slave connect to. Text in, rules out; looks nothing up.
import { AddressSet, SshoalError, type Option, type PortRange } from '@sshoal/shared'

export interface DialRule {
  cidr: string
  addresses: AddressSet
  /** Undefined: all. */
  ports: PortRange[] | undefined
}

/** `10.0.0.0/8`, `10.0.0.0/8:22,80-90`, `[fd00::/8]:22`. Throws INVALID_VALUE or INVALID_CIDR. */
export function parseDialRule(text: string): DialRule {
  const match = /^(?:\[([^\]]*)\]|([\d.]+(?:\/\d*)?))(?::(.*))?$/.exec(text)
  // An IPv6 block without ports needs no brackets.
  const cidr = match ? (match[1] ?? match[2] ?? '') : text
  const addresses = new AddressSet([cidr])
  if (match?.[1] !== undefined && !cidr.includes(':')) throw invalid(text)
  return { cidr, addresses, ports: match?.[3] === undefined ? undefined : parsePorts(match[3], text) }
}

export function mayDial(rules: readonly DialRule[], address: string, port: number): boolean {
  return rules.some(
    ({ addresses, ports }) =>
      addresses.has(address) && (!ports || ports.some(({ first, last }) => port >= first && port <= last)),
  )
}

/** Repeatable, and with commas both between rules and between ports: what is only a port belongs to the rule before it. */
export const dialOption: Option<DialRule[]> = {
  describe:
    'hosts that users may be let through to: CIDR[:PORTS], such as 10.0.0.0/8:22,8000-8999 or [fd00::/8]:22, without ports all (repeatable); unset: none',
  placeholder: 'CIDR[:PORTS]',
  shown: undefined,
  fallback: [],
  list: true,
  secret: false,
  read: (texts) =>
    texts.flatMap((text) => {
      const rules: string[] = []
      for (const part of text.split(',').map((each) => each.trim())) {
        if (/^\d+(-\d+)?$/.test(part) && rules.length > 0) rules.push(`${rules.pop()},${part}`)
        else if (part !== '') rules.push(part)
      }
      return rules.map(parseDialRule)
    }),
}

function parsePorts(text: string, whole: string): PortRange[] {
  return text.split(',').map((part) => {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part)
    const first = Number(match?.[1])
    const last = Number(match?.[2] ?? first)
    if (!match || first < 1 || last > 65_535 || first > last) throw invalid(whole)
    return { first, last }
  })
}

function invalid(text: string): SshoalError {
  return new SshoalError(
    'INVALID_VALUE',
    `"${text}" is not CIDR[:PORTS]: write 10.0.0.0/8, 10.0.0.0/8:22,80-90 or [fd00::/8]:22`,
  )
}
