'use strict'
// What a pool is asked: its options, its status and metrics in the shapes that health endpoints and hand-written
// detectors have, its report. And the conveniences that need nothing of the pool's inside.

const errors = require('./errors')

/** @typedef {import('./pool').ThePool} Pool */
/** @typedef {import('./client').CheckedOutClient} Client */

/**
 * The options as `pool.options` shows them, with pg's defaults.
 * @param {Record<string, any>} config
 */
function shownOptions(config) {
  /** @type {Record<string, any>} */
  const shown = { ...config }
  shown.max = config.max || config.poolSize || 10
  shown.min = config.min || 0
  shown.maxUses = config.maxUses || Infinity
  shown.allowExitOnIdle = config.allowExitOnIdle || false
  shown.maxLifetimeSeconds = config.maxLifetimeSeconds || 0
  shown.idleTimeoutMillis = config.idleTimeoutMillis ?? 10000
  shown.connectionTimeoutMillis = config.connectionTimeoutMillis ?? 30000
  // To be read by name, and not to be shown.
  for (const name of ['password', 'connectionString']) {
    if (name in config) Object.defineProperty(shown, name, { enumerable: false })
  }
  if (config.ssl != null && typeof config.ssl === 'object' && config.ssl.key) {
    shown.ssl = { ...config.ssl }
    Object.defineProperty(shown.ssl, 'key', { enumerable: false })
  }
  return shown
}

/**
 * Fills in a line that was not told yet when the holder was described.
 * @param {import('../native').NativePool} native
 * @param {any} holder
 */
function addSite(native, holder) {
  if (holder.site.known) return
  const site = native.siteOf(holder.id)
  if (site == null) return
  holder.site = JSON.parse(site)
  holder.location = holder.site.location
}

/** @param {Pool} pool */
function expiredCount(pool) {
  const limit = pool.options.maxLifetimeSeconds * 1000
  if (!(limit > 0)) return 0
  const now = Date.now()
  return pool._entries.filter((entry) => entry !== undefined && entry.out && now - entry.born > limit).length
}

/**
 * @template T
 * @param {Pool} pool
 * @param {(client: Client) => Promise<T> | T} fn
 * @param {any} options
 * @param {Function} below
 * @returns {Promise<T>}
 */
function withClient(pool, fn, options, below) {
  if (typeof fn !== 'function') return Promise.reject(errors.invalidArgument('fn', fn, 'must be a function'))
  const connecting = pool._connectFrom(below, options)
  return (async () => {
    const client = await connecting
    const { release } = client
    try {
      return await fn(client)
    } finally {
      // Released by `fn` already: that is its own business.
      if (client._out && client.release === release) release()
    }
  })()
}

const LEVELS = ['read uncommitted', 'read committed', 'repeatable read', 'serializable']

/** @param {any} options */
function beginText(options) {
  const { isolationLevel, readOnly, deferrable } = options ?? {}
  let text = 'BEGIN'
  if (isolationLevel !== undefined) {
    const level = String(isolationLevel).toLowerCase()
    if (!LEVELS.includes(level)) {
      throw errors.invalidArgument('isolationLevel', isolationLevel, `must be one of ${LEVELS.join(', ')}`)
    }
    text += ` ISOLATION LEVEL ${level.toUpperCase()}`
  }
  for (const [name, value, words] of [
    ['readOnly', readOnly, ['READ ONLY', 'READ WRITE']],
    ['deferrable', deferrable, ['DEFERRABLE', 'NOT DEFERRABLE']],
  ]) {
    if (value === undefined) continue
    if (typeof value !== 'boolean') throw errors.invalidArgument(name, value, 'must be true or false')
    text += ` ${words[value ? 0 : 1]}`
  }
  return text
}

/**
 * @template T
 * @param {Pool} pool
 * @param {(client: Client) => Promise<T> | T} fn
 * @param {any} options
 * @param {Function} below
 * @returns {Promise<T>}
 */
function transaction(pool, fn, options, below) {
  if (typeof fn !== 'function') return Promise.reject(errors.invalidArgument('fn', fn, 'must be a function'))
  let begin
  try {
    begin = beginText(options)
  } catch (error) {
    return Promise.reject(error)
  }
  const connecting = pool._connectFrom(below, options)
  return (async () => {
    const client = await connecting
    const { release } = client
    const mine = () => client._out && client.release === release
    let broken = false
    try {
      await client.query(begin)
      const result = await fn(client)
      if (!mine()) throw new errors.LeakpoolError('the client was released inside its transaction', 'already_released')
      const { command } = await client.query('COMMIT')
      // The server's way to say that a statement had failed, and that `fn` went on regardless.
      if (command === 'ROLLBACK') {
        throw new errors.LeakpoolError(
          'the transaction was rolled back: one of its statements had failed',
          'database',
          {
            code: '25P02',
          },
        )
      }
      return result
    } catch (error) {
      if (mine() && client.getTransactionStatus() !== 'I') {
        try {
          await client.query('ROLLBACK')
        } catch {
          // What went wrong first is what matters; the connection is not used again.
          broken = true
        }
      }
      throw error
    } finally {
      if (mine()) release(broken || undefined)
    }
  })()
}

const METHODS = {
  /**
   * @this {Pool}
   * How full the pool is, and who holds what.
   */
  getPoolStatus() {
    this._locateAll()
    const status = JSON.parse(this._native.status())
    const { total, idle } = status
    const activeConnections = JSON.parse(this._native.checkouts()).map((/** @type {any} */ checkout) => ({
      ...checkout,
      isPotentialLeak: checkout.reported || ['suspected', 'proven'].includes(checkout.verdict),
    }))
    const utilization = total > 0 ? (((total - idle) / total) * 100).toFixed(1) : 0
    return { ...status, utilization, activeConnections }
  },

  /**
   * @this {Pool}
   * Everything that is counted.
   */
  getMetrics() {
    const metrics = JSON.parse(this._native.metrics())
    const { status, books } = metrics
    return {
      pool: { total: status.total, idle: status.idle, waiting: status.waiting },
      connections: { active: books.active, oldest: metrics.oldestMs === null ? 0 : Math.round(metrics.oldestMs) },
      stats: {
        totalAcquired: books.acquired,
        totalReleased: books.released,
        leaksDetected: metrics.leaks,
        forcedReleases: books.forceReleased,
      },
      ...metrics,
      leakRate: metrics.leakRate.toFixed(2),
    }
  },

  /**
   * @this {Pool}
   * @returns {any[]} every checkout that is held
   */
  checkouts() {
    this._locateAll()
    return JSON.parse(this._native.checkouts())
  },

  /**
   * @this {Pool}
   * @returns {any[]} those of them that are suspected or proven to have leaked
   */
  leaks() {
    this._locateAll()
    return JSON.parse(this._native.leaks())
  },

  /**
   * @this {Pool}
   * @returns {any[]} every line that has acquired
   */
  sites() {
    this._locateAll()
    return JSON.parse(this._native.sites())
  },

  /**
   * @this {Pool}
   * @returns {string} who leaks, for people
   */
  report() {
    this._locateAll()
    return this._native.report()
  },

  /**
   * @this {Pool}
   * @returns {string} the metrics for Prometheus
   */
  openmetrics() {
    return this._native.openmetrics()
  },

  /**
   * Takes a checkout away from its holder.
   * @this {Pool}
   * @param {any} which a client of this pool, or a checkout's id
   */
  forceRelease(which) {
    let id = which
    if (which !== null && typeof which === 'object') {
      if (which._pool !== this) {
        throw errors.invalidArgument('client', which, 'must be a client of this pool, or the id of a checkout')
      }
      id = which._leakDetectionId
    }
    if (typeof id !== 'string') throw errors.invalidArgument('id', which, 'must be the id of a checkout, or its client')
    this._locateAll()
    return JSON.parse(errors.rethrown(() => this._native.forceRelease(id)))
  },

  /**
   * Changes leak options while the pool runs.
   * @this {Pool}
   * @param {Record<string, any>} options
   */
  reconfigure(options) {
    if (options === null || typeof options !== 'object') {
      throw errors.invalidArgument('options', options, 'must be an object')
    }
    /** @type {[string, any][]} */
    const given = []
    for (const [name, value] of Object.entries(options)) {
      if (value === undefined) continue
      if (!['boolean', 'number', 'string'].includes(typeof value)) {
        throw errors.invalidArgument(name, value, 'must be a boolean, a number or a string')
      }
      given.push([name, value])
    }
    errors.rethrown(() => this._native.reconfigure(given))
    Object.assign(this.options, Object.fromEntries(given))
    this._depth = this._native.depth()
  },

  /**
   * Changes `max`.
   * @this {Pool}
   * @param {number} max
   */
  resize(max) {
    if (typeof max !== 'number') throw errors.invalidArgument('max', max, 'must be a number')
    errors.rethrown(() => this._native.resize(max))
    this.options.max = max
  },
}

/** @param {any} target the class that gets these methods */
function install(target) {
  for (const [name, value] of Object.entries(METHODS)) {
    Object.defineProperty(target.prototype, name, { value, configurable: true, writable: true })
  }
}

module.exports = { METHODS, shownOptions, addSite, expiredCount, withClient, transaction, install }
