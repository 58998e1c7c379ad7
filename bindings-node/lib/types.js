'use strict'
// Which function turns a value's text into what the caller gets. The parsers themselves are those of the package
// `pg-types`, in exactly the version that pg uses: the same text gives the same value, and with one copy in
// node_modules `require('pg').types.setTypeParser(…)` applies here too.

/**
 * Its own declarations know neither arrays nor the parsers' values.
 *
 * @typedef {object} PgTypes
 * @property {(oid: number, format?: string) => (value: any) => any} getTypeParser
 * @property {(oid: number, format: string | ((value: string) => any), parser?: (value: any) => any) => void} setTypeParser
 * @property {Record<string, number>} builtins
 */
const types = /** @type {PgTypes} */ (/** @type {unknown} */ (require('pg-types')))

/**
 * The parsers of one client (or of anybody else): its own first, then those below.
 */
class TypeOverrides {
  /** @param {{ getTypeParser: Function }} [below] pg-types, unless something else is given */
  constructor(below) {
    if (below != null && typeof below.getTypeParser !== 'function') {
      throw new TypeError('types must have a method getTypeParser(oid, format)')
    }
    this._types = below || types
    /** @type {Record<number, Function>} */
    this.text = {}
    /** @type {Record<number, Function>} */
    this.binary = {}
  }

  /** @param {'text' | 'binary'} format */
  getOverrides(format) {
    return format === 'text' ? this.text : format === 'binary' ? this.binary : {}
  }

  /**
   * @param {number} oid
   * @param {'text' | 'binary' | Function} format
   * @param {Function} [parser]
   */
  setTypeParser(oid, format, parser) {
    const [form, parse] = typeof format === 'function' ? ['text', format] : [format, parser]
    if (typeof parse !== 'function') throw new TypeError(`the parser of type ${oid} must be a function`)
    if (form !== 'text' && form !== 'binary') {
      throw new TypeError(`the format of a type parser is 'text' or 'binary', not ${String(form)}`)
    }
    this.getOverrides(form)[oid] = parse
  }

  /**
   * @param {number} oid
   * @param {'text' | 'binary'} [format]
   */
  getTypeParser(oid, format = 'text') {
    const own = format === 'text' ? this.text : format === 'binary' ? this.binary : undefined
    return (own && own[oid]) || this._types.getTypeParser(oid, format)
  }
}

module.exports = { types, TypeOverrides }
