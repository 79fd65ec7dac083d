// Gets the programs that are measured and those that make load: Debian's packages, what is compiled here, and our build,
// frozen, so that whoever builds meanwhile changes nothing.
import { cpSync, existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'

import { benchFolder, cacheFolder, rootFolder } from './folders.ts'
import { run } from './process.ts'

const PACKAGES: Record<string, string> = {
  'openssh-server': '/usr/sbin/sshd',
  'openssh-client': '/usr/bin/ssh',
  'dropbear-bin': '/usr/sbin/dropbear',
  'golang-go': '/usr/bin/go',
  'golang-golang-x-crypto-dev': '/usr/share/gocode/src/golang.org/x/crypto/ssh/server.go',
  'golang-github-gliderlabs-ssh-dev': '/usr/share/gocode/src/github.com/gliderlabs/ssh/server.go',
}
const GO_PROGRAMS = ['load/devices', 'load/visits', 'peers/goserver']

export const programs = {
  devices: join(cacheFolder, 'devices'),
  visits: join(cacheFolder, 'visits'),
  goServer: join(cacheFolder, 'goserver'),
  ssh2Server: join(benchFolder, 'peers/ssh2-server.mjs'),
  sshoal: join(cacheFolder, 'build/dist/sshoal.mjs'),
}

export async function installPackages(say: (text: string) => void): Promise<void> {
  const missing = Object.entries(PACKAGES).filter(([, file]) => !existsSync(file))
  if (missing.length === 0) return
  const names = missing.map(([name]) => name)
  if (process.getuid?.() !== 0) throw new Error(`run this first: apt-get install ${names.join(' ')}`)
  say(`installing ${names.join(' ')}`)
  const install = ['install', '-y', '--no-install-recommends', ...names]
  await run('apt-get', install).catch(async () => {
    await run('apt-get', ['update'])
    await run('apt-get', install)
  })
}

export async function compile(say: (text: string) => void): Promise<void> {
  mkdirSync(cacheFolder, { recursive: true })
  say('compiling')
  await Promise.all(
    GO_PROGRAMS.map((folder) =>
      run('go', ['build', '-o', cacheFolder, `./${folder}`], {
        workingFolder: benchFolder,
        environment: { GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOCACHE: join(cacheFolder, 'go') },
      }),
    ),
  )
  await run('node', ['scripts/build.mjs'], { workingFolder: rootFolder })
  freeze(join(cacheFolder, 'build'))
}

/** Copies the build to `folder`; it finds its packages where it did before. */
export function freeze(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  cpSync(join(rootFolder, 'dist'), join(folder, 'dist'), { recursive: true })
  symlinkSync(join(rootFolder, 'node_modules'), join(folder, 'node_modules'))
}
