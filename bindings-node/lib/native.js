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
 * Who waits for a ticket. `part` is told what comes before the ticket is settled, if there is much.
 * @typedef {{ settled(error: import('../native').NativeError | null, value: any): void, part?(value: any): void }} Waiter
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

/**
 * Who is told what it has not asked for: pools and detectors, by their numbers. Weakly: a pool that nobody has any more
 * goes away.
 * @typedef {{ told(kind: string, value: any): void }} Told
 */

/** @type {Map<number, WeakRef<Told>>} */
const told = new Map()
let numbers = 0
const goneFrom = new FinalizationRegistry((/** @type {number} */ number) => told.delete(number))

/**
 * A number by which the addon tells on.
 * @param {Told} target
 */
function numberFor(target) {
  const number = numbers++
  told.set(number, new WeakRef(target))
  goneFrom.register(target, number)
  return number
}

/**
 * Somebody's callback, listener or parser threw: that is their uncaught exception, and nobody else's business.
 * @param {unknown} error
 */
function throwLater(error) {
  process.nextTick(() => {
    throw error
  })
}

/** @param {any[]} batch `[ticket, error, value, …]`, `[ticket, false, part, …]`, or `[-1 - number, kind, value, …]` */
function settle(batch) {
  for (let n = 0; n < batch.length; n += 3) {
    const ticket = batch[n]
    try {
      if (ticket < 0) {
        told
          .get(-1 - ticket)
          ?.deref()
          ?.told(batch[n + 1], batch[n + 2])
        continue
      }
      const waiter = /** @type {Waiter} */ (waiters[ticket])
      if (batch[n + 1] === false) {
        waiter.part?.(batch[n + 2])
        continue
      }
      waiters[ticket] = free
      free = ticket
      waiter.settled(batch[n + 1], batch[n + 2])
    } catch (error) {
      throwLater(error)
    }
  }
}

const loop = new binding.EventLoop(settle)

module.exports = { binding, loop, ticketFor, numberFor, throwLater }
