// The roles as the commands see them: their options and how they start. `main` hands in the real ones of the master's
// and the slave's packages; tests hand in their own.
import type { Log, Options, Values } from '@sshoal/shared'

export interface RunningMaster {
  url: string
  /** Where slaves of this machine link: plain HTTP on loopback also where `url` is TLS, whose names need not fit loopback. */
  linkUrl: string
  dataDir: string
  adminTokenFile: string
  slaveTokenFile: string
  slaveToken: string
  close(): Promise<void>
  reload(): Promise<void>
}

/** What is known of a slave that is up, in this process or another. */
export interface ReadySlave {
  id: string
  host: string
  sshPorts: number[]
}

export interface RunningSlave extends ReadySlave {
  close(options?: { drainMs: number }): Promise<void>
  reload(): Promise<void>
}

export interface Roles {
  masterOptions: Options
  slaveOptions: Options
  startMaster(values: Values<Options>, deps: { log: Log; localLink?: boolean }): Promise<RunningMaster>
  startSlave(
    values: Values<Options>,
    deps: { log: Log; readToken?(): string | undefined },
  ): Promise<RunningSlave>
}
