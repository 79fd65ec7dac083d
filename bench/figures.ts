// What was measured: values of several rounds under (work, contender, metric). A figure is their median; a ratio compares
// figures of one run.
export interface Figure {
  /** What `--only` calls it. */
  part: string
  work: string
  contender: string
  metric: string
  unit: string
  /** One for each round, in their order. */
  values: number[]
}

export class Figures {
  readonly #byName = new Map<string, Figure>()
  /** Of which part of the bench what is added now is. */
  part = ''

  add(work: string, contender: string, metric: string, unit: string, value: number): void {
    const name = [work, contender, metric].join('\0')
    const figure = this.#byName.get(name) ?? { part: this.part, work, contender, metric, unit, values: [] }
    figure.values.push(value)
    this.#byName.set(name, figure)
  }

  all(): Figure[] {
    return [...this.#byName.values()]
  }

  /** The median; undefined: not measured. */
  get(work: string, contender: string, metric: string): number | undefined {
    const figure = this.#byName.get([work, contender, metric].join('\0'))
    return figure && median(figure.values)
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? NaN)) / 2
}

/** Half the distance between the quartiles, as a share of the median. */
export function spread(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))] ?? NaN
  return (at(0.75) - at(0.25)) / 2 / median(sorted)
}
