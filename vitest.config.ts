import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

// `test/run` adds up both projects from a report of each; it names the file, so that `npm run check` stays as is.
const report = process.env.TEST_REPORT

// Each of these has the machine to itself, because it measures memory, descriptors or time, or floods. All others wait
// more than they compute and run four at a time, a new file too.
const alone = ['descriptors', 'lease-capacity', 'limits', 'limits-memory', 'restart'].map(
  (name) => `test/e2e/${name}.test.ts`,
)

// More than twice as long as others: one that begins late is waited for by an idle machine.
const long = [
  'failure-processes',
  'leak',
  'hosts',
  'first-readme',
  'store-verbs',
  'lease-failures',
  'first-run',
]

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const found = long.findIndex((name) => moduleId.endsWith(`/test/e2e/${name}.test.ts`))
      return found < 0 ? long.length : found
    }
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b))
  }
}

const endToEnd = {
  // The command under test is the production build: it starts in a third of the time.
  globalSetup: ['test/kit/build.ts'],
  // Long enough for a machine with ten times as much to do; who is done goes on at once.
  testTimeout: 120_000,
  hookTimeout: 120_000,
}

// `unit` runs in two processes and needs nothing but npm; `e2e` and then `e2e-alone` drive real clients and servers.
export default defineConfig({
  test: {
    sequence: { sequencer: LongFirst },
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['packages/*/test/**/*.test.ts'],
          // None takes more than a few seconds alone, but beside much other work some took thirty.
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // Loading fastify, lmdb and ssh2 anew for each file took two thirds of the time.
          isolate: false,
          maxWorkers: 2,
        },
      },
      {
        test: {
          ...endToEnd,
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          exclude: alone,
          maxWorkers: 4,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...endToEnd,
          name: 'e2e-alone',
          include: alone,
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
