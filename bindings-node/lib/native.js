'use strict'
// Loads the addon, and is this thread's end of it: what is asked for gets a ticket, and is settled in batches.

const { platformName } = require('./platform')

/** @returns {typeof import('../native')} */
function load() {
  const platform = platformName()
  const tried = []
  for (const name of [`../leakpool.${platform}.node`, `@leakpool/binding-${platform}`]) {
    try {
      return require(name)
    } catch (error) {
      if (/** @type {{ code?: string }} */ (error).code !== 'MODULE_NOT_FOUND') throw error
      tried.push(error)
    }
  }
  const text =
    `leakpool has no addon for ${platform}: npm leaves it away with --no-optional or a lock file of another platform; ` +
    `install @leakpool/binding-${platform}, or build it with \`npm run build\``
  throw new Error(text, { cause: tried[1] })
}

const binding = load()

/**
 * Who waits for a ticket.
 * @typedef {{ settled(error: import('../native').NativeError | null, value: any): void }} Waiter
 */

/** @type {(Waiter | number)[]} Waiters by ticket; a free place holds the next free one. */
const waiters = []
let free = -1

/**
 * A ticket for someone who waits.
 * @param {Waiter} waiter
 */
function ticketFor(waiter) {
  if (free === -1) return waiters.push(waiter) - 1
  const ticket = free
  free = /** @type {number} */ (waiters[ticket])
  waiters[ticket] = waiter
  return ticket
}

/** @param {any[]} batch `[ticket, error, value, …]` */
function settle(batch) {
  for (let n = 0; n < batch.length; n += 3) {
    const ticket = batch[n]
    const waiter = /** @type {Waiter} */ (waiters[ticket])
    waiters[ticket] = free
    free = ticket
    try {
      waiter.settled(batch[n + 1], batch[n + 2])
    } catch (error) {
      // Somebody's callback or listener threw: that is their uncaught exception, and the others' answers still come.
      process.nextTick(() => {
        throw error
      })
    }
  }
}

const loop = new binding.EventLoop(settle)

module.exports = { binding, loop, ticketFor }
