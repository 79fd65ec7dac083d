// One configurable setting: how its text is read, what it may be, what it is when nobody says it.
// A role's settings are a record of options; flags, environment names, help and documentation follow from it.
import { AddressSet, parseHostPort, type HostPort } from './address.ts'
import { formatDuration, parseDuration } from './duration.ts'
import { SshoalError } from './sshoal-error.ts'

export interface Option<T> {
  describe: string
  /** What stands for the value in help, e.g. `HOST:PORT`; undefined for a switch. */
  placeholder: string | undefined
  /** The default as a person would write it; undefined: none. */
  shown: string | undefined
  fallback: T
  /** True: may be given several times, and with commas in the environment. */
  list: boolean
  /** True: also read from a file (`--token-file`), never shown. */
  secret: boolean
  /** Throws SshoalError. */
  read(texts: string[]): T
}

interface Common {
  describe: string
  placeholder?: string
}

function single<T>(common: Common, placeholder: string, parse: (text: string) => T) {
  function build<D>(fallback: D, shown: string | undefined): Option<T | D> {
    return {
      describe: common.describe,
      placeholder: common.placeholder ?? placeholder,
      shown,
      fallback,
      list: false,
      secret: false,
      read: (texts) => parse(texts.at(-1) ?? ''),
    }
  }
  return build
}

function many<T>(
  common: Common,
  placeholder: string,
  fallback: string[],
  parse: (text: string) => T,
): Option<T[]> {
  return {
    describe: common.describe,
    placeholder: common.placeholder ?? placeholder,
    shown: fallback.length > 0 ? fallback.join(',') : undefined,
    fallback: fallback.map(parse),
    list: true,
    secret: false,
    read: (texts) =>
      texts
        .flatMap((text) => text.split(',').map((part) => part.trim()))
        .filter((text) => text !== '')
        .map(parse),
  }
}

function readInteger({ minimum = -Infinity, maximum = Infinity }: { minimum?: number; maximum?: number }) {
  return (text: string): number => {
    const value = Number(text)
    if (!/^-?\d+$/.test(text)) throw new SshoalError('INVALID_VALUE', `"${text}" is not a whole number`)
    if (value < minimum) throw new SshoalError('INVALID_VALUE', `"${text}" must be >= ${minimum}`)
    if (value > maximum) throw new SshoalError('INVALID_VALUE', `"${text}" must be <= ${maximum}`)
    return value
  }
}

/** An inclusive range of TCP ports. */
export interface PortRange {
  first: number
  last: number
}

function readPortRange(text: string): PortRange {
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(text)
  const range = { first: Number(match?.[1]), last: Number(match?.[2]) }
  if (!match || range.first < 1 || range.last > 65_535 || range.first > range.last)
    throw new SshoalError(
      'INVALID_VALUE',
      `"${text}" is not a port range: write FIRST-LAST, such as 20000-25000`,
    )
  return range
}

function readUrl(protocols: string[]): (text: string) => string {
  return (text) => {
    if (!URL.canParse(text) || !protocols.includes(new URL(text).protocol))
      throw new SshoalError(
        'INVALID_VALUE',
        `"${text}" is not a URL with ${protocols.map((p) => `${p}//`).join(' or ')}`,
      )
    return text.replace(/\/+$/, '')
  }
}

function readText(text: string): string {
  if (text === '') throw new SshoalError('INVALID_VALUE', 'the value is empty')
  return text
}

const readDuration = (bounds: { minimum?: number; maximum?: number }) => (text: string) => {
  const ms = parseDuration(text)
  if (ms < (bounds.minimum ?? 0))
    throw new SshoalError('INVALID_VALUE', `"${text}" is less than ${formatDuration(bounds.minimum ?? 0)}`)
  if (ms > (bounds.maximum ?? Infinity))
    throw new SshoalError('INVALID_VALUE', `"${text}" is more than ${formatDuration(bounds.maximum ?? 0)}`)
  return ms
}

/** The builders; each names its unit. Those without a default yield `undefined` when nobody says a value. */
export const option = {
  text: (common: Common & { fallback?: string }): Option<string | undefined> =>
    single(common, 'TEXT', readText)(common.fallback, common.fallback),
  textOr: (common: Common & { fallback: string }): Option<string> =>
    single(common, 'TEXT', readText)(common.fallback, common.fallback),
  secret: (common: Common): Option<string | undefined> => ({
    ...single(common, 'SECRET', readText)(undefined, undefined),
    secret: true,
  }),
  path: (common: Common): Option<string | undefined> =>
    single(common, 'FILE', readText)(undefined, undefined),
  pathOr: (common: Common & { fallback: string }): Option<string> =>
    single(common, 'DIR', readText)(common.fallback, common.fallback),
  integer: (common: Common & { minimum?: number; maximum?: number; fallback: number }): Option<number> =>
    single(common, 'N', readInteger(common))(common.fallback, String(common.fallback)),
  integerOrNone: (common: Common & { minimum?: number; maximum?: number }): Option<number | undefined> =>
    single(common, 'N', readInteger(common))(undefined, undefined),
  /** Milliseconds. */
  duration: (common: Common & { minimum?: number; maximum?: number; fallback: string }): Option<number> =>
    single(common, 'DURATION', readDuration(common))(parseDuration(common.fallback), common.fallback),
  choice: <T extends string>(common: Common & { values: readonly T[]; fallback: T }): Option<T> =>
    single(common, common.values.join('|'), (text): T => {
      const value = common.values.find((candidate) => candidate === text)
      if (value === undefined)
        throw new SshoalError('INVALID_VALUE', `"${text}" is not one of ${common.values.join(', ')}`)
      return value
    })(common.fallback, common.fallback),
  address: (common: Common & { fallback: string }): Option<HostPort> =>
    single(common, 'HOST:PORT', parseHostPort)(parseHostPort(common.fallback), common.fallback),
  addressOrNone: (common: Common): Option<HostPort | undefined> =>
    single(common, 'HOST:PORT', parseHostPort)(undefined, undefined),
  addresses: (common: Common & { fallback: string[] }): Option<HostPort[]> =>
    many(common, 'HOST:PORT', common.fallback, parseHostPort),
  portRange: (common: Common & { fallback: string }): Option<PortRange> =>
    single(common, 'FIRST-LAST', readPortRange)(readPortRange(common.fallback), common.fallback),
  url: (common: Common & { protocols: string[]; fallback: string }): Option<string> =>
    single(common, 'URL', readUrl(common.protocols))(common.fallback, common.fallback),
  urls: (common: Common & { protocols: string[] }): Option<string[]> =>
    many(common, 'URL', [], readUrl(common.protocols)),
  texts: (common: Common & { check?: (text: string) => string }): Option<string[]> =>
    many(common, 'TEXT', [], common.check ?? readText),
  paths: (common: Common): Option<string[]> => many(common, 'FILE', [], readText),
  /** Anything else: `parse` reads the text, and throws SshoalError. */
  parsed: <T>(common: Common & { fallback: string; parse: (text: string) => T }): Option<T> =>
    single(common, 'TEXT', common.parse)(common.parse(common.fallback), common.fallback),
  parsedOrNone: <T>(common: Common & { parse: (text: string) => T }): Option<T | undefined> =>
    single(common, 'TEXT', common.parse)(undefined, undefined),
  cidrs: (common: Common): Option<string[]> =>
    many(common, 'CIDR', [], (text) => {
      AddressSet.check(text)
      return text
    }),
  toggle: (common: Common): Option<boolean> => ({
    describe: common.describe,
    placeholder: undefined,
    shown: undefined,
    fallback: false,
    list: false,
    secret: false,
    read: (texts) => {
      const text = texts.at(-1) ?? 'true'
      if (!['true', 'false', '1', '0'].includes(text))
        throw new SshoalError('INVALID_VALUE', `"${text}" is not true or false`)
      return text === 'true' || text === '1'
    },
  }),
}
