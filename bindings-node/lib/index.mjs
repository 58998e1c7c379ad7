// What `import … from 'leakpool'` gives: the names of index.js.
import leakpool from './index.js'

export default leakpool
export const {
  Pool,
  LeakDetectingPool,
  ProductionPool,
  Client,
  DatabaseError,
  LeakpoolError,
  Result,
  TypeOverrides,
  types,
  defaults,
  escapeIdentifier,
  escapeLiteral,
  setLogLevel,
} = leakpool
