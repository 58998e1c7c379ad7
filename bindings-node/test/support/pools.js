'use strict'
// What tests of pools need: pools that end with their test, conditions that are waited for, scripts in a process of their
// own.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const leakpool = require('../../lib/index')
const { ManualClock } = require('../../lib/testing')

const connectionString = process.env.DATABASE_URL
if (!connectionString) throw new Error('DATABASE_URL is not set: run this by tests/with-postgres')

/**
 * A pool that is ended when the test is over, whoever holds what.
 * @param {import('node:test').TestContext} t
 * @param {object} [options]
 */
function poolFor(t, options = {}) {
  const pool = new leakpool.Pool({ connectionString, closeTimeoutMillis: 0, ...options })
  t.after(() => (pool.ending ? undefined : pool.end()))
  return pool
}

/**
 * The same on a clock that stands still.
 * @param {import('node:test').TestContext} t
 * @param {object} [options]
 */
function clockedPoolFor(t, options = {}) {
  const clock = new ManualClock()
  return { clock, pool: poolFor(t, { clock, ...options }) }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

/**
 * Waits for a condition, in turns of the event loop.
 * @param {() => any} condition
 * @param {string} what
 */
async function until(condition, what) {
  const limit = Date.now() + 30_000
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() > limit) throw new Error(`this did not happen: ${what}`)
    await turn()
  }
}

/**
 * The next event of a kind. Keeps the process alive, which idle connections do not.
 * @param {import('node:events').EventEmitter} emitter
 * @param {string} name
 */
async function next(emitter, name) {
  const controller = new AbortController()
  const limit = setTimeout(() => controller.abort(new Error(`${name} was not told`)), 30_000)
  try {
    return await once(emitter, name, { signal: controller.signal })
  } finally {
    clearTimeout(limit)
  }
}

/**
 * Lets everything that was told so far arrive.
 * @param {any} pool
 */
async function told(pool) {
  if (!pool._native.flush(30_000)) throw new Error('events did not arrive')
  await turn()
  await turn()
}

const library = path.resolve(__dirname, '../../lib/index.js')

/**
 * Runs a script in a process of its own; `leakpool`, `pool` and `sleep` are there.
 * @param {string} script
 * @param {{ flags?: string[], options?: string, env?: object, esm?: boolean }} [more]
 * @returns {Promise<{ code: number | null, signal: string | null, stdout: string, stderr: string, ms: number }>}
 */
async function run(script, { flags = [], options = '', env = {} } = {}) {
  const text = `
    const leakpool = require(${JSON.stringify(library)})
    const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
    const pool = new leakpool.Pool({ connectionString: process.env.DATABASE_URL, ${options} })
    const main = async () => { ${script} }
    main()
  `
  const started = process.hrtime.bigint()
  const child = spawn(process.execPath, [...flags, '-e', text], { env: { ...process.env, ...env }, timeout: 60_000 })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data) => (stdout += data))
  child.stderr.on('data', (data) => (stderr += data))
  const [code, signal] = await once(child, 'close')
  return { code, signal, stdout, stderr, ms: Number(process.hrtime.bigint() - started) / 1e6 }
}

module.exports = { leakpool, connectionString, poolFor, clockedPoolFor, until, next, told, turn, run, library }
