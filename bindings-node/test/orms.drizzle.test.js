'use strict'
// drizzle-orm on a pool of leakpool: CRUD, transactions, and whose line is named.

const test = require('node:test')
const assert = require('node:assert/strict')
const { eq, gt, sql } = require('drizzle-orm')
const { drizzle } = require('drizzle-orm/node-postgres')
const { integer, numeric, pgTable, serial, text, timestamp, jsonb } = require('drizzle-orm/pg-core')
const { leaking, makePool } = require('./support/orms')

const pets = pgTable('drizzle_pets', {
  id: serial().primaryKey(),
  name: text().notNull(),
  age: integer(),
  price: numeric(),
  born: timestamp({ withTimezone: true }),
  local: timestamp({ mode: 'string', precision: 3 }),
  tags: text().array(),
  more: jsonb(),
})

async function database(t) {
  const columns =
    'id serial PRIMARY KEY, name text NOT NULL UNIQUE, age int, price numeric, born timestamptz, ' +
    'local timestamp(3), tags text[], more jsonb'
  const pool = await makePool(t, 'drizzle_pets', columns)
  return { db: drizzle({ client: pool, schema: { pets } }), pool }
}

test('CRUD', async (t) => {
  const { db, pool } = await database(t)
  const rex = {
    name: 'Rex',
    age: 3,
    price: '12.50',
    born: new Date('2024-02-29T12:00:00.123Z'),
    local: '2024-02-29 12:00:00.123',
    tags: ['a', 'b,c', '"'],
    more: { a: [1, null] },
  }
  assert.deepEqual(await db.insert(pets).values(rex).returning(), [{ id: 1, ...rex }])
  const { rowCount } = await db.insert(pets).values([{ name: 'Tom' }, { name: 'Kit', age: 1 }])
  assert.equal(rowCount, 2)
  await db
    .update(pets)
    .set({ age: sql`${pets.age} + 1` })
    .where(eq(pets.name, 'Rex'))
  const found = await db.select({ name: pets.name, age: pets.age }).from(pets).where(gt(pets.age, 0)).orderBy(pets.name)
  assert.deepEqual(found, [
    { name: 'Kit', age: 1 },
    { name: 'Rex', age: 4 },
  ])
  assert.deepEqual((await db.query.pets.findFirst({ where: eq(pets.name, 'Rex') })).born, rex.born)
  const prepared = db
    .select()
    .from(pets)
    .where(eq(pets.id, sql.placeholder('id')))
    .prepare('by_id')
  for (const id of [1, 2, 3]) assert.equal((await prepared.execute({ id }))[0].id, id)
  assert.deepEqual((await db.execute(sql`SELECT ${7}::int AS n, now() - now() AS i`)).rows, [{ n: 7, i: '00:00:00' }])
  assert.equal(await db.$count(pets), 3)
  assert.equal((await db.delete(pets).where(eq(pets.name, 'Tom'))).rowCount, 1)
  const error = await db
    .insert(pets)
    .values({ name: 'Rex' })
    .then(assert.fail, (e) => e)
  assert.deepEqual([error.cause.code, error.cause.constraint], ['23505', 'drizzle_pets_name_key'])
  assert.equal(pool.idleCount, pool.totalCount)
})

test('transactions: commit, rollback, nested', async (t) => {
  const { db, pool } = await database(t)
  await db.transaction(
    async (tx) => {
      await tx.insert(pets).values({ name: 'Rex' })
      const inner = tx.transaction(async (nested) => {
        await nested.insert(pets).values({ name: 'Bob' })
        nested.rollback()
      })
      await assert.rejects(inner)
    },
    { isolationLevel: 'serializable' },
  )
  const mine = new Error('mine')
  const failing = db.transaction(async (tx) => {
    await tx.insert(pets).values({ name: 'Tom' })
    throw mine
  })
  assert.equal(await failing.then(assert.fail, (e) => e), mine)
  assert.deepEqual(await db.select({ name: pets.name }).from(pets), [{ name: 'Rex' }])
  assert.equal(pool.idleCount, pool.totalCount)
})

test('a client of ours is no pool to drizzle', async (t) => {
  const { pool } = await database(t)
  const client = await pool.connect()
  const db = drizzle({ client })
  await db.transaction(async (tx) => {
    await tx.insert(pets).values({ name: 'Rex' })
    const { rows } = await client.query('SELECT count(*)::int AS n FROM drizzle_pets')
    assert.deepEqual(rows, [{ n: 1 }], 'the transaction is on this client')
    await assert.rejects(
      tx.transaction(() => {
        throw new Error('undone')
      }),
    )
  })
  client.release()
  assert.equal(pool.totalCount, 1)
})

test('a leak names the line of a transaction', async (t) => {
  const { db, pool } = await database(t)
  async function carelessTransaction(held) {
    await db.transaction(async (tx) => {
      await tx.select().from(pets)
      await held
    })
  }
  const { site, release } = await leaking(pool, carelessTransaction, /from "drizzle_pets"/)
  assert.equal(site.file, __filename, site.stack)
  assert.match(site.function, /carelessTransaction/)
  await release()
  assert.equal(pool.checkouts().length, 0)
})

test('through a thenable V8 drops the caller: the report shows the library and the last SQL', async (t) => {
  const { db, pool } = await database(t)
  async function carelessQuery() {
    await db.execute(sql`SELECT pg_sleep(60) /* careless */`)
  }
  const { id, site, running } = await leaking(pool, carelessQuery, /careless/)
  assert.match(site.file, /^drizzle-orm\//, site.stack)
  assert.ok(!site.frames.some(({ file }) => file === __filename), 'so V8 can do it after all: this test is out of date')
  pool.forceRelease(id)
  await assert.rejects(running)
})
