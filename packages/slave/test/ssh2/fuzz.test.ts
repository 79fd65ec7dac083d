import { describeFuzz } from './fuzz-suite.ts'

// test/e2e/fuzz.test.ts goes on for longer.
describeFuzz(60, 20)
