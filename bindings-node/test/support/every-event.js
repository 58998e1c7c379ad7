'use strict'
// A pool to which everything happens that is told, and what it tells: samples for the declarations.

const { setImmediate: turn } = require('node:timers/promises')
const pg = require('pg')
const { Pool, setLogLevel, watch } = require('../../lib/index')
const { ManualClock } = require('../../lib/testing')

/** The declared type of each event. */
const TYPES = {
  leak: 'LeakEvent',
  leaksDetected: 'LeaksDetectedEvent',
  leakRecovered: 'LeakRecoveredEvent',
  longRunning: 'LongRunningEvent',
  forceRelease: 'ForceReleaseEvent',
  lateUse: 'LateUseEvent',
  lateRelease: 'LateReleaseEvent',
  dirtyRelease: 'DirtyReleaseEvent',
  exhausted: 'ExhaustedEvent',
  utilization: 'UtilizationEvent',
}

/** @param {import('node:test').TestContext} t */
async function events(t) {
  setLogLevel('off')
  t.after(() => setLogLevel('warn'))
  const clock = new ManualClock()
  const connectionString = process.env.DATABASE_URL
  const pool = new Pool({ connectionString, max: 2, clock, maxLeaksBeforeAlert: 1, connectionTimeoutMillis: 1000 })
  t.after(() => pool.end())
  /** @type {Record<string, any[]>} */
  const seen = { PoolStatus: [pool.getPoolStatus()], PoolMetrics: [pool.getMetrics()] }
  for (const [name, type] of Object.entries(TYPES)) {
    seen[type] = []
    pool.on(name, (event) => seen[type].push(event))
  }
  const happened = async (/** @type {string} */ name, count = 1) => {
    const limit = Date.now() + 20_000
    while (seen[TYPES[name]].length < count) {
      if (Date.now() > limit) throw new Error(`no event ${name}`)
      await turn()
    }
  }
  const errors = []
  const failed = (/** @type {Promise<any>} */ promise) =>
    promise.then(
      () => {},
      (error) => errors.push(error),
    )

  const [first, second] = [await pool.connect({ label: 'first' }), await pool.connect()]
  clock.advance(6000)
  await happened('utilization')
  await first.query('SELECT 1')
  seen.CheckoutInfo = pool.checkouts()
  clock.advance(31_000)
  await happened('leak', 2)
  await happened('leaksDetected')
  seen.CheckoutInfo.push(...pool.leaks())
  seen.Site = pool.sites()
  seen.PoolStatus.push(pool.getPoolStatus())
  seen.PoolMetrics.push(pool.getMetrics())
  first.release()
  await happened('leakRecovered')

  const working = await pool.connect()
  const running = working.query('SELECT pg_sleep(60)')
  while (pool.checkouts().every(({ activity }) => activity !== 'executing')) await turn()
  clock.advance(31_000)
  await happened('longRunning')
  working.cancel()
  await failed(running)

  await working.query('BEGIN')
  working.release()
  await happened('dirtyRelease')
  const third = await pool.connect()
  const waiting = failed(pool.connect())
  while (pool.waitingCount === 0) await turn()
  clock.advance(1500)
  await waiting
  await happened('exhausted')
  clock.advance(400_000)
  await happened('forceRelease', 2)
  await failed(second.query('SELECT 1'))
  await happened('lateUse')
  second.release()
  third.release()
  await happened('lateRelease', 2)
  const last = await pool.connect()
  seen.CheckoutInfo.push(pool.forceRelease(last))
  last.release()
  // The same over a pool of pg.
  const theirs = new pg.Pool({ connectionString, max: 2 })
  t.after(() => theirs.end())
  const detector = watch(theirs, { clock, maxLeaksBeforeAlert: 1 })
  let told = 0
  for (const [name, type] of Object.entries(TYPES)) {
    detector.on(name, (event) => {
      seen[type].push(event)
      told += 1
    })
  }
  const checked_out = await theirs.connect()
  await checked_out.query('SELECT 1')
  clock.advance(31_000)
  await happened('leaksDetected', seen.LeaksDetectedEvent.length + 1)
  seen.CheckoutInfo.push(...detector.leaks(), ...detector.checkouts())
  seen.PoolStatus.push(detector.getPoolStatus())
  seen.PoolMetrics.push(detector.getMetrics())
  checked_out.release()
  await happened('leakRecovered', seen.LeakRecoveredEvent.length + 1)
  const taken = await theirs.connect()
  seen.CheckoutInfo.push(detector.forceRelease(taken))
  await happened('forceRelease', seen.ForceReleaseEvent.length + 1)
  if (told < 4) throw new Error(`the detector told ${told} events`)
  detector.stop()

  seen.Revocation = errors.flatMap(({ revocation }) => revocation ?? [])
  return { seen, errors: errors.filter((error) => error.leakpoolCode !== undefined) }
}

module.exports = { events }
