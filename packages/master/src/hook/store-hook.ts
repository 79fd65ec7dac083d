// The default hook: a key is the device that the registry says it is. The caching is the cluster's, not ours.
import { formatDuration } from '@sshoal/shared'

import type { Device } from '../registry/device.ts'
import type { Registry } from '../registry/registry.ts'
import { HookRefusal } from './hook-refusal.ts'
import type { Hook, HookAnswer, HookResult } from './hook.ts'

export function storeHook(registry: Pick<Registry, 'byFingerprint'>): Hook {
  return {
    name: 'store',
    validate_device: async (_publicKey, context): Promise<HookResult> =>
      choose(await registry.byFingerprint(context.fingerprint), context.username),
    reload: async () => {},
    close: async () => {},
  }
}

/** A key that is in several projects says which by its login name: `anything+project`. */
function choose(devices: Device[], username: string): HookResult {
  const [only, another] = devices
  if (!only) return undefined
  if (!another) return answerOf(only)
  const project = username.slice(username.lastIndexOf('+') + 1)
  const chosen = username.includes('+') ? devices.find((device) => device.project === project) : undefined
  return chosen
    ? answerOf(chosen)
    : new HookRefusal('PROJECT_NEEDED', 'this key is known in several projects; log in as name+project')
}

function answerOf(device: Device): HookAnswer {
  return {
    client_key: device.id,
    project: device.project,
    ...(device.ports === undefined ? {} : { ports: device.ports }),
    ...(device.region === undefined ? {} : { region: device.region }),
    ...(device.keepaliveMs === undefined ? {} : { keepalive: formatDuration(device.keepaliveMs) }),
    ...(device.name === undefined ? {} : { name: device.name }),
    ...(device.mac === undefined ? {} : { mac: device.mac }),
  }
}
