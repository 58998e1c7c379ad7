'use strict'
// `defaults`, as pg has them: what a pool's options are where neither they nor the environment say anything. What was
// never set here has the core's default; what cannot be kept is refused when it is set.

const types = require('./types').types

const INT4 = 23
const INT4_ARRAY = 1007
const INT8 = 20
const INT8_ARRAY = 1016
const asStrings = { one: types.getTypeParser(INT8, 'text'), many: types.getTypeParser(INT8_ARRAY, 'text') }

/** pg's own values, which mean nothing: nobody has set them. */
const UNSET = {
  host: 'localhost',
  user: process.env.USER,
  database: undefined,
  password: null,
  connectionString: undefined,
  port: 5432,
  max: 10,
  idleTimeoutMillis: 10000,
  client_encoding: '',
  ssl: false,
  sslnegotiation: undefined,
  application_name: undefined,
  fallback_application_name: undefined,
  options: undefined,
  statement_timeout: false,
  lock_timeout: false,
  idle_in_transaction_session_timeout: false,
  query_timeout: false,
  connectionTimeoutMillis: undefined,
  poolSize: undefined,
}

/** Those that pg has and leakpool's native driver cannot keep: only the values that change nothing are accepted. */
const FIXED = { rows: 0, binary: false, connect_timeout: 0, keepalives: 1, keepalives_idle: 0 }

/** @type {Record<string, any>} */
const values = { ...UNSET }
const defaults = {
  /** Dates given as parameters are sent in UTC instead of local time. */
  parseInputDatesAsUTC: false,
}

for (const name of Object.keys(UNSET)) {
  Object.defineProperty(defaults, name, {
    configurable: true,
    enumerable: true,
    get() {
      return values[name]
    },
    /** @param {unknown} value */
    set(value) {
      values[name] = value
    },
  })
}

for (const [name, only] of Object.entries(FIXED)) {
  Object.defineProperty(defaults, name, {
    configurable: true,
    enumerable: true,
    get() {
      return only
    },
    /** @param {unknown} value */
    set(value) {
      if (value === only || value === undefined || value === null) return
      const text = `defaults.${name} (${String(value)}) is not supported: leave it ${String(only)}`
      throw Object.assign(new TypeError(text), { leakpoolCode: 'unsupported', code: 'LEAKPOOL_UNSUPPORTED' })
    },
  })
}

/** What was set to something else. */
Object.defineProperty(defaults, 'changed', {
  value: () =>
    Object.entries(values).filter(
      ([name, value]) => value !== /** @type {any} */ (UNSET)[name] && value !== undefined && value !== null,
    ),
})

// int8 as numbers: exact up to 2^53 only, which is why it is not the default. An accessor, as in pg: what is read
// afterwards is what the parsers are.
Object.defineProperty(defaults, 'parseInt8', {
  configurable: true,
  enumerable: true,
  get() {
    return types.getTypeParser(INT8, 'text') !== asStrings.one
  },
  /** @param {unknown} on */
  set(on) {
    types.setTypeParser(INT8, 'text', on ? types.getTypeParser(INT4, 'text') : asStrings.one)
    types.setTypeParser(INT8_ARRAY, 'text', on ? types.getTypeParser(INT4_ARRAY, 'text') : asStrings.many)
  },
})

module.exports =
  /** @type {Record<string, any> & { parseInputDatesAsUTC: boolean, parseInt8: boolean, changed(): [string, any][] }} */ (
    defaults
  )
