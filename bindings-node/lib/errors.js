'use strict'
// Errors: those of the core and of the server as JavaScript has them. Messages are pg's wherever pg has one.

const { DatabaseError } = require('./database-error')

/** An error of leakpool itself. `leakpoolCode` is the same word in every language. */
class LeakpoolError extends Error {
  /**
   * @param {string} message
   * @param {string} leakpoolCode
   * @param {{ code?: string, cause?: unknown }} [more]
   */
  constructor(message, leakpoolCode, more = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause })
    this.leakpoolCode = leakpoolCode
    this.code = more.code ?? `LEAKPOOL_${leakpoolCode.toUpperCase()}`
  }
}
Object.defineProperty(LeakpoolError.prototype, 'name', { value: 'LeakpoolError', configurable: true, writable: true })

const ENDED = 'Cannot use a pool after calling end on the pool'
const RELEASED_TWICE = 'Release called on client which has already been released to the pool.'
const NOT_QUERYABLE = 'Client has encountered a connection error and is not queryable'
const CLOSED = 'Client was closed and is not queryable'

/** @param {string} what */
function unsupported(what) {
  const text =
    `${what} drives pg's own JavaScript connection, which leakpool's native client does not have; ` +
    'keep pg.Pool for it and find its leaks with `watch(pool)` of leakpool'
  return new LeakpoolError(text, 'unsupported')
}

/**
 * @param {string} argument
 * @param {unknown} value
 * @param {string} rule
 */
function invalidArgument(argument, value, rule) {
  return Object.assign(new TypeError(`${argument} (${shown(value)}) ${rule}`), {
    leakpoolCode: 'invalid_argument',
    code: 'LEAKPOOL_INVALID_ARGUMENT',
  })
}

/**
 * A value in an error: short, and never what might be a secret in an object.
 * @param {unknown} value
 */
function shown(value) {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'object') return 'an object'
  if (typeof value === 'function') return 'a function'
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

/** What pg makes the server say to a COPY for which there is no data. */
const COPY = {
  S: 'ERROR',
  V: 'ERROR',
  C: '57014',
  M: 'COPY from stdin failed: No source stream defined',
}

/** @param {import('../native').NativeError} native */
function words(native) {
  const { code, message } = native
  const details = native.details === undefined ? undefined : JSON.parse(native.details)
  switch (code) {
    case 'acquire_timeout': {
      const text =
        details?.phase === 'connect'
          ? 'Connection terminated due to connection timeout'
          : 'timeout exceeded when trying to connect'
      const error = new LeakpoolError(text, code, { cause: new LeakpoolError(message, code) })
      return Object.assign(error, details)
    }
    case 'pool_closed':
      return new LeakpoolError(ENDED, code)
    case 'connection_lost': {
      if (message === 'Connection terminated') return new LeakpoolError(message, code)
      const cause = new LeakpoolError(message, code)
      return new LeakpoolError('Connection terminated unexpectedly', code, { cause })
    }
    case 'force_released':
      return Object.assign(new LeakpoolError(message, code, { code: native.sqlstate ?? 'LP001' }), {
        revocation: details,
      })
    case 'unsupported':
      if (message.startsWith('COPY')) return DatabaseError.from(COPY)
      return new LeakpoolError(message, code)
    case 'invalid_option':
    case 'invalid_dsn':
    case 'invalid_argument':
      return Object.assign(new TypeError(message), {
        leakpoolCode: code,
        code: `LEAKPOOL_${code.toUpperCase()}`,
      })
    default:
      return new LeakpoolError(message, code, { code: native.errno })
  }
}

/**
 * The JavaScript error for one of the addon's.
 * @param {import('../native').NativeError} native
 * @returns {Error}
 */
function fromNative(native) {
  if (native.fields !== undefined && native.code !== 'force_released') {
    const error = DatabaseError.from(native.fields)
    return native.code === 'database' ? error : Object.assign(error, { leakpoolCode: native.code })
  }
  return words(native)
}

/**
 * Calls into the addon; what it throws has the plain object as its `native`.
 * @template T
 * @param {() => T} call
 * @returns {T}
 */
function rethrown(call) {
  try {
    return call()
  } catch (error) {
    throw converted(error)
  }
}

/**
 * What the addon has thrown, as it is thrown on.
 * @param {any} error
 */
function converted(error) {
  /** @type {import('../native').NativeError | undefined} */
  const native = error.native
  return native === undefined ? error : fromNative(native)
}

/**
 * For a promise's error: a stack that leads to whoever awaits it, instead of the wake-up that brought the error.
 * @param {any} error
 * @returns {never}
 */
function restack(error) {
  try {
    if (error instanceof Error) Error.captureStackTrace(error, restack)
  } catch {
    // A frozen error keeps the stack that it has.
  }
  throw error
}

module.exports = {
  LeakpoolError,
  ENDED,
  RELEASED_TWICE,
  NOT_QUERYABLE,
  CLOSED,
  unsupported,
  invalidArgument,
  shown,
  fromNative,
  rethrown,
  converted,
  restack,
}
