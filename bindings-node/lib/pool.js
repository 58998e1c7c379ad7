'use strict'
// The pool: pg.Pool's interface over the addon, which hands out, takes back and watches. Events that the core tells are in
// events.js, what is only looked at in introspection.js.

const { AsyncResource } = require('node:async_hooks')
const { EventEmitter } = require('node:events')
const { binding, loop, ticketFor, numberFor } = require('./native')
const { prepare } = require('./options')
const { Client, MAKER, released, tell, tellAll } = require('./client')
const { adopt } = require('./adopted')
const { Acquire, Entry, NOTHING, acquireOptions } = require('./acquire')
const { Request, readQuery } = require('./request')
const { capture, discard, format, isOld, lookLater, time } = require('./stack')
const { sessionEnded, told } = require('./events')
const introspection = require('./introspection')
const errors = require('./errors')

/** @typedef {import('./client').CheckedOutClient} CheckedOutClient */
/** @typedef {import('./acquire').AcquireRequest} AcquireRequest */

const NOOP = () => {}

/**
 * Clients that were collected. Not even entries are held here: those of idle connections hold their clients.
 * @type {FinalizationRegistry<{ pool: WeakRef<Pool>, slot: number, token: object }>}
 */
const collected = new FinalizationRegistry(({ pool, slot, token }) => pool.deref()?._collected(slot, token))

class Pool extends EventEmitter {
  /** @param {any} [options] as for pg.Pool, and leakpool's own */
  constructor(options) {
    super()
    adopt(Pool)
    const { dsn, fields, defaults, own, config } = prepare(options)
    const clock = config.clock
    if (clock != null && !(clock instanceof binding.ManualClock)) {
      throw errors.invalidArgument('clock', clock, 'must be a ManualClock of leakpool/testing')
    }
    this.options = introspection.shownOptions(config)
    this.log = this.options.log ?? NOOP
    this.Promise = Promise
    this.ending = false
    this.ended = false
    /** @type {(import('./acquire').TheEntry | undefined)[]} By their slots' numbers. */
    this._entries = []
    this._looking = false
    this._queryTimeout = Number(config.query_timeout) || 0
    this._password = typeof config.password === 'function' ? config.password : null
    /** Acquires that wait for the password. @type {Set<Promise<void>>} */
    this._beginning = new Set()
    this._native = errors.rethrown(
      () => new binding.NativePool(loop, numberFor(this), dsn, fields, defaults, own, clock ?? null),
    )
    const { tryAcquire, release } = this._native.fastPath()
    /** The two that every checkout calls. */
    this._tryAcquire = tryAcquire
    this._giveNative = release
    this._depth = this._native.depth()
    /** Only what is not read off the object may be shown by console.log. */
    for (const name of [
      '_entries',
      '_looking',
      '_queryTimeout',
      '_password',
      '_beginning',
      '_native',
      '_tryAcquire',
      '_giveNative',
      '_depth',
      'Promise',
    ]) {
      Object.defineProperty(this, name, { enumerable: false })
    }
    if (this._password !== null && this.options.min > 0) this._refreshPassword().catch(NOOP)
  }

  // ---- acquiring ------------------------------------------------------------------------------------------------

  /**
   * Hands a client out: `connect()`, `connect(callback)`, `connect({ label, expectedDurationMs, timeoutMs, signal })`.
   * @param {any} [options]
   * @param {any} [callback]
   * @returns {any}
   */
  connect(options, callback) {
    const depth = this._depth
    const captured = depth > 0 ? capture(Pool.prototype.connect, depth) : undefined
    if (options === undefined && callback === undefined) {
      const slot = this.ending ? -1 : this._tryAcquire(depth > 0)
      if (slot >= 0) {
        const entry = this._entries[slot]
        if (entry !== undefined) return Promise.resolve(this._handOut(entry, captured))
        return new Promise((resolve, reject) => {
          this._admit(slot, captured, false, (error, client) => (error ? reject(error) : resolve(client)))
        }).catch(errors.restack)
      }
    }
    if (typeof options === 'function') {
      callback = options
      options = undefined
    }
    const wanted = acquireOptions(options)
    if (callback === undefined || callback === null) {
      return new Promise((resolve, reject) => {
        this._acquire(captured, wanted, (error, client) => (error ? reject(error) : resolve(client)))
      }).catch(errors.restack)
    }
    if (typeof callback !== 'function') throw errors.invalidArgument('callback', callback, 'must be a function')
    const bound = AsyncResource.bind(callback)
    this._acquire(captured, wanted, (error, client) => {
      process.nextTick(() => (error ? bound(error, undefined, NOOP) : bound(undefined, client, client?.release)))
    })
    return undefined
  }

  /**
   * @param {import('./stack').Stack | undefined} captured
   * @param {AcquireRequest | null} wanted
   * @param {(error: Error | null, client?: CheckedOutClient) => void} done
   */
  _acquire(captured, wanted, done) {
    if (this.ending) {
      const error = new errors.LeakpoolError(errors.ENDED, 'pool_closed')
      process.nextTick(done, error)
      return
    }
    if (wanted === null) {
      const slot = this._tryAcquire(captured !== undefined)
      if (slot >= 0) {
        this._admit(slot, captured, false, done)
        return
      }
    }
    if (this._password === null) {
      this._wait(captured, wanted, done)
      return
    }
    const asked = this._refreshPassword().then(() => this._wait(captured, wanted, done), done)
    this._beginning.add(asked)
    asked.finally(() => this._beginning.delete(asked))
  }

  /**
   * @param {import('./stack').Stack | undefined} captured
   * @param {AcquireRequest | null} wanted
   * @param {(error: Error | null, client?: CheckedOutClient) => void} done
   */
  _wait(captured, wanted, done) {
    const { label = null, expected = -1, timeout = -1, signal } = wanted ?? NOTHING
    if (signal?.aborted) {
      process.nextTick(done, signal.reason)
      return
    }
    const acquire = new Acquire(this, captured, label !== null || expected >= 0, done)
    const ticket = ticketFor(acquire)
    this._native.acquire(ticket, captured !== undefined, label, expected, timeout)
    if (signal === undefined) return
    const abort = () => {
      acquire.aborted = { reason: signal.reason }
      this._native.cancelAcquire(ticket)
    }
    signal.addEventListener('abort', abort, { once: true })
    acquire.stopListening = () => signal.removeEventListener('abort', abort)
  }

  /** The password function is asked before each connection that may be made. */
  async _refreshPassword() {
    const password = await /** @type {Function} */ (this._password)()
    if (typeof password !== 'string') throw new TypeError('Password must be a string')
    this._native.setPassword(password)
  }

  /**
   * A slot that the addon has checked out gets its client, new ones after the hooks for them.
   * @param {number} slot
   * @param {import('./stack').Stack | undefined} captured
   * @param {boolean} keep
   * @param {(error: Error | null, client?: CheckedOutClient) => void} done
   */
  _admit(slot, captured, keep, done) {
    const known = this._entries[slot]
    if (known !== undefined) {
      done(null, this._handOut(known, captured, keep))
      return
    }
    const client = new Client(MAKER, this, slot)
    const entry = new Entry(slot, client)
    this._entries[slot] = entry
    collected.register(client, { pool: new WeakRef(this), slot, token: entry.token })
    const { onConnect, verify } = this.options
    const check_out = () => {
      this._handOut(entry, captured, keep)
      if (!verify) return done(null, client)
      const { release } = client
      verify(client, (/** @type {any} */ error) => {
        if (!error) return done(null, client)
        release(error)
        return done(error)
      })
    }
    const refuse = (/** @type {any} */ error) => {
      client.release(error)
      done(error)
    }
    // What its first listeners ask of it comes before its borrower's queries, as it is asked first; where they wait for
    // the answers themselves, the borrower waits for them.
    const admitted = () => {
      if (this.listenerCount('connect') === 0) return check_out()
      this._begin(entry, client, captured, true)
      const waits = tellAll(this, 'connect', client)
      if (waits.length === 0) return check_out()
      Promise.all(waits).then(check_out, refuse)
    }
    if (!onConnect) return admitted()
    this._begin(entry, client, captured, true)
    new Promise((resolve) => resolve(onConnect(client))).then(admitted, refuse)
  }

  /**
   * @param {import('./acquire').TheEntry} entry an idle one
   * @param {import('./stack').Stack | undefined} captured
   * @param {boolean} [keep]
   */
  _handOut(entry, captured, keep = false) {
    const client = /** @type {CheckedOutClient} */ (entry.client ?? entry.weak.deref())
    this._begin(entry, client, captured, keep)
    tell(this, 'acquire', client)
    return client
  }

  /**
   * @param {import('./acquire').TheEntry} entry
   * @param {CheckedOutClient} client
   * @param {import('./stack').Stack | undefined} captured
   * @param {boolean} keep
   */
  _begin(entry, client, captured, keep) {
    entry.out = true
    entry.kept = keep
    entry.client = keep ? client : null
    if (captured !== undefined) {
      entry.captured = captured
      entry.tick = time.tick
      if (!this._looking) {
        this._looking = true
        lookLater(this)
      }
    }
    if (this.listenerCount('release') > 0) entry.since = performance.now()
    client._out = true
    client._private = false
    client._asked = false
    let out = true
    client.release = (error) => {
      if (!out) released()
      out = false
      this._release(entry, client, error)
    }
    if (client.listenerCount('notification') > 0) client._listen()
  }

  /**
   * Its holder may let go of a client and still want it: for its notifications, or because a long use was announced.
   * @param {CheckedOutClient} client
   */
  _hold(client) {
    const entry = this._entries[client._slot]
    if (entry === undefined || !entry.out) return
    entry.kept = true
    entry.client = client
  }

  // ---- releasing ------------------------------------------------------------------------------------------------

  /**
   * @param {import('./acquire').TheEntry} entry
   * @param {CheckedOutClient} client
   * @param {any} error
   */
  _release(entry, client, error) {
    const broken = Boolean(error) || client._ending || client._dead !== null
    const held = entry.since > 0 ? performance.now() - entry.since : undefined
    client._out = false
    client._poolUseCount++
    entry.client = client
    // What is released in a transaction is told with its line, however young it is.
    if (client._asked && entry.captured !== undefined && this._native.transactionStatus(entry.slot) !== 'I') {
      this._locate(entry)
    }
    discard(entry.captured)
    entry.captured = undefined
    entry.since = 0
    if (broken && client._waiting.length > 0) {
      client._failWaiting(new errors.LeakpoolError('Connection terminated', 'connection_lost'))
    }
    if (!broken && client._active !== null) {
      // Nobody waits for what runs, but it was asked for: the connection goes back when that is over.
      client._whenQuiet = () => this._giveBack(entry, false)
    } else {
      this._giveBack(entry, broken)
    }
    tell(this, 'release', error, client, held)
  }

  /**
   * @param {import('./acquire').TheEntry} entry
   * @param {boolean} broken
   */
  _giveBack(entry, broken) {
    entry.out = false
    this._giveNative(entry.slot, broken)
    if (entry.gone) this._forget(entry)
  }

  /** @param {import('./acquire').TheEntry} entry */
  _forget(entry) {
    if (this._entries[entry.slot] !== entry) return
    this._entries[entry.slot] = undefined
    this._native.forget(entry.slot)
  }

  // ---- lines and lost clients -----------------------------------------------------------------------------------

  /**
   * Formats the stacks of checkouts that are old enough.
   * @param {number} tick
   */
  look(tick) {
    let young = false
    for (const entry of this._entries) {
      if (entry === undefined || entry.captured === undefined) continue
      if (isOld(entry.tick, tick)) this._locate(entry)
      else young = true
    }
    this._looking = young
    return young
  }

  /** Tells the core every line that it does not know. */
  _locateAll() {
    for (const entry of this._entries) {
      if (entry !== undefined && entry.captured !== undefined) this._locate(entry)
    }
  }

  /** @param {import('./acquire').TheEntry} entry */
  _locate(entry) {
    const { captured } = entry
    if (captured === undefined) return
    entry.captured = undefined
    this._native.locate(entry.slot, format(captured))
  }

  /**
   * A client was collected: if it was out, nobody will ever release it.
   * @param {number} slot
   * @param {object} token
   */
  _collected(slot, token) {
    const entry = this._entries[slot]
    if (entry === undefined || entry.token !== token) return
    this._locate(entry)
    entry.out = false
    this._native.abandon(entry.slot)
    if (entry.gone) this._forget(entry)
  }

  /**
   * An error of the addon, with the lines of the holders that it names.
   * @param {import('../native').NativeError} native
   */
  _error(native) {
    const error = /** @type {any} */ (errors.fromNative(native))
    if (Array.isArray(error.holders)) {
      this._locateAll()
      for (const holder of error.holders) introspection.addSite(this._native, holder)
    }
    const { revocation } = error
    if (revocation !== undefined && !revocation.site.known) {
      // It was taken back before its thread could tell the line.
      const then = revocation.location
      this._locateAll()
      introspection.addSite(this._native, revocation)
      error.message = error.message.replace(then, revocation.location)
    }
    return error
  }

  /**
   * The addon tells on: events, notices, notifications.
   * @param {string} kind
   * @param {any} value
   */
  told(kind, value) {
    told(this, kind, value)
  }

  // ---- conveniences ---------------------------------------------------------------------------------------------

  /**
   * Runs a query on a client of its own: `query(text | config[, values][, callback])`.
   * @param {any} text
   * @param {any} [values]
   * @param {any} [callback]
   * @returns {any}
   */
  query(text, values, callback) {
    if (typeof values === 'function') {
      callback = values
      values = undefined
    }
    const captured = this._depth > 0 ? capture(Pool.prototype.query, this._depth) : undefined
    if (typeof text === 'function') return refusedFunction(text)
    if (callback !== undefined && callback !== null) {
      if (typeof callback !== 'function') throw errors.invalidArgument('callback', callback, 'must be a function')
      const bound = AsyncResource.bind(callback)
      this._query(captured, text, values, (result) => bound(undefined, result), bound)
      return undefined
    }
    const promise = new Promise((resolve, reject) => this._query(captured, text, values, resolve, reject))
    return promise.catch(errors.restack)
  }

  /**
   * @param {import('./stack').Stack | undefined} captured
   * @param {any} text
   * @param {any} values
   * @param {(result: any) => void} resolve
   * @param {(error: any) => void} reject
   */
  _query(captured, text, values, resolve, reject) {
    /** @type {import('./request').Query} */
    let query
    try {
      query = readQuery(text, values, undefined)
    } catch (error) {
      process.nextTick(reject, error)
      return
    }
    const run = (/** @type {CheckedOutClient} */ client) => {
      const { release } = client
      // Nobody has this client: who still refers to it from before is told so, and disturbs nothing.
      client.release = released
      client._private = true
      const request = new Request(client, query, query.types ?? client._types)
      request.resolve = (result) => {
        const open = this.options.allowOpenTransaction ? null : this._leftOpen(client)
        release()
        if (open === null) resolve(result)
        else reject(open)
      }
      request.reject = (error) => {
        // As in pg: whatever failed, this client is not used again.
        release(error)
        reject(error)
      }
      client._ask(request, query)
    }
    const slot = this.ending ? -1 : this._tryAcquire(captured !== undefined)
    const entry = slot >= 0 ? this._entries[slot] : undefined
    if (entry !== undefined) return run(this._handOut(entry, captured))
    const done = (/** @type {Error | null} */ error, /** @type {CheckedOutClient | undefined} */ client) => {
      if (error) reject(error)
      else run(/** @type {CheckedOutClient} */ (client))
    }
    if (slot >= 0) this._admit(slot, captured, false, done)
    else this._acquire(captured, null, done)
  }

  /**
   * What is wrong if a query of its own has left a transaction open: its client goes back at once.
   * @param {CheckedOutClient} client
   * @returns {Error | null}
   */
  _leftOpen(client) {
    if (this._native.transactionStatus(client._slot) === 'I') return null
    try {
      errors.rethrown(() => this._native.endsHere(client._slot))
      return null
    } catch (error) {
      return /** @type {Error} */ (error)
    }
  }

  /**
   * Hands a client to `fn`, and takes it back whatever happens.
   * @template T
   * @param {(client: CheckedOutClient) => Promise<T> | T} fn
   * @param {any} [options] as for connect
   * @returns {Promise<T>}
   */
  withClient(fn, options) {
    return introspection.withClient(this, fn, options, Pool.prototype.withClient)
  }

  /**
   * Runs `fn` in a transaction: committed when it is done, rolled back when it throws.
   * @template T
   * @param {(client: CheckedOutClient) => Promise<T> | T} fn
   * @param {any} [options] as for connect, and `isolationLevel`, `readOnly`, `deferrable`
   * @returns {Promise<T>}
   */
  transaction(fn, options) {
    return introspection.transaction(this, fn, options, Pool.prototype.transaction)
  }

  /**
   * @param {Function} below
   * @param {any} options
   * @returns {Promise<CheckedOutClient>}
   */
  _connectFrom(below, options) {
    const captured = this._depth > 0 ? capture(below, this._depth) : undefined
    return new Promise((resolve, reject) => {
      const wanted = acquireOptions(options)
      this._acquire(captured, wanted, (error, client) =>
        error ? reject(error) : resolve(/** @type {CheckedOutClient} */ (client)),
      )
    })
  }

  // ---- ending ---------------------------------------------------------------------------------------------------

  /**
   * Closes the pool: what was asked for before is served; idle connections and flagged ones go at once, the others when
   * they are released, or after `closeTimeoutMillis`. Resolves with those who had not released by then.
   * @param {any} [callback]
   * @returns {any}
   */
  end(callback) {
    if (callback !== undefined && callback !== null && typeof callback !== 'function') {
      throw errors.invalidArgument('callback', callback, 'must be a function')
    }
    const ending = this._end()
    if (!callback) return ending.catch(errors.restack)
    const bound = AsyncResource.bind(callback)
    ending.then(
      (held) => process.nextTick(bound, undefined, held),
      (error) => process.nextTick(bound, error),
    )
    return undefined
  }

  /** @returns {Promise<any[]>} */
  _end() {
    this.log('ending')
    if (this.ending) {
      return Promise.reject(new errors.LeakpoolError('Called end on pool more than once', 'pool_closed'))
    }
    this.ending = true
    this._locateAll()
    return new Promise((resolve, reject) => {
      const settled = (/** @type {import('../native').NativeError | null} */ error, /** @type {string} */ held) => {
        this.ended = true
        for (const slot of this._native.ended()) sessionEnded(this, slot, 'pool_closed', null)
        if (error !== null) reject(errors.fromNative(error))
        else resolve(JSON.parse(held))
      }
      const close = () => this._native.close(ticketFor({ settled }), -1)
      // What was asked for before is not refused because a password was still to be told.
      if (this._beginning.size === 0) close()
      else Promise.allSettled(this._beginning).then(close)
    })
  }

  // ---- looking --------------------------------------------------------------------------------------------------

  get totalCount() {
    return this._native.count(0)
  }

  get idleCount() {
    return this._native.count(1)
  }

  get waitingCount() {
    return this._native.count(2)
  }

  get expiredCount() {
    return introspection.expiredCount(this)
  }

  get name() {
    return this._native.name
  }
}

/** @param {Function} callback */
function refusedFunction(callback) {
  const error = new Error('Passing a function as the first parameter to pool.query is not supported')
  setImmediate(() => callback(error))
  return undefined
}

introspection.install(Pool)

/** @typedef {InstanceType<typeof Pool>} ThePool */

module.exports = { Pool }
