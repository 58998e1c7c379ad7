// What `import … from 'leakpool'` gives: the names of index.js.
import leakpool from './index.js'

export default leakpool
export const {
  Pool,
  LeakDetectingPool,
  ProductionPool,
  LeakDetector,
  watch,
  usePg,
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
