// One event as a line for people: `12:30:01 tunnel.up device=door-7 slave=eu-1`.

export interface EventFields {
  type: string
  [field: string]: unknown
}

export function eventText(event: EventFields, { date = false } = {}): string {
  const { at, time, id: _id, type, ...fields } = event
  const when = new Date((at ?? time ?? Date.now()) as string | number)
  const known = !Number.isNaN(when.getTime())
  const clock = known ? when.toTimeString().slice(0, 8) : '-'
  const two = (value: number): string => String(value).padStart(2, '0')
  const day = known ? `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())} ` : ''
  return [`${date ? day : ''}${clock}`, type, ...fieldWords(fields)].join(' ')
}

/** What is nothing is left out; what is not one word is written as JSON. */
function fieldWords(fields: Record<string, unknown>): string[] {
  return Object.entries(fields)
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => `${name}=${typeof value === 'string' && WORD.test(value) ? value : json(value)}`)
}

const WORD = /^[\u0021-\u007e\u00a1-\uffff]+$/

/** JSON escapes the control characters below 0x20; a terminal obeys those above 0x7e as well (CWE-150). */
function json(value: unknown): string {
  return JSON.stringify(value).replace(/[\u007f-\u009f]/g, '?')
}
