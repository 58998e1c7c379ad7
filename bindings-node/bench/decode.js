'use strict'
// How long a large result takes, against pg and postgres: by default 10,000 rows of int, float, text, timestamptz, bool.
//
//     tests/with-postgres node bindings-node/bench/decode.js [rows] [rounds]
//
// The peers take turns in each round; the ratio is that of a round's times, so that what slows the machine slows all.

const pg = require('pg')
const postgres = require('postgres')
const { Pool } = require('../lib/index')

const connectionString = process.env.DATABASE_URL
const rows = Number(process.argv[2] ?? 10_000)
const rounds = Number(process.argv[3] ?? 15)
const REPEATS = 5

const SQL = `SELECT n AS id, n * 1.25::float8 AS price, 'the name of number ' || n AS name,
    '2026-11-23 09:52:37.123456+00'::timestamptz + n * interval '1 second' AS at, n % 3 = 0 AS flag
  FROM generate_series(1, ${rows}) n`

/** @param {number[]} numbers */
function quartiles(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  return [0.25, 0.5, 0.75].map((q) => sorted[Math.floor(q * (sorted.length - 1))])
}

async function main() {
  const pool = new Pool({ connectionString, max: 1 })
  const ours = await pool.connect()
  const theirs = new pg.Client({ connectionString })
  await theirs.connect()
  const sql = postgres(connectionString, { max: 1, onnotice: () => {} })
  await theirs.query('CREATE TEMP TABLE decoded AS ' + SQL)
  await ours.query('CREATE TEMP TABLE decoded AS ' + SQL)
  await sql.unsafe('CREATE TEMP TABLE decoded AS ' + SQL)
  const ask = 'SELECT * FROM decoded WHERE id > $1'
  /** @type {Record<string, () => Promise<{ length: number }>>} */
  const peers = {
    leakpool: async () => (await ours.query(ask, [0])).rows,
    pg: async () => (await theirs.query(ask, [0])).rows,
    postgres: async () => await sql.unsafe(ask, [0], { prepare: true }),
  }
  /** @type {Record<string, number[]>} */
  const times = { leakpool: [], pg: [], postgres: [] }
  for (let round = -3; round < rounds; round++) {
    for (const [name, run] of Object.entries(peers)) {
      const begun = process.hrtime.bigint()
      for (let i = 0; i < REPEATS; i++) {
        const { length } = await run()
        if (length !== rows) throw new Error(`${name} gave ${length} rows`)
      }
      if (round >= 0) times[name].push(Number(process.hrtime.bigint() - begun) / 1e6 / REPEATS)
    }
  }
  console.log(`${rows} rows of int, float, text, timestamptz, bool; ms a query: median (quartiles), ${rounds} rounds`)
  console.log(`node ${process.version}, pg ${require('pg/package.json').version}, postgres ${version('postgres')}`)
  for (const [name, ms] of Object.entries(times)) {
    const [low, median, high] = quartiles(ms)
    console.log(`  ${name.padEnd(10)} ${median.toFixed(2)} (${low.toFixed(2)}-${high.toFixed(2)})`)
  }
  for (const peer of ['pg', 'postgres']) {
    const [low, median, high] = quartiles(times.leakpool.map((ms, i) => ms / times[peer][i]))
    console.log(`  leakpool / ${peer}: ${median.toFixed(3)} (${low.toFixed(3)}-${high.toFixed(3)})`)
  }
  ours.release()
  await Promise.all([pool.end(), theirs.end(), sql.end()])
}

/** @param {string} name of a package that does not export its package.json */
function version(name) {
  return JSON.parse(
    require('node:fs').readFileSync(require.resolve(name).replace(/cjs.*|src.*/, 'package.json'), 'utf8'),
  ).version
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
