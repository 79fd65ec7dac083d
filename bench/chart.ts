// Pictures as SVG text: bars that compare contenders, lines over a size. No dependencies, readable on light and dark.
const COLORS: Record<string, string> = {
  sshoal: '#1f77b4',
  before: '#9ecae1',
  go: '#2ca02c',
  ssh2: '#ff7f0e',
  sshd: '#d62728',
  dropbear: '#9467bd',
  direct: '#7f7f7f',
}
const FONT = 'font-family="sans-serif" font-size="12" fill="#808080"'

export interface Bar {
  group: string
  name: string
  value: number
}

/** Horizontal bars in groups. */
export function bars(title: string, unit: string, values: readonly Bar[]): string {
  const width = 760
  const left = 250
  const most = Math.max(...values.map(({ value }) => value))
  const lines: string[] = []
  let y = 34
  let group = ''
  for (const { group: own, name, value } of values) {
    if (own !== group) {
      group = own
      y += 8
      lines.push(`<text x="8" y="${y + 12}" ${FONT}>${escape(own)}</text>`)
    }
    const length = Math.max(1, (value / most) * (width - left - 110))
    const label = value >= 100 ? value.toFixed(0) : value.toFixed(2)
    lines.push(
      `<rect x="${left}" y="${y}" width="${length.toFixed(1)}" height="14" fill="${COLORS[name] ?? '#888'}"/>`,
      `<text x="${(left + length + 6).toFixed(1)}" y="${y + 11}" ${FONT}>${escape(name)} ${label}</text>`,
    )
    y += 18
  }
  return frame(width, y + 10, `${title} (${unit})`, lines)
}

export interface Line {
  name: string
  points: { x: number; y: number }[]
}

/** Lines over a logarithmic x axis; the y axis begins at 0. */
export function curves(title: string, unit: string, lines: readonly Line[]): string {
  const [width, height, left, bottom] = [760, 320, 70, 280]
  const points = lines.flatMap((line) => line.points)
  const xs = points.map(({ x }) => Math.log10(x))
  const [first, last] = [Math.min(...xs), Math.max(...xs)]
  const most = Math.max(...points.map(({ y }) => y)) * 1.1
  const placeX = (x: number): number =>
    left + ((Math.log10(x) - first) / (last - first || 1)) * (width - left - 170)
  const placeY = (y: number): number => bottom - (y / most) * (bottom - 40)
  const out: string[] = [
    `<path d="M${left} 40V${bottom}H${width - 160}" fill="none" stroke="#808080"/>`,
    ...[0, 0.5, 1].map(
      (share) =>
        `<text x="8" y="${placeY(most * share).toFixed(0)}" ${FONT}>${(most * share).toPrecision(3)}</text>`,
    ),
    ...[...new Set(points.map(({ x }) => x))].map(
      (x) =>
        `<text x="${(placeX(x) - 20).toFixed(0)}" y="${bottom + 18}" ${FONT}>${x.toLocaleString('en')}</text>`,
    ),
  ]
  const palette = Object.values(COLORS)
  for (const [i, { name, points: own }] of lines.entries()) {
    const color = palette[(i * 2) % palette.length] ?? '#888'
    const path = own.map(({ x, y }) => `${placeX(x).toFixed(1)},${placeY(y).toFixed(1)}`).join(' ')
    const end = own.at(-1) ?? { x: 1, y: 0 }
    out.push(
      `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="2"/>`,
      `<text x="${(placeX(end.x) + 6).toFixed(0)}" y="${placeY(end.y).toFixed(0)}" ${FONT}>${escape(name)}</text>`,
    )
  }
  return frame(width, height, `${title} (${unit})`, out)
}

function frame(width: number, height: number, title: string, lines: string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<text x="8" y="20" font-family="sans-serif" font-size="14" fill="#808080">${escape(title)}</text>`,
    ...lines,
    '</svg>',
    '',
  ].join('\n')
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
