'use strict'
// The two that are compared: a client of pg and one of leakpool, on the same server.

const pg = require('pg')
const { Pool } = require('../../lib/index')

/**
 * @param {import('node:test').TestContext} t closes both when the test ends
 * @param {object} [options] of our pool
 * @param {object} [theirOptions] of pg's client
 */
async function peers(t, options = {}, theirOptions = {}) {
  const connectionString = process.env.DATABASE_URL
  if (!connectionString) throw new Error('DATABASE_URL is not set: run this by tests/with-postgres')
  /** @type {(() => any)[]} The last is done first. */
  const cleanup = []
  t.after(async () => {
    for (const done of cleanup.reverse()) await done()
  })
  const theirs = new pg.Client({ connectionString, ...theirOptions })
  await theirs.connect()
  cleanup.push(() => theirs.end())
  const pool = new Pool({ connectionString, max: 2, ...options })
  cleanup.push(() => pool.end())
  const ours = await pool.connect()
  cleanup.push(() => ours.release())
  return { theirs, ours, pool, cleanup }
}

module.exports = { peers }
