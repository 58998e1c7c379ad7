// Code as users of @types/pg have it. types.test.js compiles it as it stands, and with `leakpool` instead of `pg`.

import { DatabaseError, Pool, types } from 'pg'
import type { ClientBase, PoolClient, PoolConfig, QueryArrayResult, QueryConfig, QueryResult, QueryResultRow } from 'pg'

interface User {
  id: number
  name: string
}

const config: PoolConfig = {
  connectionString: process.env['DATABASE_URL'],
  host: 'localhost',
  port: 5432,
  user: 'app',
  password: async () => 'secret',
  ssl: { rejectUnauthorized: false },
  max: 20,
  min: 2,
  idleTimeoutMillis: 10_000,
  connectionTimeoutMillis: 5_000,
  maxUses: 7500,
  maxLifetimeSeconds: 60,
  allowExitOnIdle: true,
  statement_timeout: 1000,
  query_timeout: 1000,
  application_name: 'app',
  types: { getTypeParser: types.getTypeParser },
  log: (...messages) => console.log(messages),
  verify: (client, done) => void client.query('SELECT 1').then(() => done(), done),
  onConnect: (client) => void client.query("SET timezone = 'UTC'"),
}

export const pool = new Pool(config)

pool.on('error', (err: Error, client: PoolClient) => console.error(err.message, client))
pool.on('connect', (client) => void client.query('SELECT 1'))
pool.on('acquire', (client: PoolClient) => client.getTransactionStatus())
pool.on('release', (err, client) => console.log(err.message, client.release))
pool.on('remove', (client) => client.escapeLiteral('x'))

export async function query<T extends QueryResultRow>(text: string, params?: unknown[]): Promise<T[]> {
  const result: QueryResult<T> = await pool.query<T>(text, params)
  return result.rows
}

export async function users(): Promise<User[]> {
  const byText = await pool.query<User>('SELECT * FROM users WHERE id = $1', [1])
  const query: QueryConfig = { text: 'SELECT 1', values: [1], name: 'a statement' }
  await pool.query(query)
  const arrays: QueryArrayResult<[number, string]> = await pool.query<[number, string]>({
    text: 'SELECT id, name FROM users',
    rowMode: 'array',
  })
  const [id] = arrays.rows[0]!
  id.toFixed()
  byText.fields.map((field) => [field.name, field.dataTypeID, field.format])
  const count: number | null = byText.rowCount
  console.log(count, byText.command.toLowerCase())
  pool.query('SELECT 1', (err, result) => console.log(err.message, result.rows))
  pool.query<User>('SELECT $1', [1], (err: Error, result: QueryResult<User>) => console.log(err, result.rows[0]!.name))
  return byText.rows
}

export async function transfer(work: (client: PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await work(client)
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    if (error instanceof DatabaseError && error.code === '23505') {
      const { constraint, detail, table, message }: DatabaseError = error
      console.log(constraint, detail, table, message)
    }
    throw error
  } finally {
    client.release()
  }
}

export function listen(client: PoolClient): void {
  client.on('notification', (message) => console.log(message.channel, message.payload, message.processId))
  client.on('notice', (notice) => console.log(notice.message))
  client.on('error', (err) => console.error(err.stack))
  client.on('end', () => console.log('end'))
  client.setTypeParser(types.builtins.INT8, (value) => BigInt(value))
  client.setTypeParser(types.builtins.NUMERIC, 'text', parseFloat)
  const text: string = client.escapeIdentifier('a') + client.escapeLiteral('b')
  client.release(new Error(text))
  client.release(true)
}

export async function run(client: ClientBase): Promise<number> {
  const { rows } = await client.query('SELECT 1 AS n')
  return rows[0].n
}

pool.connect((err, client, done) => {
  if (err || !client) return console.error(err?.message)
  client.query('SELECT now()', (error, result) => {
    done(error)
    console.log(result.rows)
  })
})

types.setTypeParser(types.builtins.INT8, (value: string) => parseInt(value, 10))
console.log(pool.totalCount + pool.idleCount + pool.waitingCount, pool.options.max, pool.ended)

export const stop = async (): Promise<void> => {
  await pool.end()
}
pool.end(() => console.log('ended'))
