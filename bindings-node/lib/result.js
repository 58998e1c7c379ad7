'use strict'
// What a query resolves to, in pg's shape: ORMs read these properties by name.

/** One column of a result, as RowDescription tells it. */
class Field {
  /**
   * @param {string} name
   * @param {number} tableID
   * @param {number} columnID
   * @param {number} dataTypeID
   * @param {number} dataTypeSize
   * @param {number} dataTypeModifier
   * @param {'text' | 'binary'} format
   */
  constructor(name, tableID, columnID, dataTypeID, dataTypeSize, dataTypeModifier, format) {
    this.name = name
    this.tableID = tableID
    this.columnID = columnID
    this.dataTypeID = dataTypeID
    this.dataTypeSize = dataTypeSize
    this.dataTypeModifier = dataTypeModifier
    this.format = format
  }
}

/** One result: its rows and what the command's tag says. */
class Result {
  /**
   * @param {string | undefined} rowMode
   * @param {{ getTypeParser: Function } | undefined} types
   */
  constructor(rowMode, types) {
    /** @type {string | null} */
    this.command = null
    /** @type {number | null} */
    this.rowCount = null
    /** @type {number | null} */
    this.oid = null
    /** @type {any[]} */
    this.rows = []
    /** @type {Field[]} */
    this.fields = []
    /** @type {Function[] | undefined} */
    this._parsers = undefined
    this._types = types
    this.RowCtor = null
    this.rowAsArray = rowMode === 'array'
  }

  /** @param {any} row */
  addRow(row) {
    this.rows.push(row)
  }

  /**
   * Takes command, row count and OID from a command's tag: `SELECT 3`, `INSERT 0 1`, `CREATE TABLE`.
   *
   * @param {string} tag
   */
  setTag(tag) {
    const end = tag.indexOf(' ')
    if (end < 0) {
      this.command = tag
      return
    }
    this.command = tag.slice(0, end)
    const last = tag.lastIndexOf(' ')
    const count = digits(tag, last + 1)
    if (count === null) return
    if (last === end) {
      this.rowCount = count
    } else {
      const oid = digits(tag.slice(0, last), end + 1)
      if (oid === null) return
      this.oid = oid
      this.rowCount = count
    }
  }
}

/**
 * @param {string} text
 * @param {number} from
 */
function digits(text, from) {
  if (from >= text.length) return null
  let number = 0
  for (let i = from; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return null
    number = number * 10 + digit
  }
  return number
}

module.exports = { Result, Field }
