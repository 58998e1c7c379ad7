'use strict'
// Who has a client: its listeners first, then its borrower, nobody from before; and what is served before an end.

const test = require('node:test')
const assert = require('node:assert/strict')
const pg = require('pg')
const { leakpool, connectionString } = require('./support/pools')
const { Pool } = leakpool

const options = { timeout: 60_000 }

/** @param {object} [more] */
const made = (more) => new Pool({ connectionString, max: 1, ...more })

test('what connect listeners ask of a client runs before its borrower', options, async () => {
  for (const waits of [false, true]) {
    const pool = made()
    pool.on('connect', (client) => {
      client.query("SET application_name = 'first'")
      client.query("SET search_path = 'second'")
    })
    if (waits) {
      pool.on('connect', async (client) => {
        await client.query("SET lock_timeout = '3s'")
        await client.query("SET statement_timeout = '4s'")
      })
    }
    const sql =
      "select current_setting('application_name') a, current_setting('search_path') b, " +
      "current_setting('lock_timeout') c, current_setting('statement_timeout') d"
    const { rows } = await pool.query(sql)
    assert.deepEqual(rows, [{ a: 'first', b: 'second', c: waits ? '3s' : '0', d: waits ? '4s' : '0' }])
    const client = await pool.connect()
    assert.deepEqual((await client.query(sql)).rows, rows)
    client.release()
    await pool.end()
  }
})

test('a connect listener whose own wait fails fails the borrower, and the pool goes on', options, async () => {
  const pool = made()
  let times = 0
  pool.on('connect', async (client) => {
    if (++times === 1) await client.query('SELECT 1/0')
  })
  await assert.rejects(pool.query('select 1'), /division by zero/)
  assert.equal((await pool.query('select 2 as two')).rows[0].two, 2)
  await pool.end()
})

test('a stale reference disturbs no query of the pool', options, async () => {
  const pool = made()
  const client = await pool.connect()
  client.release()
  const running = pool.query('select pg_sleep(0.05), 7 as seven')
  assert.throws(() => client.release(), /already been released/)
  await assert.rejects(client.query('select 8'), /released to the pool/)
  assert.equal((await running).rows[0].seven, 7)
  assert.throws(() => client.release(), /already been released/)
  const again = await pool.connect()
  again.release()
  const failing = pool.query('select nothing')
  assert.throws(() => client.release(), /already been released/)
  await assert.rejects(failing, /does not exist/)
  assert.equal((await pool.query('select 9 as nine')).rows[0].nine, 9)
  const { books } = pool.getMetrics()
  assert.equal(books.acquired, books.released)
  await pool.end()
  assert.throws(() => client.release(), /already been released/)
})

test('what was asked for before end() is served, and nothing after it', options, async () => {
  const admin = new pg.Client(connectionString)
  await admin.connect()
  await admin.query('drop table if exists served_before; create table served_before (x int)')
  // pg never serves those that wait for a connection when it is ended: there, as many are asked for as there may be.
  for (const [Kind, max] of /** @type {[any, number][]} */ ([
    [pg.Pool, 5],
    [Pool, 5],
    [Pool, 2],
  ])) {
    for (const password of [undefined, 'later']) {
      await admin.query('truncate served_before')
      const url = new URL(connectionString)
      const secret = decodeURIComponent(url.password)
      url.password = ''
      const pool =
        password === undefined
          ? new Kind({ connectionString, max })
          : new Kind({
              host: url.hostname,
              port: Number(url.port),
              user: decodeURIComponent(url.username),
              database: url.pathname.slice(1),
              max,
              password: () => new Promise((resolve) => setTimeout(resolve, 5, secret)),
            })
      const asked = [1, 2, 3, 4, 5].map((x) => pool.query('insert into served_before values ($1)', [x]))
      const ended = pool.end()
      await assert.rejects(pool.query('insert into served_before values (6)'), /after calling end/)
      await assert.rejects(pool.connect(), /after calling end/)
      await Promise.all(asked)
      await ended
      assert.equal((await admin.query('select count(*)::int n from served_before')).rows[0].n, 5, Kind.name)
    }
  }
  await admin.end()
})

test('a query of the pool that leaves a transaction open is rolled back and refused', options, async () => {
  const pool = made()
  await pool.query('drop table if exists left_open; create table left_open (x int)')
  await assert.rejects(pool.query('BEGIN'), (/** @type {any} */ error) => {
    assert.equal(error.leakpoolCode, 'invalid_argument')
    assert.match(error.message, /left a transaction open.*rolled back/s)
    assert.match(error.stack, /pool\.borrowers\.test\.js/)
    return true
  })
  await assert.rejects(
    pool.query('/* hidden */ start transaction; insert into left_open values (1)'),
    /transaction open/,
  )
  await pool.query('BEGIN; insert into left_open values (2); COMMIT')
  await pool.query('do $$ begin insert into left_open values (3); end $$')
  await pool.query('ROLLBACK')
  assert.deepEqual((await pool.query('select x from left_open order by x')).rows, [{ x: 2 }, { x: 3 }])
  await pool.end()
  const allowing = made({ allowOpenTransaction: true })
  assert.equal((await allowing.query('BEGIN')).command, 'BEGIN')
  await allowing.end()
})
