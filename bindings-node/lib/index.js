'use strict'
// What `require('leakpool')` gives. The same names are exported by index.mjs.

const { Pool } = require('./pool')
const { Client } = require('./client')
const { DatabaseError } = require('./database-error')
const { LeakpoolError } = require('./errors')
const { Result } = require('./result')
const { types, TypeOverrides } = require('./types')
const { escapeIdentifier, escapeLiteral } = require('./escape')
const { LeakDetector, watch } = require('./detector')
const { binding } = require('./native')
const defaults = require('./defaults')
const adopted = require('./adopted')

/**
 * For bundles, whose pg nobody can find: pools are instances of this pg's Pool, too.
 * @param {any} pg
 */
function usePg(pg) {
  const Other = adopted.poolOf(pg)
  if (Other === undefined) throw new TypeError('usePg needs what `require("pg")` gives')
  if (!(Pool.prototype instanceof Other)) adopted.claim(Pool, Other)
}

module.exports = {
  Pool,
  LeakDetectingPool: Pool,
  ProductionPool: Pool,
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
  setLogLevel: binding.setLogLevel,
}
