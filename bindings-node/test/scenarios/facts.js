'use strict'
// What is seen of the pool as the facts that scenarios name, and whether it is what is expected.

const path = require('node:path')

const { FILE, lineOf, places } = require('./places')

const LETTERS = { I: 'idle', T: 'in_transaction', E: 'failed' }

/** @param {any} site */
function place(site) {
  if (site === undefined || site === null) return null
  const found = Object.keys(places).find((name) => site.file === FILE && site.line === lineOf(name))
  return found ?? `${site.file === null ? '?' : path.basename(site.file)}:${site.line}`
}

/** @param {any} c */
function checkout(c) {
  return {
    held_ms: c.heldMs,
    idle_for_ms: c.idleMs,
    executing_for_ms: c.executingMs,
    activity: c.activity,
    transaction: LETTERS[/** @type {keyof LETTERS} */ (c.transactionStatus)],
    verdict: c.verdict,
    suspicion: c.reason,
    reported: c.reported,
    owner_ended: c.ownerEnded,
    listening: c.listening,
    expected_ms: c.expectedDurationMs,
    label: c.label,
    last_sql: c.lastSql === null ? null : c.lastSql.text,
    last_sql_age_ms: c.lastSql === null ? null : c.lastSql.ageMs,
    place: place(c.site),
  }
}

/** @param {any} r */
const revocation = (r) => ({ reason: r.reason, held_ms: r.heldMs, idle_for_ms: r.idleMs, place: place(r.site) })

/**
 * @param {any} e
 * @param {(id: string) => string} nameOf
 */
const exhausted = (e, nameOf) => ({
  diagnosis: e.diagnosis,
  phase: e.phase,
  waited_ms: e.waitedMs,
  max_size: e.max,
  waiting: e.waiting,
  holders: e.holders.map((/** @type {any} */ holder) => nameOf(holder.id)),
  last_error: e.lastError,
})

/**
 * @param {any} event
 * @param {(id: string) => string} nameOf
 */
function event(event, nameOf) {
  switch (event.name) {
    case 'connect':
      return {}
    case 'acquire':
      return { waited_ms: event.waitedMs, place: place(event.site) }
    case 'release':
      return { held_ms: event.heldMs }
    case 'remove':
      return { reason: event.reason }
    case 'error':
      return { error: event.code, message: event.message }
    case 'leak':
      return { ...checkout(event), suspicion: event.verdict === 'proven' ? null : event.reason }
    case 'leakRecovered':
    case 'longRunning':
      return checkout(event)
    case 'forceRelease':
      return { ...checkout(event), reason: event.reason }
    case 'leaksDetected':
      return { count: event.count, leaks: event.leaks.map((/** @type {any} */ leak) => nameOf(leak.id)) }
    case 'lateUse':
    case 'lateRelease':
      return revocation(event)
    case 'dirtyRelease':
      return {
        found: event.found,
        last_sql: event.lastSql === null ? null : event.lastSql.text,
        place: place(event.site),
      }
    case 'exhausted':
      return exhausted(event, nameOf)
    case 'utilization':
      return { in_use: event.active, max_size: event.max }
    default:
      return { kind_unknown_to_this_runner: event.name }
  }
}

/**
 * How something failed. pg's words are the message wherever pg has some; the core's are then behind it, as the cause.
 *
 * @param {any} error
 * @param {(id: string) => string} nameOf
 */
function failure(error, nameOf) {
  if (error.leakpoolCode === undefined && error.severity === undefined) throw error
  const code = error.leakpoolCode ?? 'database'
  return {
    error: code,
    sqlstate: error.severity === undefined && code !== 'force_released' ? null : error.code,
    message: error.cause?.message ?? error.message,
    ...(code === 'acquire_timeout' ? exhausted(error, nameOf) : {}),
    ...(code === 'force_released' ? revocation(error.revocation) : {}),
  }
}

/** @param {any} results */
function answer(results) {
  const rows = [results].flat().flatMap((result) => result.rows)
  return { error: null, rows: rows.length, value: rows.length > 0 ? rows[0][0] : null }
}

/** @param {any} s */
const status = (s) => ({
  max_size: s.max,
  size: s.total,
  idle: s.idle,
  in_use: s.active,
  returning: s.returning,
  connecting: s.connecting,
  waiting: s.waiting,
  ending: s.ending,
  closed: s.closed,
  utilization: s.active / s.max,
  leaked_now: s.leaked,
})

/** @param {any} m */
const metrics = (m) => ({
  acquired: m.books.acquired,
  released: m.books.released,
  force_released: m.books.forceReleased,
  lost: m.books.lost,
  active: m.books.active,
  leaks: m.leaks,
  leaks_recovered: m.leaksRecovered,
  late_uses: m.lateUses,
  late_releases: m.lateReleases,
  dirty_releases: m.dirtyReleases,
  timeouts: m.timeouts,
  created: m.created,
  create_errors: m.createErrors,
  removed: m.removed,
  events_dropped: m.eventsDropped,
  oldest_checkout_ms: m.oldestMs,
  leak_rate: Number(m.leakRate),
})

/**
 * A value, or one of `{"at_least": n}`, `{"at_most": n}`, `{"contains": text}`.
 *
 * @param {any} expected
 * @param {any} seen
 * @returns {boolean}
 */
function same(expected, seen) {
  if (Array.isArray(expected)) {
    return Array.isArray(seen) && expected.length === seen.length && expected.every((e, n) => same(e, seen[n]))
  }
  if (expected !== null && typeof expected === 'object') {
    return Object.entries(expected).every(([name, bound]) => {
      if (name === 'at_least') return typeof seen === 'number' && seen >= bound
      if (name === 'at_most') return typeof seen === 'number' && seen <= bound
      return name === 'contains' && typeof seen === 'string' && seen.includes(bound)
    })
  }
  return expected === seen
}

/**
 * Throws with what was expected and not seen.
 *
 * @param {Record<string, any>} expected
 * @param {Record<string, any>} seen
 */
function match(expected, seen) {
  const differences = Object.entries(expected)
    .filter(([name, value]) => !(name in seen) || !same(value, seen[name]))
    .map(([name, value]) => `${name}: expected ${JSON.stringify(value)}, seen ${JSON.stringify(seen[name])}`)
  if (differences.length > 0) throw new Error(differences.join('; '))
}

module.exports = { answer, checkout, event, failure, match, metrics, status }
