// All that a test may use from the kit.

export { entrust } from './caretaker.ts'
export { openDevice, type Device, type DeviceOptions } from './device.ts'
export { asOwner, atEnd } from './ending.ts'
export { isAlive } from './family.ts'
export { makeFolder } from './folder.ts'
export { makeDropbearKey, makeKey, makeManyKeys, type Key, type KeyType } from './key.ts'
export { createNetwork, type Network } from './netns.ts'
export { takePorts, type PortRange } from './port.ts'
export { start, type Exit, type Started } from './process.ts'
export { run, type Ran } from './run.ts'
export { startEcho, startHttp, startSilent, type Service } from './service.ts'
export { startSshd, type Sshd } from './sshd.ts'
export { openVisit, visit, visitFrom, type Address, type Visit } from './visitor.ts'
export { eventually } from './wait.ts'
export { callApi, followEvents, type Answer, type ClusterEvent, type Events } from './api.ts'
export {
  startCluster,
  type Cluster,
  type ClusterOptions,
  type ClusterView,
  type SlaveView,
  type TunnelView,
} from './cluster.ts'
export { startMaster, type Master } from './master.ts'
export { masterReady, runSshoal, slaveReady, startSshoal, type Sshoal } from './sshoal.ts'
export { startSlave, type Slave } from './slave.ts'
export { connectClient, holdTunnel, type ClientOptions, type HeldTunnel } from './client.ts'
export { makeSteeredHook, type Asked, type Reaction, type SteeredHook } from './steered-hook.ts'
