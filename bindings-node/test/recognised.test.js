'use strict'
// What libraries use to recognise a pool of pg, and pg's defaults.

const test = require('node:test')
const assert = require('node:assert/strict')
const { execFileSync } = require('node:child_process')
const pg = require('pg')
const { leakpool, connectionString } = require('./support/pools')
const { Pool, defaults, usePg } = leakpool

const options = { timeout: 60_000 }

test('a pool is an instance of the Pool of the pg that the application has', options, async () => {
  class Own extends Pool {}
  for (const Kind of [Pool, Own]) {
    const pool = new Kind({ connectionString })
    assert.ok(pool instanceof pg.Pool && pool instanceof Kind && pool instanceof Pool)
    assert.equal((await pool.query('select 1 as one')).rows[0].one, 1)
    await pool.end()
  }
  assert.ok(!(new pg.Pool({ connectionString }) instanceof Pool))
})

test('nothing of pg-pool runs on ours: each of its names is ours, or a sentence', options, async () => {
  const pool = new Pool({ connectionString })
  const { EventEmitter } = require('node:events')
  for (let p = pg.Pool.prototype; p !== EventEmitter.prototype; p = Object.getPrototypeOf(p)) {
    for (const name of Object.getOwnPropertyNames(p)) {
      if (name === 'constructor') continue
      const ours =
        Object.getOwnPropertyDescriptor(Pool.prototype, name) ??
        Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Pool.prototype), name)
      assert.ok(ours !== undefined, `pool.${name} is pg-pool's own`)
      if (ours.value !== undefined && ours.value.name === 'value') {
        assert.throws(
          () => ours.value.call(pool),
          (/** @type {any} */ e) => e.leakpoolCode === 'unsupported',
          name,
        )
      }
    }
  }
  await pool.end()
})

test('another copy of pg can be named', options, async () => {
  class Other {}
  usePg({ Pool: Other })
  const pool = new Pool({ connectionString })
  assert.ok(pool instanceof Other && !({} instanceof Other) && new Other() instanceof Other)
  await pool.end()
  assert.throws(() => usePg({}), TypeError)
})

test('without pg a pool works all the same', options, () => {
  const program = `
    const Module = require('node:module')
    const resolve = Module._resolveFilename
    Module._resolveFilename = function (name, ...rest) {
      if (name === 'pg') throw Object.assign(new Error('no pg here'), { code: 'MODULE_NOT_FOUND' })
      return resolve.call(this, name, ...rest)
    }
    const { Pool } = require(${JSON.stringify(require.resolve('..'))})
    const pool = new Pool({ connectionString: process.env.DATABASE_URL })
    pool.query('select 5 as five').then(async ({ rows }) => {
      await pool.end()
      console.log(rows[0].five)
    })`
  const env = { ...process.env, DATABASE_URL: connectionString, LEAKPOOL_LOG: 'off' }
  assert.equal(execFileSync(process.execPath, ['-e', program], { env, encoding: 'utf8' }).trim(), '5')
})

/**
 * @param {Record<string, any>} set
 * @param {() => Promise<void>} run
 */
async function withDefaults(set, run) {
  const before = Object.keys(set).map((name) => [name, defaults[name]])
  try {
    Object.assign(defaults, set)
    await run()
  } finally {
    for (const [name, value] of before) defaults[name] = value
  }
}

test('every default that pg has counts, or is refused', options, async () => {
  const url = new URL(connectionString)
  const target = {
    host: url.hostname,
    port: Number(url.port),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: url.pathname.slice(1),
  }
  const more = { application_name: 'by default', statement_timeout: 4321, lock_timeout: 1234, max: 3 }
  await withDefaults({ ...target, ...more }, async () => {
    const pool = new Pool()
    const sql =
      "select split_part(current_setting('application_name'), ' [', 1) a, current_setting('statement_timeout') s, " +
      "current_setting('lock_timeout') l, current_database() d"
    const right = [{ a: 'by default', s: '4321ms', l: '1234ms', d: target.database }]
    assert.deepEqual((await pool.query(sql)).rows, right)
    assert.equal(pool.options.max, 3)
    await pool.end()
    const said = new Pool({ application_name: 'said', max: 2 })
    assert.deepEqual((await said.query(sql)).rows, [{ ...right[0], a: 'said' }])
    assert.equal(said.options.max, 2)
    await said.end()
  })
  await withDefaults({ connectionString }, async () => {
    const pool = new Pool()
    assert.equal((await pool.query('select 1 as one')).rows[0].one, 1)
    await pool.end()
  })
  for (const name of Object.keys(require('pg/lib/defaults'))) {
    assert.ok(name in defaults, `defaults.${name} is not known`)
  }
  assert.throws(() => (defaults.binary = true), /defaults\.binary \(true\) is not supported/)
  assert.throws(() => (defaults.rows = 5), /defaults\.rows \(5\)/)
  defaults.rows = 0
})

test('defaults.ssl encrypts, or fails; it never goes on in clear text', options, async () => {
  const sql = 'select ssl from pg_stat_ssl where pid = pg_backend_pid()'
  await withDefaults({ ssl: { rejectUnauthorized: false } }, async () => {
    const pool = new Pool({ connectionString: connectionString.replace(/\?.*/, '') })
    const outcome = await pool.query(sql).then(
      ({ rows }) => rows[0].ssl,
      (/** @type {any} */ error) => error.leakpoolCode,
    )
    // A server without TLS refuses it.
    assert.ok(outcome === true || outcome === 'tls_failed', String(outcome))
    await pool.end()
  })
  await withDefaults({ ssl: true }, async () => {
    const pool = new Pool({ connectionString: connectionString.replace(/\?.*/, '') })
    await assert.rejects(pool.query(sql), (/** @type {any} */ error) => error.leakpoolCode === 'tls_failed')
    await pool.end()
  })
})
