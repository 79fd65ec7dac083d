// The version of the product, as `sshoal --version` prints it.
import manifest from '../package.json' with { type: 'json' }

export const version = manifest.version
