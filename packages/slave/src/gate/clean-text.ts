// Text of others on its way to a terminal: what a user typed, and names that an admin chose, must not steer it.

/** Without control characters (C0, DEL, C1), line separators and characters that turn the direction of writing. */
export function cleanText(text: string, mostCharacters = 300): string {
  const clean = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?')
  return clean.length > mostCharacters ? `${clean.slice(0, mostCharacters)}…` : clean
}
