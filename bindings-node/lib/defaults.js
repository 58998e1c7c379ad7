'use strict'
// The few process-wide settings of `pg.defaults` that concern values. Options of pools have their defaults in the core
// and are not changed from here.

const types = require('./types').types

const INT4 = 23
const INT4_ARRAY = 1007
const INT8 = 20
const INT8_ARRAY = 1016
const asStrings = { one: types.getTypeParser(INT8, 'text'), many: types.getTypeParser(INT8_ARRAY, 'text') }

const defaults = {
  /** Dates given as parameters are sent in UTC instead of local time. */
  parseInputDatesAsUTC: false,
}

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

module.exports = /** @type {{ parseInputDatesAsUTC: boolean, parseInt8: boolean }} */ (defaults)
