// The version of the product, as every page, log and answer shows it.
import manifest from '../package.json' with { type: 'json' }

export const version = manifest.version
