'use strict'
// One query, from a user's call to its outcome: what pg accepts as a query, checked; and whoever waits for it.

const { AsyncResource } = require('node:async_hooks')
const { prepareValues } = require('./values')
const { loop, ticketFor } = require('./native')
const { Answer, AnswerReader } = require('./result_reader')
const { invalidArgument, LeakpoolError, unsupported } = require('./errors')
const { capture, format } = require('./stack')

const reader = new AnswerReader(loop)

/**
 * @typedef {object} Query what a user's arguments say
 * @property {string} text
 * @property {any[] | undefined} values
 * @property {string | undefined} name
 * @property {string | undefined} rowMode
 * @property {any} types
 * @property {((error: Error | null, result?: any) => void) | undefined} callback
 * @property {number} timeout of this query alone; 0 = none of its own
 * @property {boolean} extended
 */

/**
 * Reads the arguments of `query()`. Throws what is wrong with them at once, as pg does for these.
 * @param {any} config
 * @param {any} values
 * @param {any} callback
 * @returns {Query}
 */
function readQuery(config, values, callback) {
  if (config === null || config === undefined) throw new TypeError('Client was passed a null or undefined query')
  if (typeof values === 'function') {
    callback = values
    values = undefined
  }
  if (typeof config === 'string') {
    if (callback != null && typeof callback !== 'function') throw new TypeError('callback is not a function')
    return {
      text: config,
      values,
      name: undefined,
      rowMode: undefined,
      types: undefined,
      callback: callback ?? undefined,
      timeout: 0,
      extended: false,
    }
  }
  if (typeof config !== 'object') throw invalidArgument('query', config, 'must be a text or an object with one')
  if (typeof config.submit === 'function') {
    throw unsupported(`${config.constructor?.name ?? 'this query object'} (a cursor, a stream, a query of pg's own)`)
  }
  if (config.binary) {
    throw new LeakpoolError('results in binary form are not supported: leave `binary` away', 'unsupported')
  }
  callback = callback ?? config.callback
  if (callback != null && typeof callback !== 'function') throw new TypeError('callback is not a function')
  return {
    text: config.text,
    values: values ?? config.values,
    name: config.name,
    rowMode: config.rowMode,
    types: config.types,
    callback: callback ?? undefined,
    timeout: config.query_timeout ? Number(config.query_timeout) : 0,
    extended: config.queryMode === 'extended' || Boolean(config.rows),
  }
}

/** Waits for one query's answer, and hands it on. */
class Request {
  /**
   * @param {import('./client').CheckedOutClient} client who is kept until the answer is there
   * @param {Query} query
   * @param {any} types parsers: the query's or the client's
   */
  constructor(client, query, types) {
    this.client = client
    this.text = query.text
    this.rowMode = query.rowMode
    this.types = types
    /** @type {(string | Buffer | null)[] | null} */
    this.params = null
    this.cached = true
    /** @type {((result: any) => void) | undefined} */
    this.resolve = undefined
    /** @type {((error: Error) => void) | undefined} */
    this.reject = undefined
    /** What has come of its answer. @type {InstanceType<typeof Answer> | undefined} */
    this.answer = undefined
    /** @type {NodeJS.Timeout | undefined} */
    this.timer = undefined
    /** Asked by somebody who does not have the client any more. */
    this.stale = false
    /** @type {import('./stack').Stack | undefined} For callbacks: where it was asked. */
    this.from = undefined
  }

  /**
   * What is wrong with it, if anything; pg tells these mistakes to the callback.
   * @param {Query} query
   * @param {Map<string, string>} named the client's statements
   */
  prepare(query, named) {
    const { name, values } = query
    if (typeof query.text !== 'string') {
      const known = typeof name === 'string' ? named.get(name) : undefined
      if (known === undefined || query.text != null) {
        throw new Error('A query must have either text or a name. Supplying neither is unsupported.')
      }
      this.text = known
    }
    if (name) {
      const known = named.get(name)
      if (known !== undefined && query.text != null && known !== query.text) {
        throw new Error(`Prepared statements must be unique - '${name}' was used for a different statement`)
      }
      named.set(name, this.text)
    }
    if (values !== undefined && values !== null && !Array.isArray(values)) {
      throw new Error('Query values must be an array')
    }
    if (query.extended || name || (values != null && values.length > 0 && this.text !== '')) {
      this.params = prepareValues(values ?? [])
    }
  }

  /** Makes a promise of it. */
  promise() {
    return new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }

  /**
   * Hands the outcome to a callback, in the caller's own context.
   * @param {(error: Error | null, result?: any) => void} callback
   * @param {Function} below
   */
  call(callback, below) {
    const bound = AsyncResource.bind(callback)
    this.from = capture(below, Error.stackTraceLimit)
    this.resolve = (result) => bound(null, result)
    this.reject = (error) => bound(this.lead(error))
  }

  /**
   * The error with a stack that leads to where it was asked.
   * @param {Error} error
   */
  lead(error) {
    if (this.from === undefined) return error
    const frames = format(this.from)
    let stack = `${error.name}: ${error.message}`
    for (let n = 0; n < frames.length; n += 3) {
      const place = `${frames[n + 1]}:${frames[n + 2]}`
      stack += frames[n] === '' ? `\n    at ${place}` : `\n    at ${frames[n]} (${place})`
    }
    try {
      if (frames.length > 0) error.stack = stack
    } catch {
      // A frozen error keeps its own.
    }
    return error
  }

  /** @param {number} limit in milliseconds */
  limit(limit) {
    this.timer = setTimeout(() => {
      this.timer = undefined
      this.client._timedOut(this)
      this.fail(new Error('Query read timeout'))
    }, limit)
  }

  /**
   * Sends it.
   * @param {import('../native').NativePool} native
   * @param {number} slot
   */
  submit(native, slot) {
    native.submit(slot, ticketFor(this), this.text, this.params, this.cached)
  }

  /**
   * Reads a part of the answer: its rows are in the addon only now. When nobody waits any more they are not wanted.
   * @param {import('../native').Delivered} delivered
   */
  part(delivered) {
    if (this.resolve === undefined) return
    this.answer ??= new Answer(reader, this.types, this.rowMode)
    this.answer.add(delivered)
  }

  /**
   * @param {import('../native').NativeError | null} native
   * @param {import('../native').Delivered} delivered
   */
  settled(native, delivered) {
    let result
    /** @type {any} */
    let error
    let failed = false
    if (native === null) this.part(delivered)
    const { answer } = this
    // As in pg: what a parser of the user's has thrown comes before what the server said afterwards.
    if (answer?.failed) {
      error = answer.thrown
      failed = true
    } else if (native !== null) {
      error = this.client._pool._error(native)
      failed = true
    } else {
      result = answer?.value()
    }
    this.answer = undefined
    this.client._answered(this, native)
    if (failed) this.fail(error)
    else this.succeed(result)
  }

  /** @param {any} result */
  succeed(result) {
    const { resolve } = this
    this.done()
    if (resolve !== undefined) resolve(result)
  }

  /** @param {Error} error */
  fail(error) {
    const { reject } = this
    this.done()
    if (reject !== undefined) reject(error)
  }

  done() {
    this.resolve = undefined
    this.reject = undefined
    if (this.timer !== undefined) {
      clearTimeout(this.timer)
      this.timer = undefined
    }
  }
}

/** @typedef {InstanceType<typeof Request>} Asked */

module.exports = { Request, readQuery }
