'use strict'
// TypeORM with `driver: require('leakpool')`: CRUD, transactions, and whose line is named.

const test = require('node:test')
const assert = require('node:assert/strict')
const { DataSource, EntitySchema, MoreThan, Raw } = require('typeorm')
const leakpool = require('../lib/index')
const { leaking, makePool } = require('./support/orms')

const Pet = new EntitySchema({
  name: 'Pet',
  tableName: 'typeorm_pets',
  columns: {
    id: { type: Number, primary: true, generated: true },
    name: { type: String, unique: true },
    age: { type: Number, nullable: true },
    born: { type: 'timestamptz', nullable: true },
    more: { type: 'jsonb', nullable: true },
  },
})

async function database(t, options = {}) {
  const cleaner = await makePool(t, 'typeorm_pets', 'id int')
  await cleaner.query('DROP TABLE typeorm_pets')
  const source = new DataSource({
    type: 'postgres',
    driver: leakpool,
    url: process.env.DATABASE_URL,
    entities: [Pet],
    synchronize: true,
    logNotifications: true,
    poolSize: 3,
    ...options,
  })
  await source.initialize()
  t.after(() => source.isInitialized && source.destroy())
  return { source, pool: source.driver.master, pets: source.getRepository(Pet) }
}

test('CRUD', async (t) => {
  const { source, pool, pets } = await database(t)
  assert.ok(pool instanceof leakpool.Pool)
  const born = new Date('2024-02-29T12:00:00.123Z')
  const rex = await pets.save({ name: 'Rex', age: 3, born, more: { a: [1] } })
  assert.equal(rex.id, 1)
  await pets.insert([{ name: 'Tom' }, { name: 'Kit', age: 9 }])
  assert.deepEqual(await pets.findOneBy({ id: 1 }), { id: 1, name: 'Rex', age: 3, born, more: { a: [1] } })
  assert.equal((await pets.update({ name: 'Tom' }, { age: 1 })).affected, 1)
  const found = await pets.find({ where: { age: MoreThan(1) }, order: { age: 'DESC' }, select: { name: true } })
  assert.deepEqual(
    found.map(({ name }) => name),
    ['Kit', 'Rex'],
  )
  assert.deepEqual(await pets.findAndCount({ where: { name: 'Kit' }, select: { id: true } }), [[{ id: 3 }], 1])
  assert.equal((await pets.delete({ name: 'Tom' })).affected, 1)
  await assert.rejects(pets.insert({ name: 'Rex' }), { code: '23505' })
  assert.deepEqual(await source.query('SELECT $1::int AS n', [5]), [{ n: 5 }])
  assert.equal(pool.idleCount, pool.totalCount)
  await source.destroy()
  assert.equal(pool.ended, true)
})

test('transactions: commit, rollback, nested', async (t) => {
  const { source, pool, pets } = await database(t)
  await source.transaction('SERIALIZABLE', async (manager) => {
    await manager.save(Pet, { name: 'Rex' })
    const nested = manager.transaction(async (inner) => {
      await inner.save(Pet, { name: 'Bob' })
      throw new Error('undone')
    })
    await assert.rejects(nested, { message: 'undone' })
  })
  const mine = new Error('mine')
  const failing = source.transaction(async (manager) => {
    await manager.save(Pet, { name: 'Tom' })
    throw mine
  })
  assert.equal(await failing.then(assert.fail, (e) => e), mine)
  assert.deepEqual(
    (await pets.find()).map(({ name }) => name),
    ['Rex'],
  )
  const runner = source.createQueryRunner()
  await runner.startTransaction()
  await runner.query("INSERT INTO typeorm_pets (name) VALUES ('Kit')")
  await runner.rollbackTransaction()
  await runner.release()
  assert.equal(await pets.count(), 1)
  assert.equal(pool.idleCount, pool.totalCount)
})

test('parseInt8 goes through defaults', async (t) => {
  t.after(() => {
    leakpool.defaults.parseInt8 = false
  })
  const { source } = await database(t, { parseInt8: true })
  assert.deepEqual(await source.query('SELECT count(*) AS n FROM typeorm_pets'), [{ n: 0 }])
})

/** The place of the frame that is named, counted from the pool. */
function depthOf(site) {
  return 1 + site.frames.findIndex((frame) => frame.function === site.function && frame.line === site.line)
}

test('a leak names the line of a transaction', async (t) => {
  const { source, pool } = await database(t)
  async function carelessTransaction(held) {
    await source.transaction(async (manager) => {
      await manager.find(Pet)
      await held
    })
  }
  const { site, release } = await leaking(pool, carelessTransaction, /FROM "typeorm_pets"/)
  assert.equal(site.file, __filename, site.stack)
  assert.match(site.function, /carelessTransaction/)
  assert.equal(depthOf(site), 7)
  await release()
  assert.equal(pool.checkouts().length, 0)
})

test('a line is found twelve frames up, whatever the limit of stacks is', async (t) => {
  const { pool, pets } = await database(t)
  const before = Error.stackTraceLimit
  t.after(() => {
    Error.stackTraceLimit = before
  })
  Error.stackTraceLimit = 2
  async function careless() {
    await pets.findOneByOrFail({ name: Raw(() => 'pg_sleep(60) IS NULL') })
  }
  await pets.save({ name: 'Rex' })
  const { id, site, running } = await leaking(pool, careless, /pg_sleep/)
  assert.equal(Error.stackTraceLimit, 2)
  assert.equal(site.file, __filename, site.stack)
  assert.match(site.function, /careless/)
  assert.equal(depthOf(site), 12, site.stack)
  pool.forceRelease(id)
  await assert.rejects(running)
})
