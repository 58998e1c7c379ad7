'use strict'
// TLS as pg's options ask for it: checked unless somebody says otherwise, certificates as texts.

const test = require('node:test')
const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { missing } = require('./support/missing')
const { connectionString, leakpool } = require('./support/pools')

const certs = process.env.LEAKPOOL_TEST_CERTS
const skip = missing(certs === undefined && 'the server has no TLS')
const pem = (name) => fs.readFileSync(path.join(/** @type {string} */ (certs), name))

/** Whether a session is encrypted, and whose it is; or the error. */
async function session(options) {
  const pool = new leakpool.Pool({ connectionString, ...options })
  try {
    const sql = 'SELECT ssl, current_user AS name FROM pg_stat_ssl WHERE pid = pg_backend_pid()'
    return (await pool.query(sql)).rows[0]
  } catch (error) {
    return error
  } finally {
    await pool.end()
  }
}

test('none unless asked for, and asked for it is checked', { skip }, async () => {
  assert.equal((await session({})).ssl, false)
  assert.equal((await session({ ssl: false })).ssl, false)
  for (const ssl of [true, {}, { ca: pem('other-ca.crt') }]) {
    const error = await session({ ssl })
    assert.equal(error.leakpoolCode, 'tls_failed', String(error))
    assert.match(error.stack, /tls\.test\.js/)
  }
  assert.equal((await session({ ssl: { rejectUnauthorized: false } })).ssl, true)
  assert.equal((await session({ ssl: 'no-verify' })).ssl, true)
  assert.equal((await session({ ssl: { ca: pem('ca.crt') } })).ssl, true)
  assert.equal((await session({ ssl: { ca: [pem('other-ca.crt'), pem('ca.crt').toString()] } })).ssl, true)
})

test('in the connection string, as pg reads it', { skip }, async () => {
  const at = (query) => session({ connectionString: `${connectionString}?${query}` })
  assert.equal((await at('sslmode=disable')).ssl, false)
  assert.equal((await at('ssl=no-verify')).ssl, true)
  for (const mode of ['require', 'prefer', 'verify-ca', 'verify-full']) {
    assert.equal((await at(`sslmode=${mode}`)).leakpoolCode, 'tls_failed', mode)
  }
  assert.equal((await at('uselibpqcompat=true&sslmode=require')).ssl, true)
  assert.equal(
    (await at(`sslmode=verify-full&sslrootcert=${encodeURIComponent(path.join(certs, 'ca.crt'))}`)).ssl,
    true,
  )
})

test('a certificate instead of a password', { skip }, async () => {
  const { hostname, port, pathname } = new URL(connectionString)
  const where = { connectionString: undefined, host: hostname, port: Number(port), database: pathname.slice(1) }
  const ssl = { ca: pem('ca.crt'), cert: pem('client.crt'), key: pem('client.key').toString() }
  const given = { ...where, user: 'leakpool_cert', ssl }
  const seen = await session(given)
  assert.deepEqual(seen, { ssl: true, name: 'leakpool_cert' }, String(seen))
  assert.equal(given.ssl.key, ssl.key, 'what was given is not changed')
  const pool = new leakpool.Pool(given)
  assert.equal(JSON.stringify(pool.options).includes('PRIVATE KEY'), false)
  await pool.end()
  for (const wrong of [{ key: 7 }, { passphrase: 'x' }, 7]) {
    assert.throws(
      () => new leakpool.Pool({ ...given, ssl: typeof wrong === 'object' ? { ...ssl, ...wrong } : wrong }),
      /ssl/,
    )
  }
})
