// What a command may say and ask: standard output for results, standard error for the rest, a question to a person.
// Commands get it as an argument, so that tests can stand in for the person.
import { createInterface } from 'node:readline/promises'

export interface Terminal {
  /** Writes text to standard output as it is. */
  out(text: string): void
  /** Writes text to standard error as it is. */
  err(text: string): void
  /** All of standard input. */
  read(): Promise<string>
  /** Yes or no from the person at the keyboard; never called unless `asks`. */
  confirm(question: string): Promise<boolean>
  /** A person can answer: standard input is a terminal. */
  asks: boolean
  /** Columns of standard output; undefined when it is not a terminal. */
  width: number | undefined
}

/** The terminal of this process. */
export function processTerminal(streams: {
  stdin: NodeJS.ReadStream
  stdout: NodeJS.WriteStream
  stderr: NodeJS.WriteStream
}): Terminal {
  const { stdin, stdout, stderr } = streams
  return {
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    asks: stdin.isTTY && stderr.isTTY,
    width: stdout.isTTY ? stdout.columns : undefined,
    async read() {
      const chunks: Buffer[] = []
      for await (const chunk of stdin) chunks.push(Buffer.from(chunk as Uint8Array))
      return Buffer.concat(chunks).toString('utf8')
    },
    async confirm(question) {
      const prompt = createInterface({ input: stdin, output: stderr })
      // Ctrl-D is no answer, and no answer is no.
      const ended = new Promise<string>((resolve) => prompt.once('close', () => resolve('')))
      try {
        const answer = await Promise.race([prompt.question(`${question} [y/N] `), ended])
        return /^y(es)?$/i.test(answer.trim())
      } finally {
        prompt.close()
      }
    },
  }
}
