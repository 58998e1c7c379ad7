'use strict'
// What the core tells about a pool, as the pool's events. Names are those of the core in camelCase; `leaksDetected` and
// `forceRelease` have the payloads that detectors written by hand usually have, and more.

const { Client, MAKER, REVOKED, tell } = require('./client')
const { LeakpoolError } = require('./errors')

/** @typedef {import('./pool').ThePool} Pool */

/**
 * @param {Pool} pool
 * @param {string} kind
 * @param {any} value
 */
function told(pool, kind, value) {
  switch (kind) {
    case 'events':
      // First, so that they are told with their lines.
      pool._locateAll()
      // A slot's number is between the addon and here.
      for (const { slot = null, slots = [], ...event } of JSON.parse(pool._native.events())) {
        happened(pool, event, slot, slots)
      }
      break
    case 'notice':
      clientOf(pool, value.slot)?._noticed(value.fields)
      break
    case 'notification':
      clientOf(pool, value.slot)?._notified(value)
      break
    default:
  }
}

/**
 * @param {Pool} pool
 * @param {number} slot
 * @returns {import('./client').CheckedOutClient | undefined}
 */
function clientOf(pool, slot) {
  const entry = pool._entries[slot]
  return entry === undefined ? undefined : (entry.client ?? entry.weak.deref())
}

/**
 * @param {Pool} pool
 * @param {any} event
 * @param {number | null} slot whom it is about
 * @param {number[]} slots whose sessions have ended
 */
function happened(pool, event, slot, slots) {
  switch (event.name) {
    case 'remove':
      for (const ended of slots) sessionEnded(pool, ended, event.reason, null)
      break
    case 'error':
      failed(pool, event, slots)
      break
    case 'leaksDetected':
      for (const leak of event.leaks) leak.ageMs = leak.heldMs
      tell(pool, event.name, event)
      break
    case 'forceRelease': {
      const entry = slot === null ? undefined : pool._entries[slot]
      const client = entry && (entry.client ?? entry.weak.deref())
      if (client !== undefined) client._dead = REVOKED
      event.age = event.heldMs
      tell(pool, event.name, event)
      break
    }
    default:
      tell(pool, event.name, event)
  }
}

/**
 * Something failed that no caller waits for: an idle session died, or none could be made in advance.
 * @param {Pool} pool
 * @param {any} event
 * @param {number[]} slots
 */
function failed(pool, event, slots) {
  const error = new LeakpoolError(event.message, event.code)
  let told = false
  for (const slot of slots) {
    const idle = pool._entries[slot]?.out === false
    sessionEnded(pool, slot, 'lost', idle ? error : null)
    told ||= idle
  }
  // As in pg, but nobody has to listen: the log has it. Of connections that were never checked out there is no client.
  if (!told && pool.listenerCount('error') > 0) tell(pool, 'error', error, standIn(pool))
}

/**
 * A slot's session has left the pool, for whatever reason.
 * @param {Pool} pool
 * @param {number} slot
 * @param {string} reason
 * @param {InstanceType<typeof LeakpoolError> | null} error why an idle one died
 */
function sessionEnded(pool, slot, reason, error) {
  const entry = pool._entries[slot]
  if (entry === undefined || entry.gone) return
  entry.gone = true
  const alive = entry.client ?? entry.weak.deref()
  const client = alive ?? standIn(pool)
  if (error !== null && pool.listenerCount('error') > 0) {
    Object.defineProperty(error, 'client', { value: client, configurable: true, enumerable: false })
    tell(pool, 'error', error, client)
  }
  if (alive !== undefined) {
    const lost = entry.out && alive._dead !== REVOKED && reason === 'lost'
    alive._lost(lost ? new LeakpoolError('Connection terminated unexpectedly', 'connection_lost') : null)
  }
  tell(pool, 'remove', client, reason)
  if (!entry.out) pool._forget(entry)
}

/**
 * For a client that was collected: inert.
 * @param {Pool} pool
 */
function standIn(pool) {
  const client = new Client(MAKER, pool, -1)
  client._ended = true
  client._ending = true
  client.release = () => {}
  return client
}

module.exports = { told, sessionEnded }
