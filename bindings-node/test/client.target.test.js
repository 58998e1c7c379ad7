'use strict'
// A client says where it is connected, as pg's does: tracing reads it.

const test = require('node:test')
const assert = require('node:assert/strict')
const { Client } = require('pg')
const { Pool } = require('../lib/index')

const NAMES = ['user', 'database', 'host', 'port']
const pick = (object) => Object.fromEntries(NAMES.map((name) => [name, object[name]]))

test('user, database, host and port are those of pg', async () => {
  const connectionString = process.env.DATABASE_URL
  const url = new URL(connectionString)
  const database = url.pathname.slice(1)
  const given = { user: decodeURIComponent(url.username), password: url.password, database }
  const host = url.searchParams.get('host') ?? url.hostname
  const port = Number(url.port || url.searchParams.get('port') || 5432)
  for (const options of [{ connectionString }, { ...given, host, port }]) {
    const theirs = new Client(options)
    const pool = new Pool({ ...options, max: 1 })
    await pool.withClient((client) => {
      assert.deepEqual(pick(client), pick(theirs))
      assert.deepEqual(pick(client.connectionParameters), pick(theirs.connectionParameters))
    })
    await pool.end()
  }
})
