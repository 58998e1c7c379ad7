'use strict'
// From the addon's packed rows to the objects (or arrays) that the caller gets. For each shape of a result a decoder is
// generated as source, which V8 then compiles to straight code; where generating code is forbidden (a page's or a
// process's policy), and for shapes that are seen once, the same is done by a loop.
//
// The layout is described in src/rows.rs.

const { Field } = require('./result')
const {
  TEXT,
  INT,
  UNSIGNED,
  DOUBLE,
  BOOL,
  INSTANT,
  CLOCK,
  DATE,
  HEX,
  RAW,
  PARSED,
  kindOf,
  ofAddon,
} = require('./kinds')

const HEADER = 3
const BITS = 31
/** A result with that many rows is worth a decoder of its own, even if it never comes again. */
const MANY = 64

/**
 * One column, as the addon tells it.
 *
 * @typedef {object} Column
 * @property {string} name
 * @property {number} tableID
 * @property {number} columnID
 * @property {number} dataTypeID
 * @property {number} dataTypeSize
 * @property {number} dataTypeModifier
 * @property {'text' | 'binary'} format
 *
 * @typedef {{ getTypeParser: Function }} Types
 *
 * Takes rows of the next piece out of `ints`, `doubles` and `text` and adds them to `rows`.
 * @typedef {(ints: Int32Array, doubles: Float64Array, text: string, rows: any[], parsers: Function[]) => void} Decoder
 */

/**
 * The memory through which rows cross, used over and over. A parser that is called while rows are being read could come
 * back here (by anything that delivers another result); it then gets memory of its own.
 */
class Scratch {
  constructor() {
    this.ints = new Int32Array(16 * 1024)
    this.doubles = new Float64Array(8 * 1024)
    this.taken = false
  }
}
const shared = new Scratch()

/** @returns {boolean} */
function mayGenerate() {
  try {
    return new Function('return true')()
  } catch {
    return false
  }
}
const generates = mayGenerate()

/** How the values of one shape cross and are put together, for one choice of kinds. */
class Plan {
  /**
   * @param {Column[]} columns
   * @param {number[]} kinds
   * @param {boolean} asArray
   */
  constructor(columns, kinds, asArray) {
    this.columns = columns
    this.kinds = kinds
    this.asArray = asArray
    this.forAddon = Uint8Array.from(kinds, ofAddon)
    /** @type {Decoder | undefined} */
    this.decoder = undefined
    this.uses = 0
  }

  /**
   * @param {number} rows how many there are to decode
   * @returns {Decoder}
   */
  decoderFor(rows) {
    if (this.decoder !== undefined) return this.decoder
    this.uses += 1
    if (generates && (this.uses > 1 || rows >= MANY)) {
      this.decoder = generate(this)
      return this.decoder
    }
    return (ints, doubles, text, into, parsers) => interpret(this, ints, doubles, text, into, parsers)
  }
}

/** The columns of a result, and what has been prepared for them. One for all results with the same columns. */
class Shape {
  /** @param {Column[]} columns */
  constructor(columns) {
    this.columns = columns
    /** @type {Plan[]} */
    this.plans = []
  }

  /** pg's `fields`: new ones for each result, as they are the caller's to change. */
  fields() {
    const columns = this.columns
    const fields = new Array(columns.length)
    for (let i = 0; i < columns.length; i++) {
      const c = columns[i]
      const { tableID, columnID, dataTypeID, dataTypeSize, dataTypeModifier } = c
      fields[i] = new Field(c.name, tableID, columnID, dataTypeID, dataTypeSize, dataTypeModifier, c.format)
    }
    return fields
  }

  /**
   * The parser of each column.
   *
   * @param {Types} types
   */
  parsers(types) {
    const columns = this.columns
    /** @type {Function[]} */
    const parsers = new Array(columns.length)
    for (let i = 0; i < columns.length; i++) {
      const { dataTypeID, format } = columns[i]
      const parser = types.getTypeParser(dataTypeID, format)
      if (typeof parser !== 'function') {
        throw new TypeError(`types.getTypeParser(${dataTypeID}, '${format}') gave ${typeof parser}, not a function`)
      }
      parsers[i] = parser
    }
    return parsers
  }

  /**
   * @param {Function[]} parsers
   * @param {boolean} asArray
   */
  plan(parsers, asArray) {
    const columns = this.columns
    const plans = this.plans
    next: for (let at = 0; at < plans.length; at++) {
      const plan = plans[at]
      if (plan.asArray !== asArray) continue
      const kinds = plan.kinds
      for (let i = 0; i < kinds.length; i++) {
        const column = columns[i]
        if (kindOf(column.dataTypeID, column.format === 'binary', parsers[i]) !== kinds[i]) continue next
      }
      return plan
    }
    return this.keep(
      columns.map((column, i) => kindOf(column.dataTypeID, column.format === 'binary', parsers[i])),
      asArray,
    )
  }

  /**
   * The same plan, but for one column that crosses as text.
   *
   * @param {Plan} plan
   * @param {number} column
   */
  without(plan, column) {
    const kinds = plan.kinds.slice()
    kinds[column] = PARSED
    const same = this.plans.find((p) => p.asArray === plan.asArray && p.kinds.every((kind, i) => kind === kinds[i]))
    return same ?? this.keep(kinds, plan.asArray)
  }

  /**
   * @param {number[]} kinds
   * @param {boolean} asArray
   */
  keep(kinds, asArray) {
    const plan = new Plan(this.columns, kinds, asArray)
    if (this.plans.length >= 16) this.plans.shift()
    this.plans.push(plan)
    return plan
  }
}

/** The rows of one result on their way. */
class RowReader {
  /**
   * @param {Shape} shape
   * @param {Types} types
   * @param {boolean} asArray
   */
  constructor(shape, types, asArray) {
    this.shape = shape
    this.parsers = shape.parsers(types)
    this.plan = shape.plan(this.parsers, asArray)
  }

  /**
   * Adds all rows that are there to `rows`. What a parser throws passes through.
   *
   * @param {Pick<import('../native').EventLoop, 'pack'>} loop
   * @param {number} answer
   * @param {number} result
   * @param {any[]} rows
   */
  take(loop, answer, result, rows) {
    const scratch = shared.taken ? new Scratch() : shared
    const { ints, doubles } = scratch
    scratch.taken = true
    try {
      for (;;) {
        const text = loop.pack(answer, result, this.plan.forAddon, ints, doubles)
        const failed = ints[1]
        const more = ints[2]
        if (ints[0] > 0) this.plan.decoderFor(ints[0])(ints, doubles, text, rows, this.parsers)
        if (failed >= 0) this.plan = this.shape.without(this.plan, failed)
        else if (more === 0) return
      }
    } finally {
      scratch.taken = false
    }
  }
}

// ---- the two decoders ------------------------------------------------------------------------------------------

/**
 * @param {number} kind
 * @returns {[number, number]} how many ints and doubles a value takes
 */
function sizeOf(kind) {
  if (kind === DOUBLE || kind === INSTANT) return [0, 1]
  return [kind === CLOCK ? 2 : 1, 0]
}

/**
 * @param {number} day
 * @param {number} ms milliseconds of the day
 */
function localDate(day, ms) {
  return new Date(day >> 9, ((day >> 5) & 15) - 1, day & 31, 0, 0, 0, ms)
}

/**
 * @param {Plan} plan
 * @param {Int32Array} ints
 * @param {Float64Array} doubles
 * @param {string} text
 * @param {any[]} rows
 * @param {Function[]} parsers
 */
function interpret(plan, ints, doubles, text, rows, parsers) {
  const { columns, kinds, asArray } = plan
  const masks = Math.ceil(kinds.length / BITS)
  const count = ints[0]
  let at = HEADER
  let double = 0
  let from = 0
  for (let r = 0; r < count; r++) {
    const nulls = at
    at += masks
    /** @type {any} */
    const row = asArray ? new Array(kinds.length) : {}
    for (let c = 0; c < kinds.length; c++) {
      const kind = kinds[c]
      const [a, b] = sizeOf(kind)
      let value = null
      if (kind === TEXT || kind === PARSED || kind === HEX || kind === RAW) {
        if (ints[at] >= 0) {
          value = text.substring(from, from + ints[at])
          from += ints[at]
          if (kind === HEX || kind === RAW) value = Buffer.from(value, 'latin1')
          if (kind === PARSED || kind === RAW) value = parsers[c](value)
        }
      } else if ((ints[nulls + Math.floor(c / BITS)] & (1 << (c % BITS))) === 0) {
        value = finish(kind, ints, doubles, at, double)
      }
      if (asArray) row[c] = value
      else put(row, columns[c].name, value)
      at += a
      double += b
    }
    rows.push(row)
  }
}

/**
 * @param {number} kind
 * @param {Int32Array} ints
 * @param {Float64Array} doubles
 * @param {number} at
 * @param {number} double
 */
function finish(kind, ints, doubles, at, double) {
  switch (kind) {
    case INT:
      return ints[at]
    case UNSIGNED:
      return ints[at] >>> 0
    case BOOL:
      return ints[at] !== 0
    case DOUBLE:
      return doubles[double]
    case INSTANT:
      return new Date(doubles[double])
    case CLOCK:
      return localDate(ints[at], ints[at + 1])
    case DATE:
      return localDate(ints[at], 0)
    default:
      throw new Error(`no such kind of column: ${kind}`)
  }
}

/**
 * Sets an own property, whatever its name.
 *
 * @param {any} row
 * @param {string} name
 * @param {any} value
 */
function put(row, name, value) {
  if (name === '__proto__') {
    Object.defineProperty(row, name, { value, configurable: true, enumerable: true, writable: true })
  } else {
    row[name] = value
  }
}

/**
 * A property of an object literal. `["__proto__"]` is a property like any other, `"__proto__"` would not be.
 *
 * @param {string} name
 * @param {string} value
 */
function property(name, value) {
  const literal = JSON.stringify(name)
  return name === '__proto__' ? `[${literal}]: ${value}` : `${literal}: ${value}`
}

/**
 * @param {Plan} plan
 * @returns {Decoder}
 */
function generate(plan) {
  const { columns, kinds, asArray } = plan
  const masks = Math.ceil(kinds.length / BITS)
  const lines = []
  /** @type {string[]} */
  const values = []
  let width = masks
  let height = 0
  for (let w = 0; w < masks; w++) lines.push(`const m${w} = I[i + ${w}]`)
  kinds.forEach((kind, c) => {
    const at = `I[i + ${width}]`
    const double = `D[d + ${height}]`
    const isNull = `(m${Math.floor(c / BITS)} & ${1 << (c % BITS)}) !== 0 ? null : `
    let value
    switch (kind) {
      case INT:
        value = isNull + at
        break
      case UNSIGNED:
        value = `${isNull}${at} >>> 0`
        break
      case BOOL:
        value = `${isNull}${at} !== 0`
        break
      case DOUBLE:
        value = isNull + double
        break
      case INSTANT:
        value = `${isNull}new Date(${double})`
        break
      case CLOCK:
        value = `${isNull}localDate(${at}, I[i + ${width + 1}])`
        break
      case DATE:
        value = `${isNull}localDate(${at}, 0)`
        break
      default: {
        const text = 'T.substring(p, p += l)'
        const bytes = kind === HEX || kind === RAW ? `Buffer.from(${text}, 'latin1')` : text
        const parsed = kind === PARSED || kind === RAW ? `P[${c}](${bytes})` : bytes
        value = `(l = ${at}) < 0 ? null : ${parsed}`
      }
    }
    // In the order of the columns: what a parser does may be seen.
    lines.push(`const v${c} = ${value}`)
    values.push(asArray ? `v${c}` : property(columns[c].name, `v${c}`))
    const [a, b] = sizeOf(kind)
    width += a
    height += b
  })
  const row = asArray ? `[${values.join(', ')}]` : `{ ${values.join(', ')} }`
  const source = `'use strict'
return function decode(I, D, T, R, P) {
  const n = I[0]
  let i = ${HEADER}, d = 0, p = 0, l = 0
  for (let r = 0; r < n; r++, i += ${width}, d += ${height}) {
    ${lines.join('\n    ')}
    R.push(${row})
  }
}`
  return new Function('localDate', 'Buffer', source)(localDate, Buffer)
}

module.exports = { Shape, RowReader }
