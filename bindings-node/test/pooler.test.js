'use strict'
// Through PgBouncer in transaction mode, with default options: every answer is the right one, and nothing is deleted.

const test = require('node:test')
const assert = require('node:assert/strict')
const { leakpool, connectionString } = require('./support/pools')
const { Pool } = leakpool

const { missing } = require('./support/missing')

const pooler = process.env.PGBOUNCER_URL
const skip = missing(pooler === undefined && 'PGBOUNCER_URL is not set: run under tests/with-pgbouncer')

test('six hundred of six hundred queries are right', { skip, timeout: 120_000 }, async () => {
  const direct = new Pool({ connectionString })
  await direct.query('drop table if exists node_safe; create table node_safe (id int primary key, v int)')
  await direct.query('insert into node_safe select g, g * 10 from generate_series(1, 100) g')
  const pools = [new Pool({ connectionString: pooler, max: 10 }), new Pool({ connectionString: pooler, max: 10 })]
  for (let round = 0; round < 60; round++) {
    const asked = Array.from({ length: 10 }, async (_, i) => {
      const pool = pools[(round + i) % 2]
      if (i % 2 === 1) {
        const id = 1 + ((round + i) % 100)
        const { rows } = await pool.query('select v from node_safe where id = $1', [id])
        assert.deepEqual(rows, [{ v: id * 10 }])
      } else if (i === 0) {
        const client = await pool.connect()
        await client.query('begin')
        assert.equal((await client.query('delete from node_safe where id = $1', [999])).rowCount, 0)
        await client.query('commit')
        client.release()
      } else {
        assert.equal((await pool.query('delete from node_safe where id = $1', [999])).rowCount, 0)
      }
    })
    await Promise.all(asked)
  }
  assert.equal((await direct.query('select count(*)::int n from node_safe')).rows[0].n, 100)
  for (const pool of [...pools, direct]) await pool.end()
})
