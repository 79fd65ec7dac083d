// A real redis-server on a free port, with a folder of its own; ended with its test.
import { makeFolder } from './folder.ts'
import { takePorts } from './port.ts'
import { start, type Started } from './process.ts'

export interface RedisServer {
  port: number
  url: string
  process: Started
  /** Starts it again on the same port; its data is there as far as it was kept. */
  restart(): Promise<void>
}

/** `more`: words of redis-server's command line. With an append-only file unless told otherwise. */
export async function startRedis(more: string[] = []): Promise<RedisServer> {
  const { first: port } = await takePorts(1)
  const folder = makeFolder()
  const words = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    folder,
    '--appendonly',
    'yes',
    '--save',
    '',
    ...more,
  ]
  const launch = async (): Promise<Started> => {
    const started = start('redis-server', words)
    await started.waitForOutput(/Ready to accept connections/)
    return started
  }
  const server: RedisServer = {
    port,
    url: `redis://127.0.0.1:${port}`,
    process: await launch(),
    async restart() {
      server.process = await launch()
    },
  }
  return server
}
