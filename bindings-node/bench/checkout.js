'use strict'
// connect + release of an idle connection: what knowing who holds it costs.

const pg = require('pg')
const { Pool, watch } = require('..')
const { Contest } = require('./contest')
const { NotingPool } = require('./poc')
const { Section } = require('./report')
const { answer, isChild, start } = require('./starts')

const connectionString = process.env.DATABASE_URL
/** How many functions stand between the program's loop and `connect`: hardly any, and as in a web application. */
const DEPTHS = [2, 10]

/**
 * @param {number} depth
 * @param {{ connect(): Promise<any> }} pool
 * @returns {Promise<any>}
 */
function deep(depth, pool) {
  return depth === 0 ? pool.connect() : deep(depth - 1, pool)
}

/**
 * @param {number} depth
 * @param {{ connect(): Promise<any> }} pool
 */
const checkouts = (depth, pool) => async (/** @type {number} */ count) => {
  for (let n = 0; n < count; n++) {
    const client = await deep(depth, pool)
    client.release()
  }
}

/** The least that a stack costs: pg.Pool, and V8's capture of what it is called by; nobody keeps or reads it. */
class Capturing {
  /** @param {pg.Pool} pool */
  constructor(pool) {
    this.pool = pool
    this.last = {}
  }

  connect() {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 32
    this.last = {}
    Error.captureStackTrace(this.last, Capturing.prototype.connect)
    Error.stackTraceLimit = limit
    return this.pool.connect()
  }
}

async function measure() {
  const options = { connectionString, ssl: false, max: 4 }
  const [bare, capturing, noting, watched] = [1, 2, 3, 4].map(() => new pg.Pool(options))
  const detector = watch(watched)
  const ours = ['full', 'site', 'off'].map((stackCapture) => ({
    stackCapture,
    pool: new Pool({ ...options, stackCapture }),
  }))
  const contest = new Contest()
  for (const depth of DEPTHS) {
    contest.case(`pg.Pool, ${depth} deep`, checkouts(depth, bare))
    contest.case(`pg.Pool and V8's capture alone, ${depth} deep`, checkouts(depth, new Capturing(capturing)))
    contest.case(`the POC's wrapper, ${depth} deep`, checkouts(depth, new NotingPool(noting)))
    for (const { stackCapture, pool } of ours)
      contest.case(`leakpool, ${stackCapture}, ${depth} deep`, checkouts(depth, pool))
    contest.case(`watch(pg.Pool), ${depth} deep`, checkouts(depth, watched))
  }
  const samples = await contest.run(15, 20, 40_000)
  detector.stop()
  for (const pool of [bare, capturing, noting, watched, ...ours.map(({ pool }) => pool)]) await pool.end()
  answer(samples)
}

function compare() {
  const section = new Section(
    'Node: connect + release',
    'An idle connection, 2 and 10 calls deep, stacks of at most 32 frames (the wrapper: 10), from 3 starts of the program. `full` is the default.',
  )
  const { samples } = /** @type {NonNullable<ReturnType<typeof start>>} */ (start(__filename, 3))
  for (const depth of DEPTHS) {
    const row = (/** @type {string} */ name, /** @type {string} */ base, /** @type {number | null} */ goal) =>
      section.ratio(samples, `${name}, ${depth} deep`, `${base}, ${depth} deep`, goal)
    row('leakpool, full', 'pg.Pool', 3.5)
    row('leakpool, site', 'pg.Pool', 1.3)
    row('leakpool, off', 'pg.Pool', null)
    row("pg.Pool and V8's capture alone", 'pg.Pool', null)
    row('leakpool, full', "pg.Pool and V8's capture alone", null)
    row('leakpool, full', "the POC's wrapper", 0.35)
    row("the POC's wrapper", 'pg.Pool', null)
    row('watch(pg.Pool)', 'pg.Pool', 1.5)
    row('watch(pg.Pool)', "pg.Pool and V8's capture alone", null)
  }
  section.finish('node-1-checkout')
}

if (isChild()) measure()
else compare()
