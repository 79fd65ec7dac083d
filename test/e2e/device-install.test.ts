// What the device script writes when it is installed, what it says to wrong flags, and that its service files
// are what it installs.

import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

import { describe, expect, test } from 'vitest'

import { deviceScript, runDeviceScript } from '../kit/device-script.ts'
import { makeDropbearKey, makeFolder, makeKey, run } from '../kit/index.ts'

const shells = ['dash', 'ash'] as const
const beside = (name: string): string => readFileSync(join(dirname(deviceScript), name), 'utf8')

/** All files below a folder: path to text, or to `-> target` for a link. */
function tree(folder: string, under = ''): Record<string, string> {
  return Object.fromEntries(
    readdirSync(join(folder, under)).flatMap((name) => {
      const path = `${under}/${name}`
      const stat = lstatSync(join(folder, path))
      if (stat.isDirectory()) return Object.entries(tree(folder, path))
      if (stat.isSymbolicLink()) return [[path, `-> ${readlinkSync(join(folder, path))}`]]
      return [[path, readFileSync(join(folder, path), 'utf8')]]
    }),
  )
}

function makeRoot(...files: string[]): string {
  const root = makeFolder()
  for (const file of files) {
    mkdirSync(join(root, dirname(file)), { recursive: true })
    writeFileSync(join(root, file), '')
  }
  return root
}

const settings = ['--master', 'https://a.test', '--master', 'https://b.test/x/', '--region', 'eu']

describe.each(shells)('under %s, into a root folder', (shell) => {
  test('a systemd machine gets program, configuration and an enabled unit, and loses them again', async () => {
    const root = makeRoot('etc/systemd/system/other.service')
    const known = join(makeFolder(), 'hosts')
    writeFileSync(known, '* ssh-ed25519 AAAA\n')
    const args = ['install', '--root', root, ...settings, '--known-hosts', known, '--forward=0:localhost:80']
    expect(await runDeviceScript(args, { shell })).toMatchObject({ status: 0, stderr: '' })
    const config = `# sshoal-device: one \`name = value\` a line; \`sshoal-device help\` lists the names.
master = https://a.test
master = https://b.test/x
user = device
forward = 0:localhost:80
keepalive = 30
region = eu
known-hosts = /etc/sshoal-device/known_hosts
`
    expect(tree(root)).toEqual({
      '/etc/sshoal-device.conf': config,
      '/etc/sshoal-device/known_hosts': '* ssh-ed25519 AAAA\n',
      '/etc/systemd/system/multi-user.target.wants/sshoal-device.service': '-> ../sshoal-device.service',
      '/etc/systemd/system/other.service': '',
      '/etc/systemd/system/sshoal-device.service': beside('sshoal-device.service'),
      '/usr/local/sbin/sshoal-device': readFileSync(deviceScript, 'utf8'),
    })
    expect(statSync(join(root, 'usr/local/sbin/sshoal-device')).mode & 0o777).toBe(0o755)
    expect(statSync(join(root, 'etc/sshoal-device.conf')).mode & 0o777).toBe(0o600)

    // Once more without options keeps the configuration; with one it changes that one.
    writeFileSync(join(root, 'etc/sshoal-device.conf'), `# mine\n${config}`)
    expect(await runDeviceScript(['install', `--root=${root}`], { shell })).toMatchObject({ status: 0 })
    expect(readFileSync(join(root, 'etc/sshoal-device.conf'), 'utf8')).toBe(`# mine\n${config}`)
    await runDeviceScript(['install', `--root=${root}`, '--region', 'us'], { shell })
    expect(readFileSync(join(root, 'etc/sshoal-device.conf'), 'utf8')).toBe(config.replace('= eu', '= us'))

    const gone = await runDeviceScript(['uninstall'], { shell, env: { DESTDIR: root } })
    expect(gone).toMatchObject({
      status: 0,
      stderr: '',
      stdout: expect.stringContaining('--purge removes it'),
    })
    expect(Object.keys(tree(root))).toEqual([
      '/etc/sshoal-device/known_hosts',
      '/etc/sshoal-device.conf',
      '/etc/systemd/system/other.service',
    ])
    await runDeviceScript(['uninstall', '--purge', '--root', root], { shell })
    expect(Object.keys(tree(root))).toEqual(['/etc/systemd/system/other.service'])
  })

  test('an OpenWrt router gets an init script, enabled, and all of it survives an upgrade', async () => {
    const root = makeRoot('etc/openwrt_release')
    const { status, stderr } = await runDeviceScript(['install', '--root', root, ...settings], { shell })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(tree(root)).toMatchObject({
      '/etc/init.d/sshoal-device': beside('sshoal-device.init'),
      '/etc/rc.d/S95sshoal-device': '-> ../init.d/sshoal-device',
      '/etc/rc.d/K10sshoal-device': '-> ../init.d/sshoal-device',
      '/lib/upgrade/keep.d/sshoal-device': '/etc/sshoal-device.conf\n/etc/sshoal-device/\n',
      '/usr/sbin/sshoal-device': readFileSync(deviceScript, 'utf8'),
    })
    await runDeviceScript(['uninstall', '--purge', '--root', root], { shell })
    expect(Object.keys(tree(root))).toEqual(['/etc/openwrt_release'])
  })

  test('any other machine is told the lines that start it', async () => {
    const root = makeFolder()
    const { stdout } = await runDeviceScript(['install', '--root', root, ...settings], { shell })
    expect(stdout).toContain('::respawn:/usr/local/sbin/sshoal-device run')
    expect(stdout).toContain('@reboot root /usr/local/sbin/sshoal-device run')
    expect(Object.keys(tree(root))).toEqual(['/etc/sshoal-device.conf', '/usr/local/sbin/sshoal-device'])
  })
})

// A machine of its own as far as files go: what install writes lies in memory and is gone with the command.
test.each(shells)(
  'on a running systemd machine it starts the service and shows the public key (%s)',
  async (shell) => {
    const folder = makeFolder()
    const log = join(folder, 'log')
    const systemctl = join(folder, 'systemctl')
    writeFileSync(systemctl, `#!/bin/sh\necho "$@" >>${log}\n`, { mode: 0o755 })
    const script = `
    cp /etc/passwd ${folder}
    for dir in /etc /run /var/lib /usr/local; do mount -t tmpfs none $dir; done
    cp ${folder}/passwd /etc; mkdir -p /run/systemd/system
    PATH=${folder}:$PATH
    sh=${shell === 'ash' ? '"busybox ash"' : 'dash'}
    $sh ${deviceScript} install ${settings.join(' ')} && $sh ${deviceScript} status; echo "status $?"
    cat /etc/sshoal-device.conf /etc/systemd/system/sshoal-device.service; ls -l /var/lib/sshoal-device
    $sh ${deviceScript} uninstall; ls /etc /usr/local/sbin /etc/systemd/system`.replaceAll(
      '"busybox ash"',
      `'busybox ash'`,
    )
    const { stdout, stderr } = await run('unshare', ['-m', 'bash', '-c', script])
    expect(stderr).toBe('')
    expect(stdout).toMatch(/Let the cluster know this public key:\n {2}ssh-ed25519 \S+/)
    expect(stdout).toMatch(/running: +no[^]*public key: +ssh-ed25519 [^]*status 3\n/)
    expect(stdout).toContain('master = https://b.test/x\n')
    expect(stdout).toContain('ExecStart=/usr/local/sbin/sshoal-device run\n')
    expect(stdout).toMatch(/-rw-------.* key\n/)
    expect(stdout).toMatch(/removed \/usr\/local\/sbin\/sshoal-device\n[^]*kept \/var\/lib\/sshoal-device/)
    expect(readFileSync(log, 'utf8').trimEnd().split('\n')).toEqual([
      'daemon-reload',
      'enable sshoal-device',
      'restart sshoal-device',
      'disable --now sshoal-device',
      'daemon-reload',
    ])
  },
)

test('systemd finds nothing wrong with the unit', async () => {
  const root = makeRoot('etc/systemd/system/other.service')
  await runDeviceScript(['install', '--root', root, ...settings])
  for (const unit of [
    'network-online.target',
    'multi-user.target',
    'sysinit.target',
    'basic.target',
    'shutdown.target',
  ]) {
    writeFileSync(join(root, 'etc/systemd/system', unit), `[Unit]\nDescription=${unit}\n`)
  }
  mkdirSync(join(root, 'bin'))
  writeFileSync(join(root, 'bin/kill'), '#!/bin/sh\n', { mode: 0o755 })
  const args = ['verify', '--man=no', '--generators=no', `--root=${root}`, 'sshoal-device.service']
  const { status, stdout, stderr } = await run('systemd-analyze', args)
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' })
})

test('procd is told to run it and to signal it', async () => {
  const root = makeRoot('etc/openwrt_release')
  await runDeviceScript(['install', '--root', root, ...settings])
  const stubs = ['open_instance', 'set_param', 'close_instance', 'send_signal']
  const lines = stubs.map((name) => `procd_${name}() { echo "${name} $*"; }`)
  const script = `${lines.join('\n')}\n. "$0"\nstart_service\nreload_service\necho $USE_PROCD $START $STOP\n`
  const { stdout, stderr } = await run('busybox', [
    'ash',
    '-c',
    script,
    join(root, 'etc/init.d/sshoal-device'),
  ])
  expect(stderr).toBe('')
  const said = stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.trim())
  expect(said).toEqual([
    'open_instance',
    'set_param command /usr/sbin/sshoal-device run',
    'set_param respawn 3600 5 0',
    'set_param file /etc/sshoal-device.conf',
    'set_param stderr 0',
    'close_instance',
    'send_signal sshoal-device',
    '1 95 10',
  ])
  expect(existsSync(join(root, 'usr/sbin/sshoal-device'))).toBe(true)
})

describe.each(shells)('under %s', (shell) => {
  test('wrong flags and wrong lines are named all at once, with their source', async () => {
    const config = join(makeFolder(), 'device.conf')
    writeFileSync(config, '# a comment\n\nmaster = ftp://a.test\nregoin = eu\nno assignment\n  user  =  pi\n')
    const args = [
      'run',
      '--config',
      config,
      '--forward',
      '22',
      '--keepalive=soon',
      '--port',
      '0',
      '--colour',
      'red',
    ]
    const { status, stderr } = await runDeviceScript(
      [...args, '--user=-x', 'extra', '--ca', '/no/such', '--region'],
      { shell },
    )
    expect(status).toBe(2)
    expect(stderr.trimEnd().split('\n')).toEqual([
      `sshoal-device: ${config}:3: "ftp://a.test" is no URL of a master; it begins with https:// or http://`,
      `sshoal-device: ${config}:4: there is no option "regoin"; see sshoal-device help`,
      `sshoal-device: ${config}:5: not "name = value": no assignment`,
      'sshoal-device: --forward: "22" is no forward; write one as for ssh -R, such as 0:localhost:22',
      'sshoal-device: --keepalive: keepalive is a number of seconds, not "soon"',
      'sshoal-device: --port: "0" is no port',
      'sshoal-device: --colour: there is no option "colour"; see sshoal-device help',
      'sshoal-device: --user: "-x" is no user name',
      'sshoal-device: "extra" is not understood; see sshoal-device help',
      'sshoal-device: --region needs a value',
      `sshoal-device: no master is named; give --master URL, or write it into ${config}`,
      'sshoal-device: cannot read /no/such',
    ])
  })

  test('help lists every option, an unknown verb is refused, and so is a configuration that is not there', async () => {
    const help = await runDeviceScript(['help'], { shell })
    expect(help.status).toBe(0)
    for (const name of 'master user key forward region port known-hosts ca token-file client keepalive state config'.split(
      ' ',
    )) {
      expect(help.stdout).toContain(`--${name} `)
    }
    expect(await runDeviceScript(['begin'], { shell })).toMatchObject({ status: 2 })
    expect(await runDeviceScript(['run', '--help'], { shell })).toMatchObject({
      status: 0,
      stdout: help.stdout,
    })
    const env = { SSHOAL_DEVICE_CONFIG: '/no/such.conf' }
    const missing = await runDeviceScript(['run', '--master', 'https://a.test'], { shell, env })
    expect(missing).toMatchObject({ status: 2, stderr: 'sshoal-device: there is no file /no/such.conf\n' })
  })

  test('the configuration file says what the flags say', async () => {
    const folder = makeFolder()
    const config = join(folder, 'device.conf')
    const lines = ['master = https://127.0.0.1:1', `state = ${folder}/state`, 'region=eu', 'keepalive = 60']
    writeFileSync(config, lines.map((line) => `${line}\n`).join(''))
    const status = await runDeviceScript(['status'], { shell, env: { SSHOAL_DEVICE_CONFIG: config } })
    expect(status).toMatchObject({ status: 3, stdout: expect.stringMatching(/running: +no/) })
  })
})

test('a key that the only client here cannot read is an error that says what makes it readable', async () => {
  const folder = makeFolder()
  const run = (client: 'openssh' | 'dropbear', key: string) =>
    runDeviceScript(['run', '--master', 'https://a.test', '--state', folder, '--key', key], { client })
  const [openssh, dropbear] = [await makeKey(folder), await makeDropbearKey(folder)]
  expect(await run('dropbear', openssh.path)).toMatchObject({
    status: 1,
    stderr: expect.stringContaining(`dropbearconvert openssh dropbear ${openssh.path} NEW`),
  })
  expect(await run('openssh', dropbear.path)).toMatchObject({
    status: 1,
    stderr: expect.stringContaining(`dropbearconvert dropbear openssh ${dropbear.path} NEW`),
  })
})
