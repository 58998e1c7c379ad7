'use strict'
// What the server says went wrong (or wants to be noticed), with pg's names for its fields.

/**
 * pg's property for each field's letter (PostgreSQL manual, "Error and Notice Message Fields"), in pg's order.
 *
 * @type {[string, string][]}
 */
const FIELDS = [
  ['severity', 'S'],
  ['code', 'C'],
  ['detail', 'D'],
  ['hint', 'H'],
  ['position', 'P'],
  ['internalPosition', 'p'],
  ['internalQuery', 'q'],
  ['where', 'W'],
  ['schema', 's'],
  ['table', 't'],
  ['column', 'c'],
  ['dataType', 'd'],
  ['constraint', 'n'],
  ['file', 'F'],
  ['line', 'L'],
  ['routine', 'R'],
]

/**
 * @param {any} target
 * @param {Record<string, string>} fields the texts by letter
 */
function assign(target, fields) {
  for (const [name, letter] of FIELDS) target[name] = fields[letter]
  return target
}

/**
 * The length of the message that the fields came in.
 *
 * @param {Record<string, string>} fields
 */
function messageLength(fields) {
  return Object.values(fields).reduce((sum, text) => sum + Buffer.byteLength(text) + 2, 5)
}

/** An error of the server. */
class DatabaseError extends Error {
  /**
   * @param {string} message
   * @param {number} length of the server's message, in bytes
   * @param {string} name
   */
  constructor(message, length, name) {
    super(message)
    this.length = length
    this.name = name
  }

  /**
   * @param {Record<string, string>} fields the texts by letter
   * @returns {DatabaseError}
   */
  static from(fields) {
    return assign(new DatabaseError(fields.M, messageLength(fields), 'error'), fields)
  }
}

/** What a client's event `notice` is given. */
class NoticeMessage {
  /** @param {Record<string, string>} fields the texts by letter */
  constructor(fields) {
    this.length = messageLength(fields)
    this.message = fields.M
    this.name = 'notice'
    assign(this, fields)
  }
}

module.exports = { DatabaseError, NoticeMessage }
