'use strict'
// connect + release of an idle connection: what knowing who holds it costs.

const pg = require('pg')
const { Pool, watch } = require('..')
const { Contest } = require('./contest')
const { NotingPool } = require('./poc')
const { Section } = require('./report')
const { answer, isChild, start } = require('./starts')

const connectionString = process.env.DATABASE_URL
/** How many functions stand between the program's start and `connect`, as in a web application. */
const DEPTH = 10

/**
 * @param {number} depth
 * @param {{ connect(): Promise<any> }} pool
 * @returns {Promise<any>}
 */
function deep(depth, pool) {
  return depth === 0 ? pool.connect() : deep(depth - 1, pool)
}

/** @param {{ connect(): Promise<any> }} pool */
const checkouts = (pool) => async (/** @type {number} */ count) => {
  for (let n = 0; n < count; n++) {
    const client = await deep(DEPTH, pool)
    client.release()
  }
}

async function measure() {
  const options = { connectionString, ssl: false, max: 4 }
  const bare = () => new pg.Pool({ ...options, idleTimeoutMillis: 0 })
  const watched = bare()
  const detector = watch(watched)
  const closing = [bare(), watched]
  const contest = new Contest()
  contest.case('pg.Pool', checkouts(closing[0]))
  closing.push(bare())
  contest.case("the POC's wrapper", checkouts(new NotingPool(closing[2])))
  for (const stackCapture of ['full', 'site', 'off']) {
    const pool = new Pool({ ...options, idleTimeoutMillis: 0, stackCapture })
    closing.push(pool)
    contest.case(`leakpool, ${stackCapture}`, checkouts(pool))
  }
  contest.case('watch(pg.Pool)', checkouts(watched))
  const samples = await contest.run(15, 25)
  detector.close()
  for (const pool of closing) await pool.end()
  answer(samples)
}

function compare() {
  const section = new Section(
    'Node: connect + release',
    `An idle connection, ${DEPTH} calls deep, from 3 starts of the program. \`full\` is the default.`,
  )
  const { samples } = /** @type {NonNullable<ReturnType<typeof start>>} */ (start(__filename, 3))
  section.ratio(samples, 'leakpool, full', 'pg.Pool', 3.5)
  section.ratio(samples, 'leakpool, site', 'pg.Pool', 1.3)
  section.ratio(samples, 'leakpool, off', 'pg.Pool', null)
  section.ratio(samples, "the POC's wrapper", 'pg.Pool', null)
  section.ratio(samples, 'leakpool, full', "the POC's wrapper", 0.35)
  section.ratio(samples, 'watch(pg.Pool)', 'pg.Pool', 1.5)
  section.finish('node-1-checkout')
}

if (isChild()) measure()
else compare()
