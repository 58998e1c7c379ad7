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
  return { command, rowCount, oid, rows: comparable(rows), fields: fields.map((field) => ({ ...field })), rowAsArray }
}

/** What both make of the same question: their results, or their errors. */
async function both({ theirs, ours }, ask) {
  const failed = (error) => {
    const { stack, ...fields } = error
    return { ...fields, name: error.name, message: error.message }
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
