'use strict'
// Results of many shapes, printed; run by values.results.test.js with and without the right to generate code.

const { inspect } = require('node:util')
const { Pool } = require('../../lib/index')

async function main() {
  let generated = true
  try {
    new Function('')
  } catch {
    generated = false
  }
  console.log(`generated: ${generated}`)
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 1 })
  const columns = [
    ['1', 'int'],
    ["'x' || n", 'text'],
    ['n * 1.5', 'float8'],
    ['n % 2 = 0', 'bool'],
    ["'2026-11-23 10:00:00.123456+00'", 'timestamptz'],
    ["'2026-11-23 10:00:00.123456'", 'timestamp'],
    ["CASE WHEN n > 150 THEN '0044-03-15 BC' ELSE '2026-11-23' END", 'date'],
    ["'\\x0102ff'", 'bytea'],
    ['4294967295', 'oid'],
    ["'{1,NULL,3}'", 'int[]'],
    [`'{"a": 1}'`, 'json'],
    ["'1 day'", 'interval'],
    ['NULL', 'int'],
    ['NULL', 'text'],
    ["'漢🐘'", 'text'],
  ]
  const lists = [columns, [...columns, ...columns, ...columns], [], ...columns.map((column) => [column])]
  for (const list of lists) {
    const select = list.map(([value, type], i) => `(${value})::${type} AS ${i % 5 === 4 ? '"__proto__"' : `"c ${i}"`}`)
    for (const rowMode of [undefined, 'array']) {
      for (const rows of [2, 2, 200]) {
        const result = await pool.query({ text: `SELECT ${select} FROM generate_series(1, ${rows}) n`, rowMode })
        console.log(inspect(result.rows, { depth: 9, maxArrayLength: 1000, showHidden: true, sorted: false }))
      }
    }
  }
  await pool.end()
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
