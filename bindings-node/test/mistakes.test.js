'use strict'
// Mistakes: each is a typed error that names what is wrong, leads to the caller, and leaves everything usable.

const test = require('node:test')
const assert = require('node:assert/strict')
const { leakpool, connectionString, poolFor, run, turn } = require('./support/pools')

const { Pool, LeakpoolError } = leakpool

test('options of the wrong type name the option', () => {
  const wrong = {
    connectionString: 7,
    host: 7,
    port: 'x',
    user: {},
    password: 7,
    database: true,
    ssl: 7,
    application_name: 7,
    options: {},
    statement_timeout: 'soon',
    lock_timeout: -1,
    idle_in_transaction_session_timeout: true,
    query_timeout: 'never',
    keepAlive: 'yes',
    keepAliveInitialDelayMillis: 'x',
    types: 'x',
    max: 'many',
    min: -1,
    idleTimeoutMillis: 'x',
    connectionTimeoutMillis: -5,
    maxUses: 1.5,
    maxLifetimeSeconds: 'x',
    allowExitOnIdle: 'yes',
    log: 'x',
    verify: 'x',
    onConnect: 'x',
    leakThresholdMs: 'x',
    checkIntervalMs: NaN,
    maxLeaksBeforeAlert: -1,
    maxHeldMs: {},
    forceReleaseAfterMs: Infinity,
    forceReleaseBusy: 'perhaps',
    forceReleaseWhen: 'later',
    closeTimeoutMillis: 'x',
    statementCache: 7,
    reset: 'x',
    resetTimeoutMillis: 'x',
    utilizationWarning: 2,
    stackCapture: 'some',
    stackDepth: 0,
    sqlText: 'x',
    name: 7,
    clock: {},
  }
  for (const [name, value] of Object.entries(wrong)) {
    assert.throws(
      () => new Pool({ connectionString, [name]: value }),
      (error) => {
        assert.ok(error instanceof TypeError, `${name}: ${error}`)
        assert.match(error.code, /^LEAKPOOL_INVALID_(OPTION|ARGUMENT|DSN)$/, `${name}: ${error}`)
        assert.ok(error.message.includes(name), `${name}: ${error.message}`)
        assert.match(error.stack, /mistakes\.test\.js/)
        return true
      },
      name,
    )
  }
  for (const given of [7, true, () => {}, Symbol('x')]) assert.throws(() => new Pool(given), { name: 'TypeError' })
})

test('options that contradict one another, or that nobody knows', async () => {
  const leak = { leakThresholdMs: 30_000, forceReleaseAfterMs: 10_000 }
  assert.throws(
    () => new Pool({ connectionString, ...leak }),
    /forceReleaseAfterMs \(10 s\) must be longer than leakThresholdMs \(30 s\)/,
  )
  assert.throws(() => new Pool({ connectionString, leakTresholdMs: 5 }), /did you mean leakThresholdMs\?/)
  assert.throws(() => new Pool({ connectionString, idletimeoutmillis: 5 }), /did you mean idleTimeoutMillis\?/)
  assert.throws(() => new Pool({ connectionString, connectionstring: 'x' }), /did you mean connectionString\?/)
  const unknown = await run("console.log('fine'); await pool.query('SELECT 1')", { options: 'dialect: "postgres"' })
  assert.deepEqual([unknown.code, unknown.stdout], [0, 'fine\n'])
  assert.match(unknown.stderr, /LEAKPOOL_UNKNOWN_OPTION\] Warning: there is no option dialect; it is ignored/)
  for (const name of ['Client', 'stream', 'pipeline', 'binary', 'replication']) {
    assert.throws(() => new Pool({ connectionString, [name]: () => {} }), /keep pg\.Pool for it .* `watch\(pool\)`/)
  }
  assert.throws(() => new Pool({ connectionString, Promise: class {} }), { leakpoolCode: 'unsupported' })
})

test('no password is shown', async () => {
  const secret = 'h!dden'
  const url = new URL(connectionString)
  const texts = []
  for (const options of [
    { connectionString: `postgres://user:${secret}@127.0.0.1:1/x` },
    { host: '127.0.0.1', port: 1, user: 'user', password: secret },
    { connectionString: `postgres://user:${secret}@[broken` },
    { connectionString: `socket:user:${secret}@x` },
    { connectionString: url.href, password: secret, port: 'x' },
  ]) {
    try {
      const pool = new Pool(options)
      texts.push(require('node:util').inspect(pool, { depth: 5 }), JSON.stringify(Object.keys(pool.options)))
      await pool.connect().catch((e) => texts.push(require('node:util').inspect(e, { depth: 5 })))
      await pool.end()
    } catch (e) {
      texts.push(require('node:util').inspect(e, { depth: 5 }))
    }
  }
  assert.ok(texts.length >= 5)
  for (const text of texts) assert.ok(!text.includes(secret), text)
})

test('arguments of the wrong type', async (t) => {
  const pool = poolFor(t, { max: 1 })
  assert.throws(() => pool.connect(7), { name: 'TypeError', message: /options \(7\) must be a function/ })
  assert.throws(() => pool.connect({}, 7), { name: 'TypeError', message: /callback \(7\) must be a function/ })
  for (const [name, value] of Object.entries({
    label: 7,
    expectedDurationMs: 'long',
    timeoutMs: -1,
    signal: {},
    lable: 'x',
  })) {
    assert.throws(() => pool.connect({ [name]: value }), { name: 'TypeError', message: new RegExp(`^${name} `) })
  }
  assert.throws(() => pool.query('SELECT 1', [], 7), { name: 'TypeError' })
  assert.throws(() => pool.end(7), { name: 'TypeError' })
  assert.throws(() => pool.resize('x'), { name: 'TypeError', message: /max/ })
  assert.throws(() => pool.resize(0), { message: /max \(0\)/ })
  assert.throws(() => pool.reconfigure(null), { name: 'TypeError' })
  assert.throws(() => pool.reconfigure({ leakThresholdMs: [] }), { name: 'TypeError', message: /leakThresholdMs/ })
  assert.throws(() => new leakpool.Client({}), { leakpoolCode: 'unsupported' })
  assert.throws(() => leakpool.setLogLevel('loud'), /must be one of off, error/)
  const client = await pool.connect()
  for (const wrong of [7, true, Symbol('x')]) assert.throws(() => client.query(wrong), { name: 'TypeError' })
  assert.throws(() => client.query('SELECT 1', [], 'x'), { name: 'TypeError', message: 'callback is not a function' })
  assert.throws(() => client.setTypeParser(20, 'json', () => {}), { name: 'TypeError' })
  client.release()
  assert.equal(pool.idleCount, 1)
})

test('cursors, streams and pg’s own queries point to watch()', async (t) => {
  const pool = poolFor(t)
  const client = await pool.connect()
  class Cursor {
    submit() {}
  }
  assert.throws(() => client.query(new Cursor()), {
    leakpoolCode: 'unsupported',
    message: /Cursor .* pg's own JavaScript connection.* keep pg\.Pool for it .* `watch\(pool\)`/,
  })
  await assert.rejects(pool.query(new Cursor()), { leakpoolCode: 'unsupported' })
  await assert.rejects(pool.query(new (require('pg').Query)('SELECT 1')), { leakpoolCode: 'unsupported' })
  assert.equal((await client.query('SELECT 1 AS n')).rows[0].n, 1)
  client.release()
})

test('a client after its release, its end, the pool’s end', async (t) => {
  const pool = poolFor(t, { max: 2 })
  const client = await pool.connect()
  client.release()
  await assert.rejects(client.query('SELECT 1'), { leakpoolCode: 'already_released', stack: /mistakes\.test\.js/ })
  const called = await new Promise((resolve) => client.query('SELECT 1', resolve))
  assert.equal(called.leakpoolCode, 'already_released')
  assert.match(called.stack, /mistakes\.test\.js/)
  assert.throws(() => client.release(), { leakpoolCode: 'already_released', stack: /mistakes\.test\.js/ })
  assert.ok(called instanceof LeakpoolError)
  const { release } = await pool.connect()
  release()
  const second = await pool.connect()
  assert.equal(second, client)
  assert.throws(() => release(), /already been released/, 'an old release does nothing to the next holder')
  assert.equal((await second.query('SELECT 2 AS n')).rows[0].n, 2)
  await second.end()
  await assert.rejects(second.query('SELECT 1'), { message: 'Client was closed and is not queryable' })
  second.release()
  const third = await pool.connect()
  assert.notEqual(third, second)
  third.release()
  await pool.end()
  await assert.rejects(third.query('SELECT 1'), LeakpoolError)
})

test('what is on its way when its client is destroyed fails, and says so', async (t) => {
  const pool = poolFor(t, { max: 1 })
  const client = await pool.connect()
  const all = [client.query('SELECT pg_sleep(30)'), client.query('SELECT 1'), client.query('SELECT 2')]
  await turn()
  client.release(true)
  for (const outcome of await Promise.allSettled(all)) {
    assert.equal(outcome.status, 'rejected')
    assert.equal(outcome.reason.leakpoolCode, 'connection_lost')
    assert.match(outcome.reason.message, /Connection terminated/)
  }
  assert.equal((await pool.query('SELECT 3 AS n')).rows[0].n, 3)
})

test('texts that cannot be sent', async (t) => {
  const pool = poolFor(t, { max: 1 })
  const client = await pool.connect()
  for (const text of ['SELECT \0', 'SELECT $1::text']) {
    const error = await client.query(text, ['a\0b']).catch((e) => e)
    assert.ok(error instanceof Error, String(error))
    assert.match(error.stack, /mistakes\.test\.js/)
  }
  const { rows } = await client.query('SELECT $1::text AS t, length($1) AS n', ['\ud83d'])
  assert.deepEqual(rows, [{ t: '\ufffd', n: 1 }], 'half a character becomes the replacement character, as in pg')
  assert.equal((await client.query('SELECT 1 AS n')).rows[0].n, 1)
  client.release()
})
