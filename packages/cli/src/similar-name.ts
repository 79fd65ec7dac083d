// "Did you mean …?": the known name nearest to a mistyped one, or none when nothing is near.

/** Number of letters to insert, drop, change or swap (optimal string alignment distance). */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    const above = rows[i - 1] ?? []
    for (let j = 1; j <= b.length; j++) {
      const change = (above[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      let least = Math.min(change, (above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1)
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, (rows[i - 2]?.[j - 2] ?? 0) + 1)
      row.push(least)
    }
    rows.push(row)
  }
  return rows[a.length]?.[b.length] ?? Infinity
}

/** The nearest of `known`, if at most two fifths of its letters differ. */
export function similarName(wrong: string, known: readonly string[]): string | undefined {
  let best: { name: string; distance: number } | undefined
  for (const name of known) {
    const letters = distance(wrong, name)
    if (letters <= Math.max(1, Math.floor(name.length * 0.4)) && letters < (best?.distance ?? Infinity))
      best = { name, distance: letters }
  }
  return best?.name
}
