'use strict'
// One acquire: what it may say about itself, how it waits, and what the pool knows of the connection that it gets.

const errors = require('./errors')

/** @typedef {import('./client').CheckedOutClient} CheckedOutClient */
/** @typedef {import('./pool').ThePool} Pool */

/**
 * What the pool knows of a connection besides its client. While the client is out nothing here holds it, so that the
 * garbage collector can show that nobody else does.
 */
class Entry {
  /**
   * @param {number} slot
   * @param {CheckedOutClient} client
   */
  constructor(slot, client) {
    this.slot = slot
    /** Strongly: while it is idle, or when its holder may have good reasons to have no reference. @type {CheckedOutClient | null} */
    this.client = client
    this.weak = new WeakRef(client)
    /** Tells it from an entry of the same number before or after. */
    this.token = {}
    /** Checked out, and not given back. */
    this.out = false
    /** Held strongly until its release. */
    this.kept = false
    /** Its stack, until it is formatted. @type {import('./stack').Stack | undefined} */
    this.captured = undefined
    this.tick = 0
    this.since = 0
    this.born = Date.now()
    /** The session has ended, and `remove` was told. */
    this.gone = false
  }
}

/** An acquire that waits. */
class Acquire {
  /**
   * @param {Pool} pool
   * @param {import('./stack').Stack | undefined} captured
   * @param {boolean} keep
   * @param {(error: Error | null, client?: CheckedOutClient) => void} done
   */
  constructor(pool, captured, keep, done) {
    this.pool = pool
    this.captured = captured
    this.keep = keep
    this.done = done
    /** @type {(() => void) | null} */
    this.stopListening = null
    /** @type {{ reason: any } | null} */
    this.aborted = null
  }

  /**
   * @param {import('../native').NativeError | null} error
   * @param {number} slot
   */
  settled(error, slot) {
    this.stopListening?.()
    if (error !== null) {
      this.done(this.aborted === null ? this.pool._error(error) : this.aborted.reason)
      return
    }
    const { pool, aborted, done } = this
    if (aborted !== null) {
      pool._admit(slot, this.captured, this.keep, (_, client) => {
        client?.release()
        done(aborted.reason)
      })
      return
    }
    pool._admit(slot, this.captured, this.keep, done)
  }
}

/**
 * What an acquire says about itself, as the addon takes it.
 * @typedef {{ label?: string | null, expected?: number, timeout?: number, signal?: AbortSignal }} AcquireRequest
 */

/** @type {AcquireRequest} */
const NOTHING = {}

/**
 * @param {any} options
 * @returns {AcquireRequest | null}
 */
function acquireOptions(options) {
  if (options === undefined || options === null) return null
  if (typeof options !== 'object') {
    throw errors.invalidArgument('options', options, 'must be a function (the callback) or an object')
  }
  /** @type {AcquireRequest} */
  const wanted = {}
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue
    switch (name) {
      case 'label':
        if (typeof value !== 'string') throw errors.invalidArgument(name, value, 'must be a string')
        wanted.label = value
        break
      case 'expectedDurationMs':
      case 'timeoutMs':
        if (typeof value !== 'number' || !(value >= 0)) {
          throw errors.invalidArgument(name, value, 'must be a number of milliseconds, 0 or more')
        }
        wanted[name === 'timeoutMs' ? 'timeout' : 'expected'] = value
        break
      case 'signal':
        if (!(value instanceof AbortSignal)) throw errors.invalidArgument(name, value, 'must be an AbortSignal')
        wanted.signal = value
        break
      case 'isolationLevel':
      case 'readOnly':
      case 'deferrable':
        break
      default:
        throw errors.invalidArgument(name, value, 'is nothing that connect() takes')
    }
  }
  return wanted
}

/** @typedef {InstanceType<typeof Entry>} TheEntry */

module.exports = { Acquire, Entry, NOTHING, acquireOptions }
