'use strict'
// What `require('leakpool')` gives. The same names are exported by index.mjs.

const { Pool } = require('./pool')
const { Client } = require('./client')
const { DatabaseError } = require('./database-error')
const { LeakpoolError } = require('./errors')
const { Result } = require('./result')
const { types, TypeOverrides } = require('./types')
const { escapeIdentifier, escapeLiteral } = require('./escape')
const { binding } = require('./native')
const defaults = require('./defaults')

module.exports = {
  Pool,
  LeakDetectingPool: Pool,
  ProductionPool: Pool,
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
