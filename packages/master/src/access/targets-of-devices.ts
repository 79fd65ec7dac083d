import type { ClaimedRecord } from '../store/store.ts'
// The step of the store to schema 2: every device of before becomes a target by itself. Names are given in the order of the
// devices' ids; nothing else is a target yet.
import { isUuid } from './name.ts'
import { deviceNames, makeDeviceTarget, putTarget, TARGET } from './target.ts'

export async function* withTargetsOfDevices(
  older: AsyncGenerator<ClaimedRecord, void>,
): AsyncGenerator<ClaimedRecord, void> {
  const taken = new Set<string>()
  const devices: Pick<ClaimedRecord, 'project' | 'id' | 'version' | 'value'>[] = []
  for await (const record of older) {
    // Those that are there: a store that was brought here, went back, and comes again.
    if (record.kind === TARGET) taken.add(`${record.project}\0${record.id}`)
    yield record
    if (record.kind !== 'device') continue
    const { project, id, version, value } = record
    const { createdAt } = value as { createdAt?: number }
    devices.push({ project, id, version, value: createdAt ?? 0 })
  }
  for (const { project, id, version, value: createdAt } of devices) {
    const isFree = (name: string): boolean => !taken.has(`${project}\0${name}`)
    const name = [...deviceNames(project, id)].find(
      (one) => isFree(one) && (!isUuid(one) || one === id.toLowerCase()),
    )
    if (name === undefined) continue
    taken.add(`${project}\0${name}`)
    const change = putTarget(makeDeviceTarget(project, id, name, createdAt as number), 'absent')
    if (change.type !== 'put') continue
    yield { ...change.ref, value: change.value, version, claims: change.claims ?? [] }
  }
}
