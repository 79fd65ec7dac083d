import { describe } from 'vitest'

import { SoloFeed } from '../../src/cluster/feed/solo-feed.ts'
import { feedSuite } from './feed-suite.ts'

describe('the feed of a master that is alone', () => feedSuite(() => new SoloFeed()))
