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
  const theirs = new pg.Client({ connectionString, ...theirOptions })
  await theirs.connect()
  t.after(() => theirs.end())
  const pool = new Pool({ connectionString, max: 2, ...options })
  t.after(() => pool.end())
  const ours = await pool.connect()
  t.after(() => ours.release())
  return { theirs, ours, pool, pg }
}

module.exports = { peers }
