// MAC addresses as alias of a device: one spelling inside, every common one outside.
import { SshoalError } from '@sshoal/shared'

/** `00:13:48:02:6A:FE`, `00-13-48-02-6a-fe`, `0013.4802.6AFE` and `001348026AFE` are `001348026afe`; undefined: none of these. */
export function readMac(text: string): string | undefined {
  const plain = /^[0-9a-f]{12}$/i
  const pairs = /^[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}$/i
  const quads = /^[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}$/i
  if (![plain, pairs, quads].some((form) => form.test(text))) return undefined
  return text.replace(/[:.-]/g, '').toLowerCase()
}

/** Throws INVALID_MAC. */
export function parseMac(text: string): string {
  const mac = readMac(text.trim())
  if (mac === undefined)
    throw new SshoalError(
      'INVALID_MAC',
      `"${text.slice(0, 60)}" is not a MAC address: write 12 hex digits, such as 00:13:48:02:6a:fe`,
    )
  return mac
}
