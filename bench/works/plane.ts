import type { Work } from '../work.ts'
export const plane: Work = { name: 'plane', title: 'plane', async run() {} }
