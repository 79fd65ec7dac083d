// Waiting for a condition instead of for time to pass.

export interface Patience {
  /** Milliseconds until it gives up; 20,000 unless told. */
  within?: number
  /** Milliseconds between two looks; unless told 25 at first and 100 after three seconds, because looking costs the machine. */
  every?: number
  /** What is awaited, for the error: `the tunnel is listed`. */
  message?: string
  /** When it says true, waiting any longer is in vain. */
  hopeless?: () => boolean
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}

/**
 * Calls `probe` until it neither throws nor answers `false`, and answers what it answered. So both
 * `eventually(() => expect(list).toHaveLength(1))` and `eventually(() => list.find(isMine) ?? false)` work.
 */
export async function eventually<T>(
  probe: () => T | Promise<T>,
  { within = 20_000, every, message = 'the condition holds', hopeless }: Patience = {},
): Promise<Exclude<T, false>> {
  const began = performance.now()
  const end = began + within
  let failure: unknown = new Error('it was false')
  let looks = 0
  for (;;) {
    // Asked before the look, so that what came at the very end still counts.
    const lost = hopeless?.() === true
    try {
      const answer = await before(end, probe)
      if (answer !== false) return answer as Exclude<T, false>
      failure = new Error('it was false')
    } catch (thrown) {
      // A last look that was cut short knows less than the one before it.
      if (!(thrown instanceof TooLate) || looks === 0) failure = thrown
    }
    looks++
    if (lost || performance.now() >= end) {
      const last = failure instanceof Error ? failure.message : String(failure)
      const why = lost ? 'never' : `not within ${within} ms`
      throw new Error(`${why}: ${message}; last: ${last}`, { cause: failure })
    }
    await pause(every ?? Math.min(100, 25 + (performance.now() - began) / 40))
  }
}

class TooLate extends Error {}

/** A probe that never answers must not outlive the patience of who waits. */
async function before<T>(end: number, probe: () => T | Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const tooLate = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => {
        reject(new TooLate('the last look did not come back'))
      },
      Math.max(1, end - performance.now()),
    )
  })
  try {
    return await Promise.race([probe(), tooLate])
  } finally {
    clearTimeout(timer)
  }
}
