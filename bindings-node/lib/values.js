'use strict'
// Parameters: what a JavaScript value becomes on the wire. A string travels as text with no type (the server infers
// it), a Buffer in binary, null as NULL: the rules of pg's prepareValue, which users and ORMs rely on.

const { isDate } = require('node:util/types')
const defaults = require('./defaults')

/** What cannot be bound, without saying yet which of the values it was. */
class Unbindable extends Error {
  /** @param {(place: string) => Error} named the error for the caller */
  constructor(named) {
    super()
    this.named = named
  }
}

/** @param {string} what */
function unbindable(what) {
  return new Unbindable((place) => new TypeError(`${place} is ${what}, which cannot be bound`))
}

/**
 * @param {ArrayBufferView} view
 * @returns {Buffer} the same memory
 */
function bytes(view) {
  return Buffer.isBuffer(view) ? view : Buffer.from(view.buffer, view.byteOffset, view.byteLength)
}

/**
 * @param {number} number
 * @param {number} width
 */
function pad(number, width) {
  return String(number).padStart(width, '0')
}

/**
 * Year, month, day, hour, minute, second, millisecond.
 *
 * @param {Date} d
 */
function localClock(d) {
  const date = [d.getFullYear(), d.getMonth() + 1, d.getDate()]
  return [...date, d.getHours(), d.getMinutes(), d.getSeconds(), d.getMilliseconds()]
}

/** @param {Date} d */
function utcClock(d) {
  const date = [d.getUTCFullYear(), d.getUTCMonth() + 1, d.getUTCDate()]
  return [...date, d.getUTCHours(), d.getUTCMinutes(), d.getUTCSeconds(), d.getUTCMilliseconds()]
}

/**
 * In local time with its offset (so that a `timestamp` column keeps the clock that the program sees), or in UTC.
 *
 * @param {Date} date
 * @param {boolean} utc
 */
function dateText(date, utc) {
  if (Number.isNaN(date.getTime())) throw unbindable('an invalid Date')
  const [year, month, day, hour, minute, second, ms] = utc ? utcClock(date) : localClock(date)
  const offset = utc ? 0 : -date.getTimezoneOffset()
  // There is no year 0: 1 BC is JavaScript's 0.
  const ymd = `${pad(year < 1 ? 1 - year : year, 4)}-${pad(month, 2)}-${pad(day, 2)}`
  const hms = `${pad(hour, 2)}:${pad(minute, 2)}:${pad(second, 2)}.${pad(ms, 3)}`
  const minutes = Math.abs(offset)
  const zone = `${offset < 0 ? '-' : '+'}${pad(Math.floor(minutes / 60), 2)}:${pad(minutes % 60, 2)}`
  return `${ymd}T${hms}${zone}${year < 1 ? ' BC' : ''}`
}

/** @param {string} text */
function quoteElement(text) {
  return '"' + text.replaceAll('\\', '\\\\').replaceAll('"', '\\"') + '"'
}

/**
 * An array literal. Its separator is the comma, so it is not for `box[]`, whose separator is the semicolon.
 *
 * @param {any[]} array
 * @param {any[]} above the arrays that it lies in
 * @returns {string}
 */
function arrayText(array, above) {
  if (above.includes(array)) throw unbindable('an array that contains itself')
  above.push(array)
  let text = '{'
  for (let i = 0; i < array.length; i++) {
    if (i > 0) text += ','
    text += elementText(array[i], above)
  }
  above.pop()
  return text + '}'
}

/**
 * @param {any} item
 * @param {any[]} above
 */
function elementText(item, above) {
  if (item == null) return 'NULL'
  if (Array.isArray(item)) return arrayText(item, above)
  const value = ArrayBuffer.isView(item) ? bytes(item) : prepare(item, undefined)
  if (value === null) return 'NULL'
  return typeof value === 'string' ? quoteElement(value) : '\\\\x' + value.toString('hex')
}

/**
 * @param {any} value an object, neither a Date nor an array nor bytes
 * @param {any[]} seen what its toPostgres() came from
 * @returns {string | Buffer | null}
 */
function objectValue(value, seen) {
  if (typeof value.toPostgres === 'function') {
    if (seen.includes(value)) {
      throw new Unbindable(() => new Error(`circular reference detected while preparing "${value}" for query`))
    }
    seen.push(value)
    return prepare(value.toPostgres(prepareValue), seen)
  }
  // undefined if its toJSON() says so.
  return JSON.stringify(value) ?? null
}

/**
 * @param {any} value
 * @param {any[] | undefined} seen
 * @returns {string | Buffer | null}
 */
function prepare(value, seen) {
  if (typeof value === 'string') return value
  if (value == null) return null
  if (typeof value !== 'object') {
    const text = value.toString()
    if (typeof text !== 'string') throw unbindable(`a ${typeof value} whose toString() gives no string`)
    return text
  }
  if (ArrayBuffer.isView(value)) return bytes(value)
  if (isDate(value)) return dateText(value, defaults.parseInputDatesAsUTC)
  if (Array.isArray(value)) return arrayText(value, [])
  return objectValue(value, seen ?? [])
}

/**
 * One value as it is sent. Takes exactly one argument, so that it can be given to `map`.
 *
 * @param {any} value
 * @returns {string | Buffer | null}
 */
function prepareValue(value) {
  try {
    return prepare(value, undefined)
  } catch (e) {
    throw e instanceof Unbindable ? e.named('the value') : e
  }
}

/**
 * All values of a query as they are sent. What toPostgres(), toJSON() or toString() throw passes through.
 *
 * @param {any[]} values
 * @returns {(string | Buffer | null)[]}
 */
function prepareValues(values) {
  /** @type {(string | Buffer | null)[]} */
  const prepared = new Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    prepared[i] = typeof value === 'string' ? value : prepareOne(value, i)
  }
  return prepared
}

/**
 * @param {any} value
 * @param {number} i
 */
function prepareOne(value, i) {
  try {
    return prepare(value, undefined)
  } catch (e) {
    if (!(e instanceof Unbindable)) throw e
    const error = e.named(`values[${i}]`)
    // Not how deep in here it was found, but where it came from.
    Error.captureStackTrace(error, prepareValues)
    throw error
  }
}

module.exports = { prepareValue, prepareValues }
