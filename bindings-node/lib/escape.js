'use strict'
// Quoting of identifiers and literals for those who put SQL together themselves, by the rules of pg's functions of the
// same names.

/**
 * @param {unknown} text
 * @param {string} what
 * @returns {asserts text is string}
 */
function mustBeText(text, what) {
  if (typeof text !== 'string') {
    const given = text === null ? 'null' : typeof text
    throw new TypeError(`${what} takes a string, not ${given}`)
  }
}

/**
 * @param {string} name
 * @returns {string} the name as a quoted identifier
 */
function escapeIdentifier(name) {
  mustBeText(name, 'escapeIdentifier')
  return '"' + name.replaceAll('"', '""') + '"'
}

/**
 * A backslash makes it an escape string (` E'…'`), which means the same whatever `standard_conforming_strings` says.
 * As in pg, what is no string becomes the empty literal.
 *
 * @param {string} text
 * @returns {string} the text as a literal
 */
function escapeLiteral(text) {
  if (typeof text !== 'string') return "''"
  const quoted = text.replaceAll("'", "''")
  return quoted.includes('\\') ? ` E'${quoted.replaceAll('\\', '\\\\')}'` : `'${quoted}'`
}

module.exports = { escapeIdentifier, escapeLiteral }
