'use strict'
// Comparing what two libraries make of the same question.

const assert = require('node:assert/strict')

/** Two invalid Dates are not equal to deepEqual. */
function comparable(value) {
  if (value instanceof Date && Number.isNaN(value.getTime())) return 'an invalid Date'
  if (Array.isArray(value)) return value.map(comparable)
  if (Object.getPrototypeOf(value ?? 0) !== Object.prototype) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, comparable(inner)]))
}

/** A result without the two libraries' own classes. */
function plain(result) {
  if (Array.isArray(result)) return result.map(plain)
  const { command, rowCount, oid, rows, fields, rowAsArray } = result
  // Each session has its own temporary tables; those of the system are the same for all.
  const columns = fields.map((field) => ({ ...field, tableID: field.tableID < 16384 ? field.tableID : 'a table' }))
  return { command, rowCount, oid, rows: comparable(rows), fields: columns, rowAsArray }
}

/** What both make of the same question: their results, or their errors. */
async function both({ theirs, ours }, ask) {
  const failed = (error) => {
    const { stack, ...fields } = error
    // Each session has its own schema for temporary tables.
    const schema = fields.schema?.replace(/^pg_temp_\d+$/, 'pg_temp')
    return { ...fields, schema, name: error.name, message: error.message }
  }
  const outcome = async (client) => {
    try {
      return plain(await ask(client))
    } catch (error) {
      return failed(error)
    }
  }
  return Promise.all([outcome(theirs), outcome(ours)])
}

/** Without the values themselves in the error: some reporters cannot print an invalid Date. */
function same([theirs, ours], what) {
  try {
    assert.deepEqual(ours, theirs)
  } catch (e) {
    throw new Error(`${what}\n${e.message}`)
  }
}

module.exports = { both, plain, same }
