// The feed of a master that is alone: there is nobody to tell and nothing to miss.
import { SshoalError } from '@sshoal/shared'

import type { ClusterFeed, FeedListener } from './cluster-feed.ts'

export class SoloFeed implements ClusterFeed {
  start(listener: FeedListener): Promise<void> {
    listener.onSnapshot({ slaves: [] })
    return Promise.resolve()
  }

  publish(): void {}

  reserve(): undefined {}

  request(_master: string, slave: string, type: string): Promise<never> {
    return Promise.reject(new SshoalError('LINK_LOST', `${type}: the slave ${slave} is not linked`))
  }

  nowMicros(): number {
    return Date.now() * 1_000
  }

  others(): [] {
    return []
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}
