// As many malformed packets as are too many for every check, in a process of their own.
import { describeFuzz } from '../../packages/slave/test/ssh2/fuzz-suite.ts'

describeFuzz(300, 100)
