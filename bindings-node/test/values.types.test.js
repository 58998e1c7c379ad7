'use strict'
// Every type that the server has gives what pg gives, in each way of asking for it.

const test = require('node:test')
const assert = require('node:assert/strict')
const { both, same } = require('./support/compare')
const { peers } = require('./support/peers')
const { SETUP, everyType } = require('./support/samples')

const EXTENSIONS = ['hstore', 'citext', 'ltree', 'cube', 'seg', 'intarray', 'isn', 'lo']

const raw = { getTypeParser: (oid, format) => (text) => ({ oid, format, text }) }

/** Each way of asking, with the times that ours is asked (the second time the statement is prepared). */
const WAYS = {
  text: (sql) => (client) => client.query(sql),
  array: (sql) => (client) => client.query({ text: sql, rowMode: 'array' }),
  'with values': (sql) => (client) => client.query(`SELECT * FROM (${sql}) x LIMIT $1`, [1000]),
  again: (sql) => (client) =>
    client.query({ text: `SELECT * FROM (${sql}) x LIMIT $1`, values: [1000], rowMode: 'array' }),
  extended: (sql) => (client) => client.query({ text: sql, queryMode: 'extended' }),
  'with types': (sql) => (client) => client.query({ text: sql, types: raw }),
  'with types, array': (sql) => (client) => client.query({ text: sql, types: raw, rowMode: 'array' }),
  twice: (sql) => (client) => client.query(`${sql}; SELECT 1 AS n, * FROM (${sql}) x`),
}

async function prepared(t, options) {
  const all = await peers(t, options)
  const { theirs, ours } = all
  await theirs.query('DROP SCHEMA IF EXISTS leakpool_types CASCADE; CREATE SCHEMA leakpool_types')
  all.cleanup.push(() => theirs.query('DROP SCHEMA IF EXISTS leakpool_types CASCADE'))
  await theirs.query('SET search_path = leakpool_types, pg_catalog')
  await ours.query('SET search_path = leakpool_types, pg_catalog')
  const { rows } = await theirs.query('SELECT name FROM pg_available_extensions WHERE name = ANY($1)', [EXTENSIONS])
  for (const { name } of rows) await theirs.query(`CREATE EXTENSION IF NOT EXISTS ${name}`)
  await theirs.query(SETUP)
  return all
}

test('every type gives what pg gives', { timeout: 300_000 }, async (t) => {
  const all = await prepared(t)
  const types = await everyType(all.theirs)
  const without = []
  let values = 0
  for (const type of types) {
    if (type.sources.length === 0) without.push(type.typname)
    for (const sql of type.sources) {
      for (const [way, ask] of Object.entries(WAYS)) {
        const [a, b] = await both(all, ask(sql))
        assert.equal(a.message, undefined, `${type.typname}, ${way}: ${sql.slice(0, 2000)}`)
        same([a, b], `${type.typname}, ${way}: ${sql.slice(0, 2000)}`)
        if (way === 'text') values += a.rows.length
      }
      for (const client of [all.theirs, all.ours]) {
        client.setTypeParser(type.oid, (text) => ({ mine: text }))
      }
      const [a, b] = await both(all, WAYS.text(sql))
      same([a, b], `${type.typname} with a parser of the client`)
      // pg knows no way to take a parser back.
      for (const client of [all.theirs, all.ours]) delete client._types.text[type.oid]
    }
  }
  t.diagnostic(`${types.length} types, ${values} values; no values are there of ${without.join(' ')}`)
  // What is left are pseudo-types, and summaries that live inside of indexes.
  for (const name of without) {
    assert.match(
      name,
      /^(any|.*_handler$|.*trigger$|internal$|pg_ddl_command$|_?gtsvector$|_?pg_brin_|_?pg_(node_tree|ndistinct|dependencies|mcv_list)$)/,
      name,
    )
  }
  assert.ok(types.length > 590 && values > 1500, `${types.length} types, ${values} values`)
})

test('whatever the settings of session and process', { timeout: 300_000 }, async (t) => {
  const all = await prepared(t)
  const types = (await everyType(all.theirs)).filter(({ typname }) =>
    /^_?(date|time|timetz|timestamp|timestamptz|interval|bytea|float[48]|money|tstzrange|int4)$/.test(typname),
  )
  assert.equal(types.length, 24)
  const settings = [
    "SET datestyle = 'ISO, DMY'",
    "SET datestyle = 'SQL, DMY'",
    "SET datestyle = 'Postgres, MDY'",
    "SET datestyle = 'German'",
    "SET intervalstyle = 'iso_8601'",
    "SET intervalstyle = 'postgres_verbose'",
    "SET intervalstyle = 'sql_standard'",
    "SET bytea_output = 'escape'",
    'SET extra_float_digits = -10',
    "SET timezone = 'America/St_Johns'",
    "SET timezone = 'Africa/Monrovia'",
    "SET timezone = 'Asia/Kathmandu'",
    "SET timezone = '+15:59'",
    'RESET ALL',
  ]
  const before = process.env.TZ
  t.after(() => {
    if (before === undefined) delete process.env.TZ
    else process.env.TZ = before
  })
  for (const setting of settings) {
    for (const client of [all.theirs, all.ours]) await client.query(setting)
    for (const zone of ['UTC', 'Europe/Berlin', 'America/Sao_Paulo', 'Pacific/Apia']) {
      process.env.TZ = zone
      for (const { typname, sources } of types) {
        for (const sql of sources) {
          const [a, b] = await both(all, WAYS.text(sql))
          same([a, b], `${typname} after ${setting} in ${zone}`)
        }
      }
    }
    for (const client of [all.theirs, all.ours])
      await client.query('RESET ALL; SET search_path = leakpool_types, pg_catalog')
  }
})
