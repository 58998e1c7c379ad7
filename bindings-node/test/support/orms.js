'use strict'
// What the tests of ORMs share: a pool with a table, and a caller that never gives its connection back.

const { setImmediate: turn } = require('node:timers/promises')
const { Pool } = require('../../lib/index')

/**
 * @param {import('node:test').TestContext} t ends the pool when the test ends
 * @param {string} table made anew
 * @param {string} columns
 */
async function makePool(t, table, columns) {
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 3, closeTimeoutMillis: 5000 })
  t.after(() => pool.end())
  await pool.query(`DROP TABLE IF EXISTS ${table}; CREATE TABLE ${table} (${columns})`)
  return pool
}

/**
 * Lets a careless function take a connection, and looks at the checkout as a report of a leak would show it.
 *
 * @param {any} pool
 * @param {(held: Promise<void>) => Promise<void>} careless holds its connection until `held` is done
 * @param {RegExp} last what its last SQL looks like
 */
async function leaking(pool, careless, last) {
  let letGo = () => {}
  const held = new Promise((resolve) => {
    letGo = () => resolve(undefined)
  })
  const running = careless(held)
  const failed = running.then(
    () => new Error('it did not hold its connection'),
    (error) => error,
  )
  const limit = Date.now() + 20_000
  for (;;) {
    const [checkout] = pool.checkouts()
    if (checkout?.lastSql && last.test(checkout.lastSql.text)) {
      return { ...checkout, release: () => (letGo(), running), running }
    }
    if (Date.now() > limit) throw new Error(`no checkout with this SQL: ${JSON.stringify(pool.checkouts())}`)
    const early = await Promise.race([failed, turn()])
    if (early) throw early
  }
}

module.exports = { leaking, makePool }
