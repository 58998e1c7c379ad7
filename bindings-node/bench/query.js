'use strict'
// `SELECT $1::int` through the pool: one after another, and many in flight.

const pg = require('pg')
const postgres = require('postgres')
const { Pool } = require('..')
const { Contest } = require('./contest')
const { Section } = require('./report')
const { answer, cpusOf, isChild, place, places, start } = require('./starts')

const connectionString = process.env.DATABASE_URL
const SQL = 'SELECT $1::int'
const FLIGHTS = [1, 10, 100]
const MAX = 10

/**
 * @param {number} flight how many are in flight
 * @param {() => PromiseLike<unknown>} query
 */
const queries = (flight, query) => async (/** @type {number} */ count) => {
  let left = count
  const one = async () => {
    while (left-- > 0) await query()
  }
  await Promise.all(Array.from({ length: Math.min(flight, count) }, one))
}

async function measure() {
  const options = { connectionString, ssl: false, max: MAX }
  const theirs = new pg.Pool({ ...options, idleTimeoutMillis: 0 })
  const sql = postgres(/** @type {string} */ (connectionString), { max: MAX, ssl: false, idle_timeout: 0 })
  const cached = new Pool({ ...options, idleTimeoutMillis: 0 })
  const plain = new Pool({ ...options, idleTimeoutMillis: 0, statementCache: false })
  const contest = new Contest()
  for (const flight of FLIGHTS) {
    contest.case(`pg, ${flight}`, queries(flight, () => theirs.query(SQL, [1])))
    contest.case(`postgres, ${flight}`, queries(flight, () => sql`SELECT ${1}::int`))
    contest.case(`leakpool, ${flight}`, queries(flight, () => cached.query(SQL, [1])))
    contest.case(`leakpool without statement cache, ${flight}`, queries(flight, () => plain.query(SQL, [1])))
  }
  const { rows } = await theirs.query('SELECT pg_backend_pid() AS pid')
  const server = cpusOf(rows[0].pid)
  const samples = await contest.run(9, 60)
  await Promise.all([theirs.end(), sql.end(), cached.end(), plain.end()])
  answer(samples, { server })
}

function compare() {
  const section = new Section(
    'Node: a query through the pool',
    `\`pool.query('SELECT $1::int', [1])\`, pools of ${MAX}, 1 = one after another, 10 and 100 in flight; time for each query. ` +
      'From 2 starts of the program at each place.',
  )
  for (const cpu of places()) {
    const measured = start(__filename, 2, cpu)
    if (measured === undefined) {
      console.error(`the client could not be pinned to CPU ${cpu}; its rows are missing`)
      continue
    }
    const { samples, server } = measured
    const where = place(cpu, server)
    // As times: 1.5 times as many queries a second are 0.67 of the time.
    for (const flight of FLIGHTS) {
      section.ratio(samples, `leakpool, ${flight}`, `pg, ${flight}`, flight === 1 ? 0.8 : 0.667, where)
      section.ratio(samples, `leakpool without statement cache, ${flight}`, `pg, ${flight}`, flight === 1 ? null : 1, where)
      section.ratio(samples, `leakpool, ${flight}`, `postgres, ${flight}`, flight === 100 ? 0.909 : null, where)
    }
  }
  section.finish('node-2-query')
}

if (isChild()) measure()
else compare()
