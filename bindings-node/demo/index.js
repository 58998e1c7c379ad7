'use strict'
// The incident, told with a real pool and a real server (`npx leakpool demo`): a service leaks its connections one by
// one, stands still, learns which line did it, and is taken back into service. Every step is checked: the program ends
// with an error if the story does not come true.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { setTimeout: pause } = require('node:timers/promises')
const { setFlagsFromString } = require('node:v8')
const { runInNewContext } = require('node:vm')

const { Pool, setLogLevel } = require('..')
const { findServer, NoServer } = require('./server')

const SIZE = 5
const TABLE = 'leakpool_demo_orders'

/** @param {string} text */
const bold = (text) => (process.stdout.isTTY ? `\x1b[1m${text}\x1b[0m` : text)
/** @param {string} text */
const say = (text) => console.log(text.replace(/^/gm, '   '))
/** @param {string} title */
const chapter = (title) => console.log(`\n${bold(`── ${title} ${'─'.repeat(Math.max(0, 96 - title.length))}`)}`)

/**
 * @param {unknown} holds
 * @param {string} claim
 */
function check(holds, claim) {
  if (!holds) throw new Error(`the story does not come true: ${claim}`)
}

/**
 * @param {string} claim
 * @param {() => boolean} condition
 */
async function until(claim, condition) {
  const end = Date.now() + 20_000
  while (!condition()) {
    check(Date.now() < end, claim)
    await pause(20)
  }
}

/**
 * What an operation fails with.
 *
 * @param {Promise<unknown>} operation
 * @returns {Promise<any>}
 */
async function failure(operation) {
  try {
    await operation
  } catch (error) {
    return error
  }
  throw new Error('the story does not come true: an error was to come')
}

/** @param {InstanceType<typeof Pool>} pool */
function show(pool) {
  const { total, active, idle, waiting } = pool.getPoolStatus()
  say(`pool: ${total} connections, ${active} active, ${idle} idle, ${waiting} waiting; flagged: ${pool.leaks().length}`)
}

/**
 * The service. Reports fold leakpool's own frames away, and this demo lies in leakpool's package: where it is installed,
 * the service is played from outside, as every service is.
 *
 * @returns {{ shop: typeof import('./shop'), remove: () => void }}
 */
function service() {
  if (!__dirname.split(path.sep).includes('node_modules')) return { shop: require('./shop'), remove: () => {} }
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'leakpool-shop-'))
  const remove = () => fs.rmSync(folder, { recursive: true, force: true })
  process.once('exit', remove)
  fs.copyFileSync(path.join(__dirname, 'shop.js'), path.join(folder, 'shop.js'))
  return { shop: require(path.join(folder, 'shop.js')), remove }
}

/** V8's full collection, as `--expose-gc` gives it. */
function collector() {
  setFlagsFromString('--expose-gc')
  return /** @type {() => void} */ (runInNewContext('gc'))
}

/**
 * @param {InstanceType<typeof Pool>} pool
 * @param {typeof import('./shop')} shop
 */
async function tell(pool, shop) {
  await pool.query(`DROP TABLE IF EXISTS ${TABLE}; CREATE TABLE ${TABLE} (id int PRIMARY KEY)`)
  /** @type {Record<string, number>} */
  const told = { leak: 0, leaksDetected: 0, forceRelease: 0 }
  let proven = 0
  pool.on('leak', (leak) => {
    told.leak++
    if (leak.verdict === 'proven') proven++
  })
  pool.on('leaksDetected', ({ count, leaks }) => {
    told.leaksDetected++
    say(`event leaksDetected: ${count} connections leak, the first at ${leaks[0].location}`)
  })
  pool.on('forceRelease', () => told.forceRelease++)

  chapter('Monday: normal operations')
  for (let i = 0; i < 3; i++) await shop.countOrders(pool, false)
  show(pool)

  chapter('Errors, handled safely')
  for (let i = 0; i < 3; i++) {
    const { message } = await failure(shop.countOrders(pool, true))
    say(`caught: ${message}; the connection went back`)
  }
  check(pool.getMetrics().connections.active === 0, 'an error leaks nothing')

  chapter('Tuesday: the new feature leaks on its error path')
  /** @type {Map<number, any>} */
  const pending = new Map()
  for (let order = 1; order <= SIZE; order++) {
    const { message } = await failure(shop.reserveStock(pool, pending, order))
    say(`request ${order}: ${message} (and nobody noticed what else happened)`)
  }
  show(pool)
  const running = pool.checkouts().filter((checkout) => checkout.activity === 'executing').length
  say(`queries running: ${running}   <- wait, what?`)
  check(pool.getPoolStatus().active === SIZE && running === 0, 'all are taken and none works')

  chapter('Friday: the next request waits, and times out. But now it says why')
  const error = await failure(pool.connect())
  say(`${error.message}\n${error.cause.message}`)
  check(error.message === 'timeout exceeded when trying to connect', "the message is pg's")
  check(error.diagnosis === 'leak' && error.holders.length === SIZE, 'it carries the diagnosis and names all holders')
  check(error.cause.message.includes('shop.js:'), 'it names the line')

  chapter('The leak report')
  await until('every leak is told', () => told.leak === SIZE)
  say(pool.report().trim())
  check(pool.report().includes('reserveStock'), 'the report names the function that leaks')

  chapter('The sweeper takes the connections back')
  await until('all are taken back', () => told.forceRelease === SIZE)
  say(`events: ${JSON.stringify(told)}`)
  check(told.leak === SIZE && told.leaksDetected >= 1, 'each leak was told once')
  show(pool)

  chapter("The leaking code wakes up: it gets an error, not another caller's session")
  const late = await failure(pending.get(1).query('SELECT 1'))
  say(late.message)
  check(late.leakpoolCode === 'force_released', 'the error says what happened')
  for (const client of pending.values()) client.release()
  pending.clear()

  chapter('A client that cannot be reached any more: the collector proves the leak, no time has to pass')
  const gc = collector()
  await shop.isOpen(pool)
  await until('it is proven', () => {
    gc()
    return proven === 1
  })
  say('event leak: proven, and the connection is reclaimed')

  chapter('The service is healthy again')
  for (let i = 0; i < 10; i++) await shop.countOrders(pool, false)
  show(pool)

  chapter('The books')
  const { stats, connections, books } = pool.getMetrics()
  say(JSON.stringify(stats))
  check(stats.leaksDetected === SIZE + 1 && stats.forcedReleases === SIZE + 1, 'each leak is counted once')
  check(connections.active === 0 && books.acquired === books.released + books.forceReleased, 'the books balance')
  await pool.query(`DROP TABLE ${TABLE}`)
  await pool.end()
  console.log(`\n${bold('The story came true.')}`)
}

async function main() {
  // So that what is made is removed, too, when somebody loses patience.
  process.once('SIGINT', () => process.exit(130))
  process.once('SIGTERM', () => process.exit(143))
  /** @type {import('./server').Server | undefined} */
  let server
  const { shop, remove } = service()
  // The story tells what the log would say.
  if (!process.env.LEAKPOOL_LOG) setLogLevel('off')
  try {
    server = await findServer()
    console.log(bold('leakpool: the story of a service that froze at night'))
    console.log(
      `(${server.told};\n a pool of ${SIZE}; a leak is suspected after 2 s, and taken back after 6 s: short, for the demo)`,
    )
    const pool = new Pool({
      ...server.config,
      name: 'orders',
      max: SIZE,
      connectionTimeoutMillis: 3_000,
      leakThresholdMs: 2_000,
      forceReleaseAfterMs: 6_000,
    })
    pool.on('error', () => {})
    await tell(pool, shop)
  } catch (error) {
    const known = error instanceof NoServer
    console.error(`leakpool demo: ${known ? error.message : /** @type {Error} */ (error).stack}`)
    process.exitCode = 1
  } finally {
    await server?.stop()
    remove()
  }
  // A pool of a story that did not come true holds connections.
  if (process.exitCode === 1) process.exit()
}

module.exports = { main }
