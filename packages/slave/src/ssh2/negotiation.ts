import { WireReader } from '@sshoal/shared/ssh-wire'

// Reads a client's KEXINIT before ssh2 does (RFC 4253 §7.1), to say what it offered when nothing matches and to judge its
// guess. ssh2 compares the guess with the first letter of the negotiated name, so it throws every guessed packet away and
// dbclient hangs when our first name is also its own.
import { needsMac } from './algorithms.ts'
import type { Offer } from './library.ts'

/** The name-lists of a KEXINIT in the order of the message. */
export interface Proposal {
  kex: string[]
  hostKey: string[]
  cipherIn: string[]
  cipherOut: string[]
  macIn: string[]
  macOut: string[]
  compressIn: string[]
  compressOut: string[]
  /** A packet of the key exchange that the client guessed follows at once. */
  guessFollows: boolean
}

const TYPE_AND_COOKIE = 17

export function readProposal(payload: Buffer): Proposal {
  const fields = new WireReader(payload, TYPE_AND_COOKIE)
  const proposal: Proposal = {
    kex: fields.nameList(),
    hostKey: fields.nameList(),
    cipherIn: fields.nameList(),
    cipherOut: fields.nameList(),
    macIn: fields.nameList(),
    macOut: fields.nameList(),
    compressIn: fields.nameList(),
    compressOut: fields.nameList(),
    guessFollows: false,
  }
  fields.string()
  fields.string()
  proposal.guessFollows = fields.boolean()
  return proposal
}

/** Our own offer in the same shape. */
export function proposalOf(offer: Offer): Proposal {
  const { kex, serverHostKey, cs, sc } = offer.lists
  return {
    kex: kex.array,
    hostKey: serverHostKey.array,
    cipherIn: cs.cipher.array,
    cipherOut: sc.cipher.array,
    macIn: cs.mac.array,
    macOut: sc.mac.array,
    compressIn: cs.compress.array,
    compressOut: sc.compress.array,
    guessFollows: false,
  }
}

function chosen(client: string[], ours: string[]): string | undefined {
  return client.find((name) => ours.includes(name))
}

/** The first category in which client and server have nothing in common, with what the client offered there. */
export function findMismatch(
  client: Proposal,
  ours: Proposal,
): { category: string; client: string[] } | undefined {
  const common = (category: string, theirs: string[], mine: string[]) =>
    chosen(theirs, mine) === undefined ? { category, client: theirs.slice(0, 64) } : undefined
  const mac = (cipher: string | undefined, category: string, theirs: string[], mine: string[]) =>
    cipher !== undefined && needsMac(cipher) ? common(category, theirs, mine) : undefined
  return (
    common('key exchange method', client.kex, ours.kex) ??
    common('host key type', client.hostKey, ours.hostKey) ??
    common('cipher', client.cipherIn, ours.cipherIn) ??
    common('cipher', client.cipherOut, ours.cipherOut) ??
    mac(chosen(client.cipherIn, ours.cipherIn), 'MAC', client.macIn, ours.macIn) ??
    mac(chosen(client.cipherOut, ours.cipherOut), 'MAC', client.macOut, ours.macOut) ??
    common('compression', client.compressIn, ours.compressIn) ??
    common('compression', client.compressOut, ours.compressOut)
  )
}

/** A guess is right only if both sides put the same key exchange and the same host key type first (RFC 4253 §7). */
export function guessedRight(client: Proposal, ours: Proposal): boolean {
  return client.kex[0] === ours.kex[0] && client.hostKey[0] === ours.hostKey[0]
}
