'use strict'
// Detection, as a hand-written detector has it, and better: on a clock that the tests move.

const test = require('node:test')
const assert = require('node:assert/strict')
const { AsyncLocalStorage } = require('node:async_hooks')
const { leakpool, clockedPoolFor, poolFor, next, told, until, turn } = require('./support/pools')

const here = __filename

/** The line of this file on which a marker stands. */
const lineOf = (marker) =>
  require('node:fs')
    .readFileSync(here, 'utf8')
    .split('\n')
    .findIndex((line) => line.includes(`// ${marker}`)) + 1

async function leakyFunction(pool) {
  const client = await pool.connect() // LEAKY
  await client.query('SELECT 1 AS answer')
  throw Object.assign(new Error('simulated'), { client })
}

test('the names of hand-written detectors are names of the same class', () => {
  assert.equal(leakpool.LeakDetectingPool, leakpool.Pool)
  assert.equal(leakpool.ProductionPool, leakpool.Pool)
})

test('a leak is told once, with its line, its SQL and its times', async (t) => {
  const { pool, clock } = clockedPoolFor(t, { max: 5, leakThresholdMs: 5000, name: 'told-once' })
  const leak = next(pool, 'leak')
  const error = await leakyFunction(pool).catch((e) => e)
  clock.advance(4999)
  await told(pool)
  assert.equal(pool.leaks().length, 0)
  clock.advance(1)
  const [event] = await leak
  assert.equal(event.site.file, here)
  assert.equal(event.site.line, lineOf('LEAKY'))
  assert.equal(event.site.function, 'leakyFunction')
  assert.equal(event.location, `leakyFunction (${here}:${lineOf('LEAKY')})`)
  assert.equal(event.pool, 'told-once')
  assert.deepEqual([event.heldMs, event.idleMs, event.activity, event.verdict], [5000, 5000, 'idle', 'suspected'])
  assert.equal(event.lastSql.text, 'SELECT 1 AS answer')
  assert.equal(event.processID, error.client.processID)
  assert.equal(event.id, error.client._leakDetectionId)
  let again = 0
  pool.on('leak', () => again++)
  for (let n = 0; n < 10; n++) clock.advance(5000)
  await told(pool)
  assert.equal(again, 0)
  const metrics = pool.getMetrics()
  assert.deepEqual(metrics.stats, { totalAcquired: 1, totalReleased: 0, leaksDetected: 1, forcedReleases: 0 })
  assert.deepEqual(metrics.connections, { active: 1, oldest: 55000 })
  assert.equal(metrics.leakRate, '100.00')
  assert.match(pool.report(), /LEAK: leakyFunction \(.*leaks\.test\.js:\d+\)/)
  const recovered = next(pool, 'leakRecovered')
  error.client.release()
  assert.equal((await recovered)[0].heldMs, 55000)
})

test('status and batch alert in the shapes of hand-written detectors', async (t) => {
  const options = { max: 5, leakThresholdMs: 5000, maxLeaksBeforeAlert: 4, checkIntervalMs: 2000 }
  const { pool, clock } = clockedPoolFor(t, options)
  const status = pool.getPoolStatus()
  assert.deepEqual([status.total, status.idle, status.waiting, status.active, status.utilization], [0, 0, 0, 0, 0])
  const alert = next(pool, 'leaksDetected')
  for (let n = 0; n < 4; n++) await leakyFunction(pool).catch(() => {})
  const client = await pool.connect()
  client.release()
  const full = pool.getPoolStatus()
  assert.deepEqual([full.total, full.idle, full.active, full.utilization], [5, 1, 4, '80.0'])
  assert.deepEqual(
    full.activeConnections.map((c) => [typeof c.id, c.heldMs, c.isPotentialLeak]),
    Array(4).fill(['string', 0, false]),
  )
  clock.advance(6000)
  const [{ count, leaks }] = await alert
  assert.equal(count, 4)
  assert.deepEqual(
    leaks.map(({ id, ageMs, location }) => [typeof id, ageMs, location]),
    Array(4).fill(['string', 6000, `leakyFunction (${here}:${lineOf('LEAKY')})`]),
  )
  assert.ok(pool.getPoolStatus().activeConnections.every((c) => c.isPotentialLeak && c.heldMs === 6000))
})

test('a force release frees the place, fences the holder, and names the line', async (t) => {
  const { pool, clock } = clockedPoolFor(t, { max: 1, leakThresholdMs: 1000, forceReleaseAfterMs: 5000 })
  const removed = next(pool, 'remove')
  const taken = next(pool, 'forceRelease')
  const { client } = await leakyFunction(pool).catch((e) => e)
  const id = client._leakDetectionId
  const waiting = pool.connect()
  clock.advance(5000)
  const [event] = await taken
  assert.deepEqual([event.id, event.age, event.reason], [id, 5000, 'unused'])
  assert.equal(event.site.line, lineOf('LEAKY'))
  assert.deepEqual(await removed, [client, 'revoked'])
  const other = await waiting
  assert.notEqual(other, client)
  const late = next(pool, 'lateUse')
  const error = await client.query('SELECT 2').catch((e) => e)
  assert.equal(error.leakpoolCode, 'force_released')
  assert.equal(error.code, 'LP001')
  assert.match(error.message, /taken back .* unused for 5 s.*leaks\.test\.js/)
  assert.match(error.stack, /leaks\.test\.js/)
  assert.equal(error.revocation.id, id)
  assert.equal((await late)[0].id, id)
  const lateRelease = next(pool, 'lateRelease')
  client.release()
  assert.equal((await lateRelease)[0].site.line, lineOf('LEAKY'))
  assert.throws(() => client.release(), /already been released/)
  assert.equal((await other.query('SELECT 3 AS n')).rows[0].n, 3)
  other.release()
  const { books } = pool.getMetrics()
  assert.deepEqual(books, { acquired: 2, released: 1, forceReleased: 1, lost: 0, active: 0 })
})

test('by hand: a client or an id, of this pool alone', async (t) => {
  const [pool, other] = [poolFor(t), poolFor(t)]
  const client = await pool.connect()
  assert.throws(() => other.forceRelease(client), { name: 'TypeError', message: /client of this pool/ })
  for (const wrong of [undefined, null, 7, 'x', '1', {}]) assert.throws(() => pool.forceRelease(wrong), Error)
  assert.throws(() => pool.forceRelease('5.9'), { leakpoolCode: 'unknown_checkout' })
  assert.equal(pool.forceRelease(client).id, client._leakDetectionId)
  await assert.rejects(client.query('SELECT 1'), { leakpoolCode: 'force_released' })
  const again = await pool.connect()
  pool.forceRelease(again._leakDetectionId)
  await until(() => pool.totalCount === 0, 'both are gone')
})

test('a running query is no leak; a transaction left open is one, and says so', async (t) => {
  const { pool, clock } = clockedPoolFor(t, { leakThresholdMs: 1000 })
  const busy = await pool.connect()
  const running = busy.query('SELECT pg_sleep(0.5)')
  await until(() => pool.checkouts()[0].activity === 'executing', 'it runs')
  const long = next(pool, 'longRunning')
  clock.advance(60_000)
  assert.equal((await long)[0].activity, 'executing')
  assert.deepEqual([pool.checkouts()[0].verdict, pool.leaks()], ['busy', []])
  await running
  busy.release()
  const open = await pool.connect()
  await open.query('BEGIN')
  const leak = next(pool, 'leak')
  clock.advance(1000)
  const [event] = await leak
  assert.deepEqual([event.activity, event.transactionStatus], ['idle_in_transaction', 'T'])
  const dirty = next(pool, 'dirtyRelease')
  open.release()
  assert.deepEqual([(await dirty)[0].found, (await dirty)[0].site.file], ['in_transaction', here])
  const after = await pool.connect()
  assert.equal(after.getTransactionStatus(), 'I')
  after.release()
})

test('labels, announced durations, time-outs of an acquire', async (t) => {
  const { pool, clock } = clockedPoolFor(t, { max: 1, leakThresholdMs: 1000 })
  const client = await pool.connect({ label: 'nightly import', expectedDurationMs: 60_000 })
  clock.advance(59_000)
  const [checkout] = pool.checkouts()
  assert.deepEqual(
    [checkout.label, checkout.expectedDurationMs, checkout.verdict],
    ['nightly import', 60_000, 'expected'],
  )
  const exhausted = next(pool, 'exhausted')
  const waiting = pool.connect({ timeoutMs: 10 })
  await until(() => pool.waitingCount === 1, 'it waits')
  clock.advance(10)
  const error = await waiting.catch((e) => e)
  assert.equal(error.message, 'timeout exceeded when trying to connect')
  assert.equal(error.leakpoolCode, 'acquire_timeout')
  assert.equal(error.holders[0].label, 'nightly import')
  assert.equal(error.holders[0].site.file, here)
  assert.match(error.cause.message, /leaks\.test\.js/)
  assert.match(error.stack, /leaks\.test\.js/)
  assert.equal((await exhausted)[0].diagnosis, error.diagnosis)
  client.release()
})

test('an aborted acquire leaves nothing behind', async (t) => {
  const pool = poolFor(t, { max: 1 })
  const reason = new Error('not any more')
  await assert.rejects(pool.connect({ signal: AbortSignal.abort(reason) }), reason)
  const client = await pool.connect({ signal: new AbortController().signal })
  const controller = new AbortController()
  const waiting = pool.connect({ signal: controller.signal })
  await until(() => pool.waitingCount === 1, 'it waits')
  controller.abort(reason)
  await assert.rejects(waiting, reason)
  assert.equal(pool.waitingCount, 0)
  const second = new AbortController()
  const served = pool.connect({ signal: second.signal })
  client.release()
  second.abort(reason)
  // Served or aborted, the place is free.
  await served.then((c) => c.release()).catch((e) => assert.equal(e, reason))
  await pool.query('SELECT 1')
  assert.equal(pool.idleCount, 1)
  assert.equal(pool.getMetrics().books.active, 0)
})

test('the policy can be changed while the pool runs', async (t) => {
  const { pool, clock } = clockedPoolFor(t, { leakThresholdMs: 0, stackCapture: 'off' })
  const client = await pool.connect()
  clock.advance(200_000)
  await told(pool)
  assert.equal(pool.leaks().length, 0)
  pool.reconfigure({ leakThresholdMs: 1000, stackCapture: 'full' })
  assert.equal(pool.leaks()[0].site.known, false)
  assert.equal(pool.options.leakThresholdMs, 1000)
  assert.throws(() => pool.reconfigure({ leakThresholdMs: 400_000 }), {
    code: 'LEAKPOOL_INVALID_OPTION',
    message: /forceReleaseAfterMs .* leakThresholdMs/,
  })
  assert.throws(
    () => pool.reconfigure({ max: 3 }),
    /^.*max \(3\) cannot be changed while the pool runs by reconfiguring it: resize it instead/,
  )
  assert.throws(() => pool.reconfigure({ leakThreshold: 3 }), /leakThresholdMs/)
  const other = await pool.connect()
  assert.equal(pool.checkouts().find((c) => c.id === other._leakDetectionId).site.file, here)
  client.release()
  other.release()
  pool.resize(3)
  assert.equal(pool.getPoolStatus().max, 3)
})

test('utilization is told when most connections are out', async (t) => {
  const { pool, clock } = clockedPoolFor(t, { max: 2, utilizationWarning: 0.9, checkIntervalMs: 1000 })
  const clients = [await pool.connect(), await pool.connect()]
  const warning = next(pool, 'utilization')
  clock.advance(1000)
  const [{ active, max }] = await warning
  assert.deepEqual([active, max], [2, 2])
  for (const client of clients) client.release()
})

test('withClient, transaction and await using release on every path', async (t) => {
  const pool = poolFor(t, { max: 1 })
  assert.equal(await pool.withClient(async (c) => (await c.query('SELECT 1 AS n')).rows[0].n), 1)
  const error = new Error('mine')
  await assert.rejects(
    pool.withClient(() => Promise.reject(error)),
    error,
  )
  await assert.rejects(
    pool.withClient(() => {
      throw error
    }),
    error,
  )
  await assert.rejects(pool.withClient('no function'), { name: 'TypeError' })
  await pool.query('DROP TABLE IF EXISTS leakpool_kept; CREATE TABLE leakpool_kept (x int)')
  const rows = async () => (await pool.query('SELECT count(*)::int AS n FROM leakpool_kept')).rows[0].n
  const insert = (c) => c.query('INSERT INTO leakpool_kept VALUES (1)')
  assert.equal(await pool.transaction(async (c) => (await insert(c)) && 'done'), 'done')
  assert.equal(await rows(), 1)
  const failing = pool.transaction(async (c) => {
    await insert(c)
    throw error
  })
  await assert.rejects(failing, error)
  const swallowing = pool.transaction(async (c) => {
    await insert(c)
    await c.query('SELECT 1/0').catch(() => {})
  })
  await assert.rejects(swallowing, /the transaction was rolled back/)
  assert.equal(await rows(), 1)
  const level = await pool.transaction(
    async (c) => (await c.query('SHOW transaction_isolation')).rows[0].transaction_isolation,
    { isolationLevel: 'serializable', readOnly: true, deferrable: true },
  )
  assert.equal(level, 'serializable')
  await assert.rejects(
    pool.transaction(() => {}, { isolationLevel: "x'; DROP TABLE leakpool_kept" }),
    /isolationLevel .* must be one of/,
  )
  await pool.query('DROP TABLE leakpool_kept')
  const client = await pool.connect()
  const dispose = client[Symbol.asyncDispose]
  await dispose()
  assert.equal(pool.idleCount, 1)
  await dispose()
  const again = await pool.connect()
  assert.equal(again, client)
  await dispose()
  assert.equal(again._out, true, 'an old block does not release what is checked out to somebody else')
  again.release()
  const leaky = pool.withClient(async () => pool.checkouts()[0].site)
  assert.equal((await leaky).file, here)
})

test('the stack leads to the caller: after awaits, in callbacks, through the pool’s own methods', async (t) => {
  const { pool } = clockedPoolFor(t, { max: 3 })
  const siteNow = () => pool.checkouts()[0].site
  async function deep() {
    await turn()
    await turn()
    const client = await pool.connect() // DEEP
    const site = siteNow()
    client.release()
    return site
  }
  async function outer() {
    return await deep() // OUTER
  }
  const site = await outer()
  assert.deepEqual([site.file, site.line, site.function], [here, lineOf('DEEP'), 'deep'])
  const frames = site.frames.map((f) => [f.function, f.line])
  assert.ok(
    frames.some(([f, line]) => f === 'outer' && line === lineOf('OUTER')),
    JSON.stringify(frames),
  )
  const inCallback = await new Promise((resolve) => {
    const called = (error, client, release) => {
      resolve(siteNow())
      release()
    }
    const calling = () => pool.connect(called) // CALLBACK
    setImmediate(calling)
  })
  assert.equal(inCallback.line, lineOf('CALLBACK'))
  const running = pool.query('SELECT pg_sleep(0.3)') // QUERY
  assert.equal(siteNow().line, lineOf('QUERY'))
  await running
  const waited = Promise.all([pool.connect(), pool.connect(), pool.connect()]) // ALL
  const clients = await waited
  assert.deepEqual(
    pool.checkouts().map((c) => c.site.line),
    Array(3).fill(lineOf('ALL')),
  )
  const later = pool.connect() // LATER
  clients[0].release()
  const last = await later
  assert.equal(pool.checkouts().find((c) => c.id === last._leakDetectionId).site.line, lineOf('LATER'))
  last.release()
  clients[1].release()
  clients[2].release()
})

test('callbacks and promises go on in the context of their caller', async (t) => {
  const pool = poolFor(t, { max: 1 })
  const storage = new AsyncLocalStorage()
  await storage.run('request', async () => {
    const client = await pool.connect()
    assert.equal(storage.getStore(), 'request')
    await client.query('SELECT 1')
    assert.equal(storage.getStore(), 'request')
    await new Promise((resolve) => client.query('SELECT 1', () => resolve(assert.equal(storage.getStore(), 'request'))))
    const waiting = new Promise((resolve) => pool.connect((e, c, release) => resolve(release(storage.getStore()))))
    storage.exit(() => client.release())
    await waiting
    await new Promise((resolve) => pool.query('SELECT 1', () => resolve(assert.equal(storage.getStore(), 'request'))))
  })
})

test('a listener that throws harms nobody else', async (t) => {
  const pool = poolFor(t, { max: 1 })
  const thrown = []
  const before = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', (error) => thrown.push(error.message))
  t.after(() => {
    process.removeAllListeners('uncaughtException')
    for (const listener of before) process.on('uncaughtException', listener)
  })
  for (const name of ['connect', 'acquire', 'release', 'remove', 'forceRelease']) {
    pool.on(name, () => {
      throw new Error(name)
    })
  }
  const client = await pool.connect()
  client.query('SELECT 1', () => {
    throw new Error('callback')
  })
  assert.equal((await client.query('SELECT 2 AS n')).rows[0].n, 2)
  client.release()
  const again = await pool.connect()
  pool.forceRelease(again)
  await until(() => thrown.includes('remove') && thrown.includes('forceRelease'), 'all were told')
  assert.deepEqual([...new Set(thrown)].sort(), ['acquire', 'callback', 'connect', 'forceRelease', 'release', 'remove'])
  assert.equal((await pool.query('SELECT 3 AS n')).rows[0].n, 3)
})
