'use strict'
// `watch(pool)`: leak detection over a pool of `pg`, which stays what it is. Its clients are told to the core when they
// are checked out, used and released; what the core finds out comes back as events.

const { EventEmitter } = require('node:events')
const { binding, loop, numberFor } = require('./native')
const { capture, format, isOld, lookLater, time } = require('./stack')
const { tell } = require('./client')
const errors = require('./errors')
const { METHODS } = require('./introspection')

/** A client that is out. */
class WatchedCheckout {
  /**
   * @param {bigint} id
   * @param {any} client
   * @param {import('./stack').Stack | undefined} captured
   */
  constructor(id, client, captured) {
    this.id = id
    this.client = client
    this.captured = captured
    this.tick = time.tick
    /** The pool's own release of this checkout. @type {(error?: any) => void} */
    this.release = client.release
    this.revoked = false
  }
}

class LeakDetector extends EventEmitter {
  /**
   * @param {any} pool a pg.Pool, or what has its `connect` and `query`
   * @param {any} [options] leak options, `name`, `clock`
   */
  constructor(pool, options = {}) {
    super()
    if (pool === null || typeof pool !== 'object' || typeof pool.connect !== 'function') {
      throw errors.invalidArgument('pool', pool, 'must be a pg.Pool')
    }
    if (pool._native !== undefined) {
      throw errors.invalidArgument('pool', pool, 'is watched already: it is a pool of leakpool')
    }
    if (watched.has(pool)) throw errors.invalidArgument('pool', pool, 'is watched already')
    if (options === null || typeof options !== 'object') {
      throw errors.invalidArgument('options', options, 'must be an object')
    }
    const { name = `watched-${++count}`, clock, ...own } = options
    if (typeof name !== 'string') throw errors.invalidArgument('name', name, 'must be a string')
    if (clock !== undefined && !(clock instanceof binding.ManualClock)) {
      throw errors.invalidArgument('clock', clock, 'must be a ManualClock of leakpool/testing')
    }
    const max = Number(pool.options?.max) || 0
    this.pool = pool
    this._native = errors.rethrown(
      () => new binding.NativeDetector(loop, numberFor(this), name, max, checkedPairs(own), clock ?? null),
    )
    this._depth = this._native.depth()
    /** Those that are out. @type {Map<any, WatchedCheckout>} */
    this._checkouts = new Map()
    this._looking = false
    this._stopped = false
    /** What the pool was before. */
    this._before = { connect: own_(pool, 'connect'), query: own_(pool, 'query') }
    /** The stack of a `pool.query` that is just calling `connect`. @type {{ stack: any } | null} */
    this._asking = null
    watched.add(pool)
    this._wrap(pool.connect, pool.query)
    for (const key of ['pool', '_native', '_checkouts', '_before', '_asking']) {
      Object.defineProperty(this, key, { enumerable: false })
    }
  }

  /**
   * @param {Function} connect
   * @param {Function} query
   */
  _wrap(connect, query) {
    const detector = this
    const { pool } = this

    /** @param {any} [callback] */
    function watchedConnect(callback) {
      const stack = detector._asking === null ? detector._capture(watchedConnect) : detector._asking.stack
      if (typeof callback === 'function') {
        return connect.call(pool, (/** @type {any} */ error, /** @type {any} */ client, /** @type {any} */ release) => {
          if (error || client === undefined) return callback(error, client, release)
          detector._checkedOut(client, stack)
          return callback(error, client, client.release)
        })
      }
      return connect.call(pool).then((/** @type {any} */ client) => {
        detector._checkedOut(client, stack)
        return client
      })
    }

    /** @param {any[]} args */
    function watchedQuery(...args) {
      // It calls `connect` before it returns; the line that matters is this caller's.
      const before = detector._asking
      detector._asking = { stack: detector._capture(watchedQuery) }
      try {
        return query.apply(pool, args)
      } finally {
        detector._asking = before
      }
    }

    pool.connect = watchedConnect
    if (typeof query === 'function') pool.query = watchedQuery
  }

  /** @param {Function} below */
  _capture(below) {
    return this._depth > 0 && !this._stopped ? capture(below, this._depth) : undefined
  }

  /**
   * @param {any} client
   * @param {import('./stack').Stack | undefined} captured
   */
  _checkedOut(client, captured) {
    if (this._stopped) return
    const checkout = new WatchedCheckout(this._native.checkOut(captured !== undefined, null, -1), client, captured)
    this._checkouts.set(client, checkout)
    if (captured !== undefined && !this._looking) {
      this._looking = true
      lookLater(this)
    }
    client.release = (/** @type {any} */ error) => this._returned(checkout, error)
    instrument(this, client)
  }

  /**
   * @param {WatchedCheckout} checkout
   * @param {any} error
   */
  _returned(checkout, error) {
    const { client, release } = checkout
    if (this._checkouts.get(client) === checkout) {
      this._checkouts.delete(client)
      checkout.captured = undefined
      this._native.checkIn(checkout.id)
      // The pool has had it since it was taken back.
      if (checkout.revoked) return undefined
    }
    return release(error)
  }

  /**
   * Formats the stacks of checkouts that are old enough.
   * @param {number} tick
   */
  look(tick) {
    let young = false
    for (const checkout of this._checkouts.values()) {
      if (checkout.captured === undefined) continue
      if (isOld(checkout.tick, tick)) this._locate(checkout)
      else young = true
    }
    this._looking = young
    return young
  }

  _locateAll() {
    for (const checkout of this._checkouts.values()) this._locate(checkout)
  }

  /** @param {WatchedCheckout} checkout */
  _locate(checkout) {
    const { captured } = checkout
    if (captured === undefined) return
    checkout.captured = undefined
    this._native.locate(checkout.id, format(captured))
  }

  /** @param {string} kind */
  told(kind) {
    if (kind !== 'events') return
    this._locateAll()
    for (const event of JSON.parse(this._native.events())) {
      if (event.name === 'forceRelease') {
        event.age = event.heldMs
        this._takeBack(event)
      }
      if (event.name === 'leaksDetected') for (const leak of event.leaks) leak.ageMs = leak.heldMs
      tell(this, event.name, event)
    }
  }

  /** @param {any} event */
  _takeBack(event) {
    for (const checkout of this._checkouts.values()) {
      if (checkout.revoked || this._native.idText(checkout.id) !== event.id) continue
      checkout.revoked = true
      try {
        checkout.release(new errors.LeakpoolError(`the connection was taken back (${event.reason})`, 'force_released'))
      } catch {
        // Released and checked out anew by means that we do not see: then it is not ours to end.
      }
      return
    }
  }

  /** How full the pool is, and who holds what. */
  getPoolStatus() {
    this._locateAll()
    const { totalCount: total = 0, idleCount: idle = 0, waitingCount: waiting = 0 } = this.pool
    const status = { ...JSON.parse(this._native.status()), total, idle, waiting }
    const utilization = total > 0 ? (((total - idle) / total) * 100).toFixed(1) : 0
    const activeConnections = this.checkouts().map((/** @type {any} */ checkout) => ({
      ...checkout,
      isPotentialLeak: checkout.reported || ['suspected', 'proven'].includes(checkout.verdict),
    }))
    return { ...status, utilization, activeConnections }
  }

  /** Everything that is counted. */
  getMetrics() {
    const metrics = METHODS.getMetrics.call(/** @type {any} */ (this))
    const { totalCount: total = 0, idleCount: idle = 0, waitingCount: waiting = 0 } = this.pool
    return { ...metrics, pool: { total, idle, waiting } }
  }

  /** @returns {any[]} every checkout that is held */
  checkouts() {
    this._locateAll()
    return JSON.parse(this._native.checkouts())
  }

  /** @returns {any[]} those of them that are suspected to have leaked */
  leaks() {
    this._locateAll()
    return JSON.parse(this._native.leaks())
  }

  /** @returns {string} who leaks, for people */
  report() {
    this._locateAll()
    return this._native.report()
  }

  /** @returns {string} the metrics for Prometheus */
  openmetrics() {
    return this._native.openmetrics()
  }

  /**
   * Takes a checkout away from its holder.
   * @param {any} which a client, or a checkout's id
   */
  forceRelease(which) {
    let id = which
    if (which !== null && typeof which === 'object') {
      const checkout = this._checkouts.get(which)
      if (checkout === undefined) throw errors.invalidArgument('client', which, 'must be a client that is out')
      id = this._native.idText(checkout.id)
    }
    if (typeof id !== 'string') throw errors.invalidArgument('id', which, 'must be the id of a checkout, or its client')
    this._locateAll()
    return JSON.parse(errors.rethrown(() => this._native.forceRelease(id)))
  }

  /**
   * Changes leak options.
   * @param {Record<string, any>} options
   */
  reconfigure(options) {
    if (options === null || typeof options !== 'object') {
      throw errors.invalidArgument('options', options, 'must be an object')
    }
    errors.rethrown(() => this._native.reconfigure(checkedPairs(options)))
    this._depth = this._native.depth()
  }

  /** The pool is as it was before. Who is still out. @returns {any[]} */
  stop() {
    if (this._stopped) return []
    this._stopped = true
    this._locateAll()
    for (const name of /** @type {const} */ (['connect', 'query'])) {
      const before = this._before[name]
      if (before === undefined) delete this.pool[name]
      else Object.defineProperty(this.pool, name, before)
    }
    watched.delete(this.pool)
    return JSON.parse(this._native.stop())
  }
}

/** Pools that have a detector. */
const watched = new WeakSet()
/** Clients whose queries are seen, and by whom. @type {WeakMap<any, LeakDetector>} */
const instrumented = new WeakMap()
let count = 0

/**
 * @param {any} object
 * @param {string} name
 */
const own_ = (object, name) => Object.getOwnPropertyDescriptor(object, name)

/**
 * @param {Record<string, any>} options
 * @returns {[string, any][]}
 */
function checkedPairs(options) {
  /** @type {[string, any][]} */
  const pairs = []
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue
    if (!['boolean', 'number', 'string'].includes(typeof value)) {
      throw errors.invalidArgument(name, value, 'must be a boolean, a number or a string')
    }
    pairs.push([name, value])
  }
  return pairs
}

/**
 * From now on a client's queries are seen: when they are asked, and when the server is done with them.
 * @param {LeakDetector} detector
 * @param {any} client
 */
function instrument(detector, client) {
  const known = instrumented.has(client)
  instrumented.set(client, detector)
  if (known) return
  const { query, connection } = client
  const done = (/** @type {string} */ status) => {
    const by = instrumented.get(client)
    const checkout = by?._checkouts.get(client)
    if (by !== undefined && checkout !== undefined && !checkout.revoked) by._native.idle(checkout.id, status)
  }
  if (typeof connection?.on === 'function') {
    connection.on('readyForQuery', (/** @type {any} */ message) => done(message?.status ?? 'I'))
    // A cursor between two reads: the server waits for its client.
    connection.on('portalSuspended', () => done('T'))
    // What cursors and copies ask of the connection itself, past the client.
    const asks = (/** @type {string} */ name, /** @type {string | null} */ then) => {
      const method = connection[name]
      if (typeof method !== 'function') return
      connection[name] = function watched(/** @type {any[]} */ ...args) {
        const by = instrumented.get(client)
        const checkout = by?._checkouts.get(client)
        if (by !== undefined && checkout !== undefined && !checkout.revoked) {
          try {
            by._native.executing(checkout.id, null)
          } catch {
            // It was taken away: its socket is closed, and says so.
          }
          // Data for a COPY: a use, after which the server waits for more.
          if (then !== null) done(then)
        }
        return method.apply(connection, args)
      }
    }
    asks('execute', null)
    asks('endCopyFrom', null)
    asks('sendCopyFromChunk', 'T')
  }
  client.query = function watchedQuery(
    /** @type {any} */ config,
    /** @type {any} */ values,
    /** @type {any} */ callback,
  ) {
    const by = instrumented.get(client)
    const checkout = by?._checkouts.get(client)
    if (by === undefined || checkout === undefined) return query.call(client, config, values, callback)
    const text = typeof config === 'string' ? config : (config?.text ?? config?.cursor?.text ?? null)
    try {
      by._native.executing(checkout.id, typeof text === 'string' ? text : null)
    } catch (thrown) {
      const error = errors.converted(thrown)
      const call = [values, callback, config?.callback].find((f) => typeof f === 'function')
      if (call === undefined) return Promise.reject(error)
      process.nextTick(call, error)
      return undefined
    }
    const result = query.call(client, config, values, callback)
    // Without pg's own connection there is no other sign that it is done.
    if (typeof connection?.on !== 'function' && typeof result?.then === 'function') {
      result.then(
        () => done(client.getTransactionStatus?.() ?? 'I'),
        () => done(client.getTransactionStatus?.() ?? 'I'),
      )
    }
    return result
  }
}

/**
 * Finds leaks in a pool of `pg`.
 * @param {any} pool
 * @param {any} [options] leak options, `name`, `clock`
 */
const watch = (pool, options) => new LeakDetector(pool, options)

module.exports = { LeakDetector, watch }
