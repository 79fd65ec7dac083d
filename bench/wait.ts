// Waiting for conditions.
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export { sleep }

/** Rejects when the condition does not hold within `deadlineMs`. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  deadlineMs = 30_000,
  everyMs = 20,
): Promise<void> {
  const end = performance.now() + deadlineMs
  const tried = async (): Promise<boolean> => {
    try {
      return await holds()
    } catch {
      return false // not there yet
    }
  }
  while (!(await tried())) {
    if (performance.now() > end) throw new Error(`${what}: not within ${deadlineMs} ms`)
    await sleep(everyMs)
  }
}

export function listening(port: number): Promise<void> {
  return until(`a listener on port ${port}`, () => answers(port))
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('error', () => resolve(false))
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })
}
