// How many entries an LRUCache may hold, said so that it grows as it is filled: with `max` it makes room for all of them
// at once, which cost a slave 70 ms and 8 MB at its start, and a master half of that.
export function atMost(entries: number): { maxSize: number; sizeCalculation: () => number } {
  return { maxSize: entries, sizeCalculation: () => 1 }
}
