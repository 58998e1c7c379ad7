'use strict'
// `watch(pool)`: the same detection over a pool of pg, which stays what it is.

const test = require('node:test')
const assert = require('node:assert/strict')
const pg = require('pg')
const { watch, Pool } = require('../lib/index')
const { ManualClock } = require('../lib/testing')
const { connectionString, next, poolFor, run, turn, until } = require('./support/pools')

const here = __filename
const lineOf = (marker) =>
  require('node:fs')
    .readFileSync(here, 'utf8')
    .split('\n')
    .findIndex((line) => line.includes(`// ${marker}`)) + 1

function watched(t, options = {}, poolOptions = {}) {
  const pool = new pg.Pool({ connectionString, ...poolOptions })
  const clock = new ManualClock()
  const detector = watch(pool, { clock, ...options })
  t.after(async () => {
    for (const { id } of detector.checkouts()) detector.forceRelease(id)
    await until(
      () => detector._checkouts.size === 0 || [...detector._checkouts.values()].every((l) => l.revoked),
      'all are back',
    )
    detector.stop()
    await pool.end()
  })
  return { pool, clock, detector }
}

async function told(detector) {
  assert.ok(detector._native.flush(30_000))
  await turn()
  await turn()
}

test('a leak of pg.Pool is told with its line and its SQL, and recovered', async (t) => {
  const { pool, clock, detector } = watched(t, { leakThresholdMs: 1000, name: 'theirs' })
  async function leaky() {
    return await pool.connect() // LEAK
  }
  const client = await leaky()
  await client.query('SELECT 1 AS answer')
  const leak = next(detector, 'leak')
  clock.advance(1000)
  const [event] = await leak
  assert.deepEqual([event.pool, event.site.file, event.site.line], ['theirs', here, lineOf('LEAK')])
  assert.deepEqual([event.site.function, event.lastSql.text, event.activity], ['leaky', 'SELECT 1 AS answer', 'idle'])
  assert.equal(detector.leaks().length, 1)
  assert.match(detector.report(), /LEAK: leaky/)
  const recovered = next(detector, 'leakRecovered')
  client.release()
  await recovered
  assert.throws(() => client.release(), /already been released/)
  assert.deepEqual(detector.getMetrics().stats, {
    totalAcquired: 1,
    totalReleased: 1,
    leaksDetected: 1,
    forcedReleases: 0,
  })
  assert.equal(pool.idleCount, 1)
})

test('what a client does is seen: queries, transactions, callbacks, pool.query', async (t) => {
  const { pool, clock, detector } = watched(t, { leakThresholdMs: 1000 })
  const now = () => detector.checkouts().map((c) => [c.activity, c.transactionStatus, c.site.line])
  const client = await pool.connect() // ACTS
  assert.deepEqual(now(), [['idle', 'I', lineOf('ACTS')]])
  const running = client.query('SELECT pg_sleep(0.2)')
  assert.equal(now()[0][0], 'executing')
  clock.advance(100_000)
  await told(detector)
  assert.equal(detector.leaks().length, 0, 'a running query is no leak')
  await running
  await client.query('BEGIN')
  assert.equal(now()[0][1], 'T')
  await client.query('SELECT 1/0').catch(() => {})
  await until(() => now()[0][1] === 'E', 'the transaction has failed')
  await new Promise((resolve) => client.query({ text: 'ROLLBACK' }, resolve))
  await until(() => now()[0][1] === 'I', 'it is over')
  client.release()
  assert.deepEqual(now(), [])
  const asked = pool.query('SELECT pg_sleep(0.2)') // QUERY
  await until(() => now().length === 1, 'it is checked out')
  assert.equal(now()[0][2], lineOf('QUERY'))
  await asked
  assert.deepEqual(now(), [])
  await new Promise((resolve) => {
    const called = (error, c, release) => {
      assert.equal(error, undefined)
      assert.equal(now()[0][2], lineOf('CALLED'))
      release()
      resolve()
    }
    pool.connect(called) // CALLED
  })
  assert.deepEqual(now(), [])
  await assert.rejects(pool.query('SELECT wrong'), { code: '42703' })
  assert.deepEqual(now(), [])
  assert.equal(detector.getMetrics().books.active, 0)
})

test('a force release ends the session and frees the place of pg.Pool', async (t) => {
  const { pool, clock, detector } = watched(t, { leakThresholdMs: 1000, forceReleaseAfterMs: 5000 }, { max: 1 })
  const client = await pool.connect()
  const taken = next(detector, 'forceRelease')
  const waiting = pool.connect()
  clock.advance(5000)
  const [event] = await taken
  assert.deepEqual([event.age, event.reason, event.site.file], [5000, 'unused', here])
  const other = await waiting
  assert.notEqual(other, client)
  const late = next(detector, 'lateUse')
  await assert.rejects(client.query('SELECT 1'), { leakpoolCode: 'force_released', code: 'LP001' })
  const called = new Promise((resolve) => client.query('SELECT 1', [], resolve))
  assert.equal((await called).leakpoolCode, 'force_released')
  await late
  const lateRelease = next(detector, 'lateRelease')
  client.release()
  await lateRelease
  assert.equal((await other.query('SELECT 2 AS n')).rows[0].n, 2)
  detector.forceRelease(other)
  await until(() => pool.totalCount === 0, 'it is gone')
})

test('several detectors, none, and what cannot be watched', async (t) => {
  const { pool, detector } = watched(t)
  assert.throws(() => watch(pool), { name: 'TypeError', message: /watched already/ })
  for (const wrong of [null, undefined, 7, 'x', {}]) assert.throws(() => watch(wrong), { name: 'TypeError' })
  assert.throws(() => watch(poolFor(t)), /is a pool of leakpool/)
  assert.throws(() => watch(new pg.Pool(), { leakTresholdMs: 5 }), /leakThresholdMs/)
  assert.throws(() => watch(new pg.Pool(), { leakThresholdMs: 'soon' }), { code: 'LEAKPOOL_INVALID_OPTION' })
  assert.throws(() => watch(new pg.Pool(), { name: 7 }), /name \(7\) must be a string/)
  assert.throws(() => detector.reconfigure({ max: 7 }), /max/)
  assert.throws(() => detector.forceRelease({}), /must be a client that is out/)
  const client = await pool.connect()
  assert.equal(detector.stop().length, 1)
  assert.deepEqual(detector.stop(), [])
  assert.equal(Object.hasOwn(pool, 'connect'), false)
  client.release()
  assert.deepEqual((await pool.query('SELECT 1 AS n')).rows, [{ n: 1 }])
  const again = watch(pool)
  await pool.query('SELECT 1')
  assert.equal(again.getMetrics().stats.totalAcquired, 1)
  again.stop()
  assert.notEqual(Pool, pg.Pool)
})

test('a blocked event loop does not keep the log line back', async () => {
  const script = `
    const pg = require(${JSON.stringify(require.resolve('pg'))})
    const theirs = new pg.Pool({ connectionString: process.env.DATABASE_URL })
    const detector = leakpool.watch(theirs, { leakThresholdMs: 200 })
    const client = await theirs.connect()
    await client.query('SELECT 42')
    const until = Date.now() + 700
    while (Date.now() < until);
    require('node:fs').writeSync(2, 'unblocked\\n')
    await sleep(200)
    client.release()
    await theirs.end()
  `
  const { code, stderr } = await run(script, { env: { LEAKPOOL_LOG: 'warn' } })
  assert.equal(code, 0, stderr)
  const [before, after] = stderr.split('unblocked\n')
  assert.match(before, /ERROR leakpool: connection leak: a line that follows[^]*SELECT 42/)
  assert.match(after, /was acquired at main/)
})

test('cursors and copies are seen, which go past the client', { timeout: 60_000 }, async (t) => {
  const Cursor = require('pg-cursor')
  const { from } = require('pg-copy-streams')
  const { pool, clock, detector } = watched(t, { leakThresholdMs: 1000, forceReleaseAfterMs: 5000 }, { max: 1 })
  const client = await pool.connect()
  const of = () => detector.checkouts()[0]
  await client.query('begin')
  const cursor = client.query(new Cursor('select pg_sleep(0.1) from generate_series(1, 4)'))
  for (let read = 0; read < 3; read++) {
    const rows = cursor.read(1)
    await until(() => of().activity === 'executing', 'it reads')
    clock.advance(100_000)
    assert.equal(of().verdict, 'busy')
    assert.equal((await rows).length, 1)
    assert.equal(of().activity, 'idle_in_transaction')
  }
  await cursor.close()
  await client.query('create temp table copied (x int)')
  const copy = client.query(from('copy copied from stdin'))
  for (let n = 0; n < 20; n++) {
    clock.advance(900)
    await new Promise((resolve, reject) => copy.write(`${n}\n`, (error) => (error ? reject(error) : resolve())))
    // Its chunks are collected by the stream; what is sent is a use.
    assert.notEqual(of().verdict, 'suspected')
  }
  await new Promise((resolve) => copy.end(resolve).once('finish', resolve))
  assert.equal((await client.query('select count(*)::int n from copied')).rows[0].n, 20)
  await client.query('commit')
  client.release()
  assert.equal(detector.getMetrics().stats.leaksDetected, 0)
})
