'use strict'
// A client: the one JavaScript object of a connection, in all its checkouts. Made by a pool, checked out by it, compatible with
// pg's.

const { EventEmitter } = require('node:events')
const { escapeIdentifier, escapeLiteral } = require('./escape')
const { TypeOverrides } = require('./types')
const { Request, readQuery } = require('./request')
const { NoticeMessage } = require('./database-error')
const { CLOSED, NOT_QUERYABLE, RELEASED_TWICE, LeakpoolError, fromNative, restack } = require('./errors')
const { throwLater } = require('./native')

/** @typedef {import('./request').Asked} Asked */

/** Shown by whoever may make clients. */
const MAKER = Symbol('leakpool.client')

/**
 * @param {EventEmitter} emitter
 * @param {string} event
 * @param {any[]} args
 */
function tell(emitter, event, ...args) {
  try {
    emitter.emit(event, ...args)
  } catch (error) {
    throwLater(error)
  }
}

/**
 * The same, for listeners that may do something of their own: what they wait for.
 * @param {EventEmitter} emitter
 * @param {string} event
 * @param {any[]} args
 * @returns {Promise<any>[]}
 */
function tellAll(emitter, event, ...args) {
  const waits = []
  for (const listener of emitter.rawListeners(event)) {
    try {
      const result = listener.apply(emitter, args)
      if (typeof result?.then === 'function') waits.push(result)
    } catch (error) {
      throwLater(error)
    }
  }
  return waits
}

class Client extends EventEmitter {
  /**
   * @param {symbol | any} maker
   * @param {import('./pool').ThePool} pool
   * @param {number} slot
   */
  constructor(maker, pool, slot) {
    super()
    if (maker !== MAKER) {
      const text = 'a Client of leakpool comes from a Pool: use `new Pool({ max: 1 })`, or the Client of pg'
      throw new LeakpoolError(text, 'unsupported')
    }
    /** @type {import('./pool').ThePool} */
    this._pool = pool
    this._slot = slot
    this._native = pool._native
    this._types = new TypeOverrides(pool.options.types)
    /** Checked out now. */
    this._out = false
    /** Checked out to a query of the pool's own: nobody else may ask it anything. */
    this._private = false
    /** Why it cannot be used any more. @type {string | null} */
    this._dead = null
    this._ended = false
    this._ending = false
    this._poolUseCount = 0
    /** Something was sent since it was checked out. */
    this._asked = false
    /** @type {Asked | null} */
    this._active = null
    /** @type {Asked[]} */
    this._waiting = []
    /** What is to be done once nothing runs. @type {(() => void) | null} */
    this._whenQuiet = null
    /** @type {Map<string, string>} */
    this._named = new Map()
    this.processID = slot < 0 ? null : pool._native.processId(slot)
    this.secretKey = null
    /** Set anew at each checkout. @type {(error?: any) => void} */
    this.release = released
    const { user, database, host, port } = JSON.parse(pool._native.target)
    const { ssl } = pool.options
    this.user = user
    this.database = database
    this.host = host
    this.port = port
    this.ssl = ssl ?? false
    this.connectionParameters = { user, database, host, port, ssl: this.ssl }
    for (const name of HIDDEN) Object.defineProperty(this, name, { enumerable: false })
  }

  get _queryable() {
    return this._dead === null
  }

  get _connected() {
    return !this._ended
  }

  get _activeQuery() {
    return this._active
  }

  /** The id of its checkout, as events and reports show it. */
  get _leakDetectionId() {
    return this._native.checkoutId(this._slot)
  }

  get _connectionId() {
    return this._native.checkoutId(this._slot)
  }

  /**
   * Runs a query: `query(text | config[, values][, callback])`.
   * @param {any} config
   * @param {any} [values]
   * @param {any} [callback]
   * @returns {any} a promise, unless there is a callback
   */
  query(config, values, callback) {
    const query = readQuery(config, values, callback)
    const request = new Request(this, query, query.types ?? this._types)
    request.stale = this._private
    if (query.callback !== undefined) {
      request.call(query.callback, Client.prototype.query)
      this._ask(request, query)
      return undefined
    }
    const promise = request.promise()
    this._ask(request, query)
    return promise.catch(restack)
  }

  /**
   * @param {Asked} request
   * @param {import('./request').Query} query
   */
  _ask(request, query) {
    try {
      const refusal = this._refusal(request.stale)
      if (refusal !== null) throw refusal
      request.prepare(query, this._named)
    } catch (error) {
      process.nextTick(() => request.fail(/** @type {Error} */ (error)))
      return
    }
    const limit = query.timeout || this._pool._queryTimeout
    if (limit > 0) request.limit(limit)
    if (this._active === null && this._waiting.length === 0) this._send(request)
    else this._waiting.push(request)
  }

  /**
   * Why it cannot be asked anything; null if it can.
   * @param {boolean} stale by somebody who does not have it
   */
  _refusal(stale) {
    if (this._dead !== null) {
      // The session is not its own any more: the core says why, and counts a late use.
      if (this._dead === REVOKED && this._out) return null
      return new LeakpoolError(this._dead === REVOKED ? CLOSED : this._dead, 'connection_lost')
    }
    if (this._ending) return new LeakpoolError(CLOSED, 'already_released')
    if (!this._out || stale) {
      const text = 'Client was released to the pool and is not queryable; connect() hands one out'
      return new LeakpoolError(text, 'already_released')
    }
    return null
  }

  /** @param {Asked} request */
  _send(request) {
    this._active = request
    this._asked = true
    request.submit(this._native, this._slot)
  }

  /**
   * The answer to a request is there.
   * @param {Asked} request
   * @param {import('../native').NativeError | null} error
   */
  _answered(request, error) {
    if (this._active === request) this._active = null
    if (error !== null && error.code === 'connection_lost' && this._dead === null) this._dead = NOT_QUERYABLE
    const next = this._waiting.shift()
    if (next !== undefined) {
      const refusal = this._dead === NOT_QUERYABLE && error !== null ? fromNative(error) : null
      if (refusal === null) return this._send(next)
      process.nextTick(() => next.fail(refusal))
      this._answered(request, error)
      return
    }
    if (this._whenQuiet !== null) {
      const then = this._whenQuiet
      this._whenQuiet = null
      // After the one who asked has been told.
      process.nextTick(then)
    }
  }

  /**
   * Its asker waits no longer.
   * @param {Asked} request
   */
  _timedOut(request) {
    const at = this._waiting.indexOf(request)
    if (at >= 0) this._waiting.splice(at, 1)
  }

  /**
   * Everything that waits fails; what runs is settled by the addon.
   * @param {Error} error
   */
  _failWaiting(error) {
    const waiting = this._waiting.splice(0)
    for (const request of waiting) process.nextTick(() => request.fail(error))
  }

  /** @param {Record<string, string>} fields */
  _noticed(fields) {
    tell(this, 'notice', new NoticeMessage(fields))
  }

  /** @param {{ channel: string, payload: string, processId: number }} message */
  _notified({ channel, payload, processId }) {
    tell(this, 'notification', { name: 'notification', length: payload.length, processId, channel, payload })
  }

  /**
   * Its session has ended by itself.
   * @param {Error | null} error
   */
  _lost(error) {
    if (this._ended) return
    this._ended = true
    if (this._dead === null) this._dead = error === null ? CLOSED : NOT_QUERYABLE
    if (error !== null && this.listenerCount('error') > 0) tell(this, 'error', error)
    tell(this, 'end')
  }

  /**
   * @param {string | symbol} event
   * @param {(...args: any[]) => void} listener
   */
  on(event, listener) {
    super.on(event, listener)
    if (event === 'notification') this._listen()
    return this
  }

  /**
   * @param {string | symbol} event
   * @param {(...args: any[]) => void} listener
   */
  addListener(event, listener) {
    return this.on(event, listener)
  }

  /**
   * @param {string | symbol} event
   * @param {(...args: any[]) => void} listener
   */
  once(event, listener) {
    super.once(event, listener)
    if (event === 'notification') this._listen()
    return this
  }

  /** Somebody wants its notifications. */
  _listen() {
    if (!this._out) return
    this._pool._hold(this)
    this._native.listen(this._slot)
  }

  /** A client is connected when it is checked out. */
  connect(/** @type {any} */ callback) {
    const error = new Error('Client has already been connected. You cannot reuse a client.')
    if (typeof callback === 'function') {
      process.nextTick(callback, error)
      return undefined
    }
    return Promise.reject(error)
  }

  /**
   * The session is not to be used again: its release ends it.
   * @param {(() => void)} [callback]
   */
  end(callback) {
    this._ending = true
    if (typeof callback === 'function') {
      process.nextTick(callback)
      return undefined
    }
    return Promise.resolve()
  }

  /** Asks the server to cancel what runs. */
  cancel() {
    if (this._out) this._native.cancel(this._slot)
  }

  ref() {}

  unref() {}

  /** `I`: idle, `T`: in a transaction, `E`: in a failed one; null if it is not known. */
  getTransactionStatus() {
    return (this._out ? this._native.transactionStatus(this._slot) : null) ?? null
  }

  /** @param {string} text */
  escapeIdentifier(text) {
    return escapeIdentifier(text)
  }

  /** @param {string} text */
  escapeLiteral(text) {
    return escapeLiteral(text)
  }

  /**
   * @param {number} oid
   * @param {any} format
   * @param {any} [parser]
   */
  setTypeParser(oid, format, parser) {
    return this._types.setTypeParser(oid, format, parser)
  }

  /**
   * @param {number} oid
   * @param {any} [format]
   */
  getTypeParser(oid, format) {
    return this._types.getTypeParser(oid, format)
  }
}

/** Why the client of a session that was taken back is not queryable. */
const REVOKED = 'revoked'

/** What console.log is not to show. */
const HIDDEN = [
  '_pool',
  '_native',
  '_asked',
  '_types',
  '_active',
  '_waiting',
  '_whenQuiet',
  '_named',
  'connectionParameters',
]

/** The release of a client that nobody has. */
function released() {
  throw new LeakpoolError(RELEASED_TWICE, 'already_released')
}

// `await using client = await pool.connect()`: released at the end of the block, if it was not before. A getter, read
// when the block begins: what it gives is about that checkout, whoever has the client by the end of the block.
const asyncDispose = /** @type {any} */ (Symbol).asyncDispose ?? Symbol.for('nodejs.asyncDispose')
Object.defineProperty(Client.prototype, asyncDispose, {
  configurable: true,
  /** @this {Client} */
  get() {
    const { release } = this
    return async () => {
      if (this._out && this.release === release) release()
    }
  },
})

/** @typedef {InstanceType<typeof Client>} CheckedOutClient */

module.exports = { Client, MAKER, REVOKED, released, tell, tellAll }
