// How N slaves share one machine: consecutive ports, parts of the forward range, numbered ids. Plain arithmetic; a plan
// that does not work out is refused before anything is started.
import { formatHostPort, isLoopback, SshoalError, type HostPort, type PortRange } from '@sshoal/shared'

export interface SharedSettings {
  id: string | undefined
  sshListen: HostPort[]
  publicPort: number | undefined
  forwardPorts: PortRange
  relayListen: HostPort | undefined
  statusListen: HostPort | undefined
}

/** Workers hand visits over to each other without being told to: nobody else can reach this, and any port will do. */
const OWN_RELAY = '127.0.0.1:0'

/** The flags of one worker that differ from the others', by option name, as a person would write them. */
export type WorkerFlags = Record<string, string>

/** One entry per worker. `hostName` begins the id where none was given. Throws INVALID_CONFIG. */
export function planWorkers(count: number, settings: SharedSettings, hostName: string): WorkerFlags[] {
  const first = settings.sshListen[0]?.port ?? 0
  const base = settings.id ?? (first === 0 ? hostName : `${hostName}-${first}`)
  const ranges = divideRange(settings.forwardPorts, count)
  const taken = new Set<string>()
  return ranges.map((range, index) => {
    const flags: WorkerFlags = {
      id: `${base}-${index + 1}`,
      sshListen: settings.sshListen.map((at) => shifted(at, index, '--ssh-listen')).join(','),
      forwardPorts: `${range.first}-${range.last}`,
    }
    if (settings.publicPort !== undefined)
      flags.publicPort = String(shiftPort(settings.publicPort, index, '--public-port'))
    if (settings.relayListen) flags.relayListen = shifted(settings.relayListen, index, '--relay-listen')
    else if (count > 1) flags.relayListen = OWN_RELAY
    if (settings.statusListen) flags.statusListen = shifted(settings.statusListen, index, '--status-listen')
    for (const address of [
      ...(flags.sshListen ?? '').split(','),
      flags.relayListen ?? '',
      flags.statusListen ?? '',
    ]) {
      if (address === '' || address.endsWith(':0')) continue
      if (taken.has(address))
        throw invalid(
          `--workers: ${address} would be needed twice; ${count} workers take ${count} consecutive ports`,
        )
      taken.add(address)
    }
    return flags
  })
}

/**
 * What to say where workers serve a master elsewhere and nobody said where their relays are: slaves of other machines cannot
 * hand visits over to them. Undefined: nothing.
 */
export function relayAdvice(
  count: number,
  { relayListen }: Pick<SharedSettings, 'relayListen'>,
  masters: readonly string[],
): string | undefined {
  const isAlone = masters.every((url) => isLoopback(new URL(url).hostname.replace(/^\[(.*)\]$/, '$1')))
  if (count === 1 || relayListen || isAlone) return undefined
  return 'workers hand visits of users over to each other alone; with --relay-listen HOST:PORT, an address of this machine, slaves of other machines reach their devices too'
}

/** Consecutive parts of the range, the first ones a port longer where it does not divide. Throws INVALID_CONFIG. */
export function divideRange(range: PortRange, parts: number): PortRange[] {
  const size = range.last - range.first + 1
  if (size < parts)
    throw invalid(
      `--forward-ports: ${range.first}-${range.last} has fewer ports than the ${parts} workers need`,
    )
  const length = Math.floor(size / parts)
  const longer = size % parts
  return Array.from({ length: parts }, (_, index) => {
    const first = range.first + index * length + Math.min(index, longer)
    return { first, last: first + length - 1 + (index < longer ? 1 : 0) }
  })
}

/** Port 0 stays 0: each worker gets a free one of its own. */
function shiftPort(port: number, by: number, flag: string): number {
  if (port === 0) return 0
  if (port + by > 65_535)
    throw invalid(`${flag}: worker ${by + 1} would need port ${port + by}, the last is 65535`)
  return port + by
}

function shifted(at: HostPort, by: number, flag: string): string {
  return formatHostPort(at.host, shiftPort(at.port, by, flag))
}

function invalid(problem: string): SshoalError {
  return new SshoalError('INVALID_CONFIG', problem)
}
