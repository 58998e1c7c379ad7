'use strict'
// Kysely on a pool of leakpool: CRUD, transactions, and whose line is named.

const test = require('node:test')
const assert = require('node:assert/strict')
const { setImmediate: turn } = require('node:timers/promises')
const { AbortedTransactionError, Kysely, PostgresDialect, sql } = require('kysely')
const { leaking, makePool } = require('./support/orms')

async function database(t) {
  const pool = await makePool(
    t,
    'kysely_pets',
    'id serial PRIMARY KEY, name text NOT NULL UNIQUE, age int, born timestamptz',
  )
  const db = new Kysely({ dialect: new PostgresDialect({ pool }) })
  return { db, pool }
}

test('CRUD', async (t) => {
  const { db, pool } = await database(t)
  const born = new Date('2024-02-29T12:00:00.123Z')
  const inserted = await db
    .insertInto('kysely_pets')
    .values([
      { name: 'Rex', age: 3, born },
      { name: 'Tom', age: null, born: null },
    ])
    .returning(['id', 'name', 'born'])
    .execute()
  assert.deepEqual(inserted, [
    { id: 1, name: 'Rex', born },
    { id: 2, name: 'Tom', born: null },
  ])
  const insert = await db.insertInto('kysely_pets').values({ name: 'Kit' }).executeTakeFirst()
  assert.equal(insert.numInsertedOrUpdatedRows, 1n)
  const update = await db
    .updateTable('kysely_pets')
    .set({ age: sql`coalesce(age, 0) + 1` })
    .executeTakeFirst()
  assert.equal(update.numUpdatedRows, 3n)
  const rows = await db.selectFrom('kysely_pets').select(['name', 'age']).where('age', '>', 0).orderBy('name').execute()
  assert.deepEqual(rows, [
    { name: 'Kit', age: 1 },
    { name: 'Rex', age: 4 },
    { name: 'Tom', age: 1 },
  ])
  const deleted = await db.deleteFrom('kysely_pets').where('name', 'in', ['Kit', 'Tom']).executeTakeFirst()
  assert.equal(deleted.numDeletedRows, 2n)
  const error = await db
    .insertInto('kysely_pets')
    .values({ name: 'Rex' })
    .execute()
    .then(assert.fail, (e) => e)
  assert.deepEqual([error.code, error.constraint, error.table], ['23505', 'kysely_pets_name_key', 'kysely_pets'])
  assert.deepEqual(
    await db.schema.createTable('kysely_pets').ifNotExists().addColumn('id', 'integer').execute(),
    undefined,
  )
  assert.equal(pool.idleCount, pool.totalCount)
})

test('transactions: commit, rollback, savepoints, isolation', async (t) => {
  const { db, pool } = await database(t)
  await db.transaction().execute(async (trx) => {
    await trx.insertInto('kysely_pets').values({ name: 'Rex' }).execute()
  })
  const mine = new Error('mine')
  const failing = db
    .transaction()
    .setIsolationLevel('serializable')
    .execute(async (trx) => {
      await trx.insertInto('kysely_pets').values({ name: 'Tom' }).execute()
      throw mine
    })
  assert.equal(await failing.then(assert.fail, (e) => e), mine)
  const controlled = await db.startTransaction().execute()
  await controlled.insertInto('kysely_pets').values({ name: 'Kit' }).execute()
  const inner = await controlled.savepoint('s').execute()
  await inner.insertInto('kysely_pets').values({ name: 'Bob' }).execute()
  await inner.rollbackToSavepoint('s').execute()
  await controlled.commit().execute()
  // COMMIT of a transaction that had failed before: the tag says ROLLBACK.
  const doomed = await db.startTransaction().execute()
  await assert.rejects(doomed.insertInto('kysely_pets').values({ name: 'Kit' }).execute(), { code: '23505' })
  await assert.rejects(doomed.commit().execute(), AbortedTransactionError)
  await doomed.rollback().execute()
  const names = await db.selectFrom('kysely_pets').select('name').orderBy('name').execute()
  assert.deepEqual(names, [{ name: 'Kit' }, { name: 'Rex' }])
  assert.deepEqual([pool.idleCount, pool.waitingCount], [pool.totalCount, 0])
})

test('one connection is one object: what is prepared for it is prepared once', async (t) => {
  const { pool } = await database(t)
  const created = []
  const onCreateConnection = async (connection) => {
    created.push(connection)
    await connection.executeQuery({ sql: "SET leakpool.greeting = 'hello'", parameters: [], query: {}, queryId: {} })
  }
  const db = new Kysely({ dialect: new PostgresDialect({ pool, onCreateConnection }) })
  for (let i = 0; i < 5; i++) {
    const { rows } = await sql`SELECT current_setting('leakpool.greeting') AS greeting`.execute(db)
    assert.deepEqual(rows, [{ greeting: 'hello' }])
  }
  assert.equal(created.length, 1)
})

test('a leak names the line in a transaction, however deep Kysely is', async (t) => {
  const { db, pool } = await database(t)
  async function carelessTransaction(held) {
    await db.transaction().execute(async (trx) => {
      await trx.selectFrom('kysely_pets').selectAll().execute()
      await held
    })
  }
  const { site, release } = await leaking(pool, carelessTransaction, /select \* from "kysely_pets"/)
  assert.equal(site.file, __filename, site.stack)
  assert.match(site.function, /carelessTransaction/)
  await release()
  assert.equal(pool.checkouts().length, 0)
})

test('an aborted query is cancelled on the server', async (t) => {
  const { db, pool } = await database(t)
  const running =
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
  for (const inflightQueryAbortStrategy of ['cancel query', 'kill session']) {
    const abort = new AbortController()
    const query = sql`SELECT pg_sleep(60)`.execute(db, { signal: abort.signal, inflightQueryAbortStrategy })
    const failed = query.then(assert.fail, (error) => error)
    while ((await pool.query(running)).rows[0].n === 0);
    abort.abort()
    assert.equal((await failed).name, 'AbortError')
    while ((await pool.query(running)).rows[0].n > 0);
  }
  while (pool.checkouts().length > 0) await turn()
})
