'use strict'
// How a column's values cross from the addon. Where the parser of a type is the one of pg-types itself, the addon gives
// the finished number, date or bytes instead of the text that this parser would get, which is the same value for much
// less work; every other column crosses as its text (or its bytes, if it came in binary) and its parser is called.

const { types } = require('./types')
// @ts-ignore it has no declarations
const textParsers = require('pg-types/lib/textParsers')

/** The numbers are those of `Kind` in src/rows.rs, but for PARSED, which is a TEXT to the addon. */
const TEXT = 0
const INT = 1
const UNSIGNED = 2
const DOUBLE = 3
const BOOL = 4
const INSTANT = 5
const CLOCK = 6
const DATE = 7
const HEX = 8
const RAW = 9
const PARSED = 10

/** What pg-types gives for a type that it does not know: the text itself. */
const noParse = types.getTypeParser(0, 'none')

/**
 * pg-types' own parsers, whatever has been set instead of them by now.
 *
 * @type {Map<number, Function>}
 */
const originals = new Map()
textParsers.init((/** @type {number} */ oid, /** @type {Function} */ parser) => originals.set(oid, parser))

/** @type {Map<number, { parser: Function, kind: number }>} */
const finished = new Map()
const inKind = {
  // int8: pg-types gives the text as it is.
  [TEXT]: [20],
  [INT]: [21, 23],
  [UNSIGNED]: [26],
  [DOUBLE]: [700, 701],
  [BOOL]: [16],
  [INSTANT]: [1184],
  [CLOCK]: [1114],
  [DATE]: [1082],
  [HEX]: [17],
}
for (const [kind, oids] of Object.entries(inKind)) {
  for (const oid of oids) {
    const parser = originals.get(oid)
    if (parser) finished.set(oid, { parser, kind: Number(kind) })
  }
}

/**
 * How a column of this type crosses, given its parser.
 *
 * @param {number} oid
 * @param {boolean} binary
 * @param {Function} parser
 */
function kindOf(oid, binary, parser) {
  if (binary) return RAW
  if (parser === noParse) return TEXT
  const known = finished.get(oid)
  return known !== undefined && known.parser === parser ? known.kind : PARSED
}

/**
 * What the addon is asked for.
 *
 * @param {number} kind
 */
function ofAddon(kind) {
  return kind === PARSED ? TEXT : kind
}

module.exports = { TEXT, INT, UNSIGNED, DOUBLE, BOOL, INSTANT, CLOCK, DATE, HEX, RAW, PARSED, kindOf, ofAddon }
