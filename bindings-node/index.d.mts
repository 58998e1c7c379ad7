// The same for ES modules: the names of index.d.ts, and all of them as the default export.
import * as leakpool from './index.js'

export * from './index.js'
export default leakpool
