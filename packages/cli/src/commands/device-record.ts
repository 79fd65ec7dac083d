// What an operator may say of a device, as flags of `add` and `set` and as the fields that REST takes.
import { option, parseDuration, SshoalError, type Values } from '@sshoal/shared'

export const recordOptions = {
  name: option.text({ describe: 'name for people' }),
  mac: option.text({ describe: 'hardware address, to find it by', placeholder: 'MAC' }),
  region: option.text({ describe: 'region it belongs to', placeholder: 'NAME' }),
  port: option.texts({
    describe: 'fixed port of its first bound forward, of its second, … (repeatable)',
    placeholder: 'PORT',
    check: checkPort,
  }),
  keepalive: option.text({
    describe: 'how long its connection may be silent, such as 60s; 0: never asked',
    placeholder: 'DURATION',
  }),
}

/** The fields of a record that were given, as REST takes them. */
export function recordFields(values: Values<typeof recordOptions>): Record<string, unknown> {
  const { name, mac, region, keepalive } = values
  if (keepalive !== undefined) parseDuration(keepalive)
  const ports = values.port.length > 0 ? values.port.map(Number) : undefined
  return { name, mac, region, ports, keepalive }
}

function checkPort(text: string): string {
  if (!/^\d{1,5}$/.test(text) || Number(text) < 1 || Number(text) > 65_535)
    throw new SshoalError('INVALID_VALUE', `"${text}" is not a port (1 to 65535)`)
  return text
}
