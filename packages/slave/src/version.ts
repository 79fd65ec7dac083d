// The version of the product, as every hello, log and page shows it.
import manifest from '../package.json' with { type: 'json' }

export const version = manifest.version
