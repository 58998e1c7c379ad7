'use strict'
// 10,000 rows of five columns, from the server to an array of objects.

const pg = require('pg')
const postgres = require('postgres')
const { Pool } = require('..')
const { Contest } = require('./contest')
const { Section } = require('./report')
const { answer, cpusOf, isChild, place, places, start } = require('./starts')

const connectionString = process.env.DATABASE_URL
const SQL = 'SELECT id, ratio, name, made, fine FROM leakpool_bench_rows'
const TABLE = `
  CREATE TABLE IF NOT EXISTS leakpool_bench_rows AS
  SELECT n AS id, n / 7.0::float8 AS ratio, 'name of row ' || n AS name,
         timestamptz '2026-01-02 03:04:05.678+00' + n * interval '1 minute' AS made, n % 2 = 0 AS fine
  FROM generate_series(1, 10000) AS n`

/** @param {() => PromiseLike<{ length: number }>} fetch */
const fetches = (fetch) => async (/** @type {number} */ count) => {
  for (let n = 0; n < count; n++) {
    const rows = await fetch()
    if (rows.length !== 10_000) throw new Error(`${rows.length} rows came`)
  }
}

async function measure() {
  const options = { connectionString, ssl: false, max: 1, idleTimeoutMillis: 0 }
  const theirs = new pg.Pool(options)
  const sql = postgres(/** @type {string} */ (connectionString), { max: 1, ssl: false, idle_timeout: 0, onnotice: () => {} })
  const ours = new Pool(options)
  const contest = new Contest()
  contest.case('pg', fetches(async () => (await theirs.query(SQL)).rows))
  contest.case('postgres', fetches(() => sql.unsafe(SQL, [], { prepare: true })))
  contest.case('leakpool', fetches(async () => (await ours.query(SQL)).rows))
  contest.case('leakpool, extended protocol', fetches(async () => (await ours.query(SQL, [])).rows))
  const { rows } = await theirs.query('SELECT pg_backend_pid() AS pid')
  const server = cpusOf(rows[0].pid)
  const samples = await contest.run(9, 150)
  await Promise.all([theirs.end(), sql.end(), ours.end()])
  answer(samples, { server })
}

async function prepare(/** @type {string} */ text) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  await client.query(text)
  await client.end()
}

async function compare() {
  await prepare(TABLE)
  const section = new Section(
    'Node: 10,000 rows',
    'int, float8, text, timestamptz and bool, as objects; the server reads them from a table. From 2 starts at each place.',
  )
  for (const cpu of places()) {
    const measured = start(__filename, 2, cpu)
    if (measured === undefined) {
      console.error(`the client could not be pinned to CPU ${cpu}; its rows are missing`)
      continue
    }
    const { samples, server } = measured
    const where = place(cpu, server)
    // Against the better of the two, round by round.
    samples['the better of pg and postgres'] = samples.pg.map((value, round) => Math.min(value, samples.postgres[round]))
    for (const ours of ['leakpool', 'leakpool, extended protocol']) {
      section.ratio(samples, ours, 'the better of pg and postgres', 0.6, where)
    }
    section.ratio(samples, 'leakpool', 'pg', null, where)
    section.ratio(samples, 'leakpool', 'postgres', null, where)
  }
  section.finish('node-3-rows')
  await prepare('DROP TABLE leakpool_bench_rows')
}

if (isChild()) measure()
else compare()
