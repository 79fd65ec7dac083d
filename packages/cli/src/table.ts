// Tables for people: aligned columns without borders, headers in caps, `-` where there is nothing. Lines are cut to the
// terminal's width; where there is no terminal nothing is cut, because a program or a file gets them.

export type Cell = string | number | null | undefined

export interface Column<T> {
  header: string
  value(row: T): Cell
  /** Numbers stand at the right. */
  right?: boolean
}

/** The table's text with a newline at the end; with no rows only the header. */
export function formatTable<T>(columns: readonly Column<T>[], rows: readonly T[], width?: number): string {
  const cells = rows.map((row) => columns.map((column) => cellText(column.value(row))))
  const widths = columns.map((column, index) =>
    Math.max(column.header.length, ...cells.map((line) => line[index]?.length ?? 0)),
  )
  const lines = [columns.map(({ header }) => header.toUpperCase()), ...cells]
  return lines
    .map((line) =>
      line
        .map((text, index) =>
          columns[index]?.right ? text.padStart(widths[index] ?? 0) : text.padEnd(widths[index] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${cut(line, width)}\n`)
    .join('')
}

/** Names and values, one pair per line. */
export function formatFields(fields: readonly (readonly [name: string, value: Cell])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length))
  return fields.map(([name, value]) => `${name.padEnd(width)}  ${cellText(value)}\n`).join('')
}

function cellText(value: Cell): string {
  if (value === null || value === undefined || value === '') return '-'
  // Names and reasons come from devices: a control character must not reach the terminal (CWE-150).
  // oxlint-disable-next-line no-control-regex -- the control characters are what is looked for
  return String(value).replace(/[\u0000-\u001f\u007f-\u009f]/g, '?')
}

function cut(line: string, width: number | undefined): string {
  return width === undefined || line.length <= width ? line : `${line.slice(0, Math.max(0, width - 1))}…`
}
