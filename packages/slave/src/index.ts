export { slaveOptions, type SlaveSettings } from './options.ts'
export { loadHostKeys, type HostKeys } from './host-keys.ts'
export { startSlave, type Slave } from './start-slave.ts'
