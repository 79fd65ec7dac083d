export {
  AddressSet,
  formatHostPort,
  isLoopback,
  parseHostPort,
  plainAddress,
  sourceOf,
  type HostPort,
} from './address.ts'
export { atMost } from './at-most.ts'
export { CLOSE, type CloseCode } from './close-codes.ts'
export { envName, flagName, loadConfig, type ConfigSources, type Options, type Values } from './config.ts'
export { formatDuration, parseDuration } from './duration.ts'
export {
  Carrier,
  MAX_REPORTS,
  OwnAnswer,
  OwnQuestion,
  PeerAnswer,
  PeerQuestion,
  ReachAnswer,
  ReachQuestion,
  UserRole,
  VisitAnswer,
  VisitGrant,
  VisitQuestion,
  VisitReport,
} from './gate-protocol.ts'
export { DEFAULT_PROJECT, holderKey, holderOfKey } from './holder.ts'
export {
  linkProof,
  masterSpeech,
  slaveSpeech,
  type MasterNoticeHandlers,
  type MasterRequestHandlers,
  type MasterWire,
  type SlaveNoticeHandlers,
  type SlaveRequestHandlers,
  type SlaveWire,
} from './link.ts'
export { createLog, silentLog, type Log, type LogOptions } from './log.ts'
export { option, type Option, type PortRange } from './option.ts'
export { Passing } from './passing.ts'
export { addressesAmong, lookupAll, onePort, type Place, type Resolve } from './place.ts'
export {
  AdmitAnswer,
  AdmitQuestion,
  Details,
  DeviceRole,
  FixedPort,
  Forward,
  Hello,
  Holder,
  Identity,
  LeaseAnswer,
  LeaseGrant,
  LeaseQuestion,
  MAX_FRAME_BYTES,
  masterRequests,
  PING_EVERY_MS,
  PROTOCOL,
  REQUEST_DEADLINE_MS,
  SILENT_AFTER_MS,
  SlaveStatus,
  SNAPSHOT_TUNNELS,
  SUBPROTOCOL,
  Tunnel,
  WhoAnswer,
  WhoQuestion,
} from './protocol.ts'
export { readRelayedVisit, type RelayedVisit } from './relayed-visit.ts'
export { errorText, SshoalError, type ErrorDetails } from './sshoal-error.ts'
export {
  fingerprintOf,
  formatPublicKeyLine,
  parsePublicKeyBlob,
  parsePublicKeyLine,
  type SshPublicKey,
} from './ssh-public-key.ts'
export { makeSshKeyPair, openSshPrivateKey, type SshKeyPair } from './ssh-key-pair.ts'
export {
  compileSpeech,
  Wire,
  type Answers,
  type CompiledSpeech,
  type Questions,
  type Speech,
  type WireOptions,
} from './wire.ts'
