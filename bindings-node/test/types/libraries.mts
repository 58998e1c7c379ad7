// Libraries that are written for pg take leakpool's pool and clients.

import { drizzle } from 'drizzle-orm/node-postgres'
import knex from 'knex'
import { Kysely, PostgresDialect } from 'kysely'
import type pg from 'pg'
import { DataSource } from 'typeorm'
import leakpool from 'leakpool'

const pool = new leakpool.Pool()

interface Database {
    pets: { id: number; name: string }
}
export const kysely = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
export const drizzled = drizzle({ client: pool })
export const knexed = knex({ client: 'pg', connectionPool: pool })
export const typeorm = new DataSource({ type: 'postgres', driver: leakpool })

// Whatever takes pg's own types.
export const asPgPool: pg.Pool = pool
export const query = async (client: pg.ClientBase | pg.PoolClient | pg.Pool): Promise<unknown> =>
    client.query('SELECT 1')
void query(pool)
void pool.connect().then(async (client) => {
    const theirs: pg.PoolClient = client
    await query(client)
    drizzle({ client })
    theirs.release()
})
