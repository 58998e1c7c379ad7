'use strict'
// The same program against pg.Pool and against ours: what it sees has to be the same.

const test = require('node:test')
const assert = require('node:assert/strict')
const pg = require('pg')
const { leakpool, connectionString, until } = require('./support/pools')

/**
 * Runs a program on both and compares what it logs.
 * @param {string} name
 * @param {object | undefined} options
 * @param {(pool: any, log: (...what: any[]) => void, Pool: any) => Promise<void>} program
 */
function same(name, options, program) {
  test(name, { timeout: 60_000 }, async (t) => {
    const logs = []
    // Idle connections of ours keep no process alive; some of these programs wait for what happens to them.
    const alive = setInterval(() => {}, 1000)
    t.after(() => clearInterval(alive))
    for (const Pool of [pg.Pool, leakpool.Pool]) {
      const log = []
      const pool = new Pool({ connectionString, ...options })
      const say = (...what) => log.push(what.map(shown).join(' '))
      await program(pool, say, Pool)
      if (!pool.ending) await pool.end()
      logs.push(log)
    }
    assert.ok(logs[0].length > 0, 'the program says something')
    assert.deepEqual(logs[1], logs[0])
  })
}

function shown(value) {
  if (value instanceof Error) return `${value.name === 'error' ? 'error' : 'Error'}: ${value.message}`
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

const counts = (pool) => [pool.totalCount, pool.idleCount, pool.waitingCount, pool.expiredCount]

same('promises, counts and getters', { max: 2 }, async (pool, log) => {
  log(counts(pool), pool.ending, pool.ended)
  const a = await pool.connect()
  log(counts(pool), typeof a.processID, a.constructor.name, a.getTransactionStatus())
  const b = await pool.connect()
  const c = pool.connect()
  log(counts(pool))
  b.release()
  const again = await c
  log(again === b, counts(pool))
  await a.query('BEGIN')
  log(a.getTransactionStatus())
  await a.query('SELECT 1/0').catch((e) => log(e, e.code, e.severity, e.routine))
  await a.query('ROLLBACK')
  a.release()
  again.release()
  log(counts(pool))
  // pg's gives nothing, ours who still held.
  await pool.end()
  log(pool.ending, pool.ended, counts(pool)[0])
})

same('the last one in is the first one out', { max: 3 }, async (pool, log) => {
  const [a, b, c] = await Promise.all([pool.connect(), pool.connect(), pool.connect()])
  let back = 0
  for (const client of [b, c, a]) {
    client.release()
    back++
    // A session that has only just begun may settle a moment later.
    await until(() => pool.idleCount === back, 'it is back')
  }
  const order = [await pool.connect(), await pool.connect(), await pool.connect()]
  log(order.map((client) => ['a', 'b', 'c'][[a, b, c].indexOf(client)]))
  for (const client of order) client.release()
})

same('callbacks: arguments, order, never at once', { max: 1 }, async (pool, log) => {
  let sync = true
  const returned = pool.connect((error, client, release) => {
    log('first', sync, error, typeof release, release === client.release)
    sync = true
    const none = client.query('SELECT $1::int AS n', [1], (error, result) => {
      log('query', sync, error, result.rows, result.rowCount, result.command)
      release()
    })
    log(none)
    sync = false
  })
  log(returned)
  sync = false
  await until(() => pool.idleCount === 1, 'it is back')
  sync = true
  await new Promise((resolve) => {
    pool.connect((error, client, release) => {
      log('an idle one', sync, error, typeof client)
      release()
      resolve()
    })
    sync = false
  })
  sync = true
  await new Promise((resolve) => {
    log(
      pool.query('SELECT 2 AS n', (error, result) => {
        log('pool.query', sync, error, result.rows)
        resolve()
      }),
    )
    sync = false
  })
  await new Promise((resolve) => pool.end((...all) => resolve(log('ended', all[0] == null))))
})

same('events, their arguments and their order', { max: 1 }, async (pool, log) => {
  let removed = 0
  pool.on('remove', () => removed++)
  for (const name of ['connect', 'acquire', 'release', 'remove', 'error']) {
    pool.on(name, (...args) =>
      log(
        name,
        args.slice(0, name === 'remove' ? 1 : 2).map((a) => a?.constructor.name),
      ),
    )
  }
  const client = await pool.connect()
  log('connected')
  client.release()
  log('released')
  await pool.query('SELECT 1')
  log('queried')
  await pool.query('SELECT wrong').catch((e) => log(e))
  await until(() => removed === 1, 'the failed one is gone')
  log(counts(pool))
  const other = await pool.connect()
  other.release(new Error('broken'))
  await until(() => removed === 2, 'the broken one is gone')
  const third = await pool.connect()
  third.release(true)
  await until(() => removed === 3, 'the third one is gone')
})

same('messages of mistakes', { max: 1 }, async (pool, log) => {
  const client = await pool.connect()
  for (const wrong of [null, undefined]) {
    try {
      await client.query(wrong)
    } catch (e) {
      log(e, e instanceof TypeError)
    }
  }
  for (const [text, values] of [
    ['SELECT $1', 'x'],
    ['SELECT $1', 7],
    [{}, undefined],
    [{ text: 7 }, undefined],
  ]) {
    await client.query(text, values).then(log, log)
    client.query(text, values, (e) => log('callback', e))
    await client.query('SELECT 1')
  }
  await client.query({ name: 'one', text: 'SELECT 1 AS n' }).then((r) => log(r.rows))
  await client.query({ name: 'one' }).then((r) => log(r.rows))
  await client.query({ name: 'one', text: 'SELECT 2' }).catch(log)
  try {
    client.query('SELECT 1', [], 'no function')
  } catch (e) {
    log(e)
  }
  await client.connect().catch(log)
  client.release()
  try {
    client.release()
  } catch (e) {
    log(e)
  }
  await new Promise((resolve) => pool.query((e) => resolve(log(e))))
  await pool.query(null).catch(log)
  await pool.end()
  await pool.end().catch(log)
  await pool.connect().catch(log)
  await pool.query('SELECT 1').catch(log)
  await new Promise((resolve) => pool.connect((e, none) => resolve(log('callback', e, none))))
  await new Promise((resolve) => pool.end((e) => resolve(log('callback', e))))
})

same('an acquire that times out', { max: 1, connectionTimeoutMillis: 300 }, async (pool, log) => {
  const client = await pool.connect()
  await pool.connect().catch((e) => log(e, counts(pool)))
  await new Promise((resolve) => pool.connect((e, none, release) => resolve(log(e, none, release?.()))))
  await pool.query('SELECT 1').catch((e) => log(e))
  client.release()
  const again = await pool.connect()
  log(again === client)
  again.release()
})

same('a query that fails for want of a server', { max: 1 }, async (_, log, Pool) => {
  const nowhere = new Pool({ host: '127.0.0.1', port: 1, user: 'x', database: 'x', password: 'x' })
  await nowhere.connect().catch((e) => log(e.code))
  await nowhere.query('SELECT 1').catch((e) => log(e.code))
  log(counts(nowhere))
  await nowhere.end()
  const url = new URL(connectionString)
  url.pathname = '/there_is_none'
  const missing = new Pool({ connectionString: url.href })
  await missing.connect().catch((e) => log(e, e.code, e.severity))
  await missing.end()
  url.pathname = '/postgres'
  url.password = 'wrong'
  const stranger = new Pool({ connectionString: url.href })
  await stranger.connect().catch((e) => log(e, e.code))
  await stranger.end()
})

same('max uses, idle time-outs, lifetimes', { max: 1, maxUses: 2 }, async (pool, log, Pool) => {
  const removed = []
  pool.on('remove', (client) => removed.push(client))
  const first = await pool.connect()
  first.release()
  const second = await pool.connect()
  log(first === second)
  second.release()
  await until(() => removed.length === 1, 'used up')
  log(removed[0] === first, pool.totalCount)
  const third = await pool.connect()
  log(third === first)
  third.release()
  const short = new Pool({ connectionString, idleTimeoutMillis: 20 })
  const gone = new Promise((resolve) => short.on('remove', resolve))
  const client = await short.connect()
  client.release()
  log((await gone) === client, counts(short))
  await short.end()
  const old = new Pool({ connectionString, maxLifetimeSeconds: 1, idleTimeoutMillis: 0 })
  const died = new Promise((resolve) => old.on('remove', resolve))
  const mortal = await old.connect()
  mortal.release()
  log((await died) === mortal)
  await old.end()
})

same('hooks for new clients', { max: 2 }, async (_, log, Pool) => {
  const verified = []
  const pool = new Pool({
    connectionString,
    onConnect: async (client) => {
      await client.query("SET application_name = 'hooked'")
      log('hook')
    },
    verify: (client, callback) => {
      verified.push(client)
      client.query('SHOW application_name', (error, { rows }) => callback(error ?? (rows.length === 1 ? null : rows)))
    },
  })
  pool.on('connect', () => log('connect'))
  const client = await pool.connect()
  log((await client.query('SHOW application_name')).rows, verified[0] === client)
  client.release()
  await pool.query('SELECT 1')
  log(verified.length)
  await pool.end()
  const refusing = new Pool({ connectionString, max: 1, verify: (_, callback) => callback(new Error('not this one')) })
  await refusing.connect().catch((e) => log(e))
  await refusing.end()
  const failing = new Pool({ connectionString, onConnect: () => Promise.reject(new Error('hook failed')) })
  await failing.connect().catch((e) => log(e))
  await until(() => failing.totalCount === 0, 'it is gone')
  const throwing = new Pool({
    connectionString,
    onConnect: () => {
      throw new Error('hook threw')
    },
  })
  await throwing.query('SELECT 1').catch((e) => log(e))
  await failing.end()
  await throwing.end()
})

same('options', { max: 1 }, async (_, log, Pool) => {
  const { hostname, port, username, password } = new URL(connectionString)
  const given = Object.freeze({
    host: hostname,
    port: Number(port),
    user: username,
    password: async () => password,
    database: 'postgres',
    statement_timeout: 12345,
    lock_timeout: 2345,
    idle_in_transaction_session_timeout: 34567,
    query_timeout: 10_000,
    options: '-c search_path=pg_catalog',
    poolSize: 3,
  })
  const pool = new Pool(given)
  log(pool.options.max, pool.options.min, pool.options.maxUses, pool.options.allowExitOnIdle, pool.options.host)
  log(Object.keys(pool.options).includes('password'), typeof pool.options.password, pool.options.maxLifetimeSeconds)
  for (const name of ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'search_path']) {
    log((await pool.query(`SHOW ${name}`)).rows)
  }
  log((await pool.query('SELECT current_user, current_database()')).rows)
  await pool.end()
  const wrong = new Pool({ ...given, password: () => Promise.reject(new Error('no token')) })
  await wrong.connect().catch((e) => log(e))
  await wrong.end()
  const bare = new Pool({ connectionString: `${connectionString}?statement_timeout=777` })
  log(bare.options.idleTimeoutMillis, bare.options.max, (await bare.query('SHOW statement_timeout')).rows)
  await bare.end()
})

same('queries that wait for one another', { max: 1 }, async (pool, log) => {
  const client = await pool.connect()
  const all = [1, 2, 3].map((n) => client.query('SELECT $1::int AS n, pg_sleep(0.01)', [n]))
  log((await Promise.all(all)).map((r) => r.rows[0].n))
  const later = client.query('SELECT 4 AS n')
  client.release()
  log((await later).rows)
  log((await pool.query('SELECT 5 AS n')).rows)
})

same('time-outs of queries', { max: 1 }, async (pool, log) => {
  const client = await pool.connect()
  await client.query({ text: 'SELECT pg_sleep(0.2)', query_timeout: 20 }).catch((e) => log(e))
  log((await client.query('SELECT 1 AS n')).rows)
  await new Promise((resolve) => {
    client.query({ text: 'SELECT pg_sleep(0.2)', query_timeout: 20 }, (e) => resolve(log(e)))
  })
  client.release(true)
})

same('COPY through query', { max: 1 }, async (pool, log) => {
  const client = await pool.connect()
  await client.query('CREATE TEMP TABLE copied (x int)')
  await client.query('COPY copied FROM STDIN').catch((e) => log(e, e.code, e.severity))
  log((await client.query('SELECT count(*)::int AS n FROM copied')).rows)
  client.release()
})

same('notices and notifications', { max: 2 }, async (pool, log) => {
  const client = await pool.connect()
  client.on('notice', (notice) => log(notice.name, notice.message, notice.severity, notice.code))
  await client.query("DO $$ BEGIN RAISE NOTICE 'hello'; RAISE WARNING 'careful'; END $$")
  const told = new Promise((resolve) => client.on('notification', resolve))
  await client.query('LISTEN leakpool_channel')
  const { rows } = await pool.query("SELECT pg_notify('leakpool_channel', 'word'), pg_backend_pid() AS pid")
  const { name, channel, payload, processId } = await told
  log(name, channel, payload, processId === rows[0].pid)
  client.release()
})

same('a session that is killed', { max: 2 }, async (pool, log) => {
  const errors = []
  pool.on('error', (error, client) => errors.push([error instanceof Error, client.constructor.name]))
  const client = await pool.connect()
  const lost = []
  client.on('error', (error) => lost.push(error instanceof Error))
  const ended = new Promise((resolve) => client.on('end', resolve))
  const { pid } = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0]
  const killed = client.query('SELECT pg_sleep(10)').catch((e) => log(e.code))
  await pool.query('SELECT pg_terminate_backend($1)', [pid])
  await killed
  await ended
  log(lost.length > 0)
  await client.query('SELECT 1').catch((e) => log(e))
  client.release()
  const idle = await pool.connect()
  const other = (await idle.query('SELECT pg_backend_pid() AS pid')).rows[0].pid
  const killer = await pool.connect()
  idle.release()
  await killer.query('SELECT pg_terminate_backend($1)', [other])
  await until(() => errors.length > 0, 'the pool says so')
  log(errors)
  killer.release()
  log((await pool.query('SELECT 1 AS n')).rows)
})
