// How loud a long-running command is.
import { option } from '@sshoal/shared'

export const logOptions = {
  logLevel: option.choice({
    describe: 'least important log lines that are written',
    values: ['trace', 'debug', 'info', 'warn', 'error'] as const,
    fallback: 'info',
  }),
}
