'use strict'
// Results in pg's shape: tags, fields, several statements, names of columns; and what goes wrong on the way.

const test = require('node:test')
const assert = require('node:assert/strict')
const { execFileSync } = require('node:child_process')
const path = require('node:path')
const { types } = require('../lib/types')
const { both, same } = require('./support/compare')
const { peers } = require('./support/peers')

test('tags, counts and fields are those of pg', async (t) => {
  const all = await peers(t)
  const sqls = [
    'SELECT 1',
    'SELECT',
    'SELECT FROM generate_series(1, 3)',
    'SELECT 1 WHERE false',
    '',
    ';',
    '-- nothing',
    'CREATE TEMP TABLE t (a int PRIMARY KEY, b text)',
    "INSERT INTO t VALUES (1, 'x'), (2, NULL)",
    "INSERT INTO t VALUES (3, 'y') RETURNING *",
    'UPDATE t SET b = a',
    'UPDATE t SET b = a WHERE false RETURNING a',
    'DELETE FROM t WHERE a = 1',
    'TABLE t',
    'BEGIN',
    'SAVEPOINT s',
    'COMMIT',
    'ROLLBACK',
    'SET datestyle = ISO',
    'SHOW datestyle',
    'EXPLAIN (COSTS off) SELECT 1',
    'VALUES (1), (2)',
    'CREATE TEMP TABLE u AS SELECT generate_series(1, 5) AS n',
    'SELECT * INTO TEMP v FROM u',
    'COPY (SELECT 1) TO STDOUT',
    'DECLARE c CURSOR WITH HOLD FOR SELECT * FROM u',
    'FETCH 2 FROM c',
    'MOVE 1 FROM c',
    'CLOSE c',
    "MERGE INTO t USING u ON t.a = u.n WHEN MATCHED THEN UPDATE SET b = 'm' WHEN NOT MATCHED THEN INSERT VALUES (n, 'n')",
    'LISTEN x',
    'VACUUM t',
    'DO $$ BEGIN END $$',
    'PREPARE p AS SELECT 1',
    'EXECUTE p',
    'DEALLOCATE p',
    'DISCARD PLANS',
    'SELECT a, b, ctid, a + 1 FROM t',
    'SELECT relkind, oid, relname, reltype + 1 FROM pg_class ORDER BY oid LIMIT 3',
    "SELECT 1.5::numeric(10, 2) AS n, 'x'::varchar(7) AS v, now()::timestamp(3) AS t WHERE false",
    // Several statements.
    'SELECT 1 AS a; SELECT 2 AS b, 3 AS c',
    'BEGIN; INSERT INTO t VALUES (100); SELECT * FROM t; ROLLBACK',
    'SELECT 1;',
    'SELECT 1;; SELECT 2',
    'SELECT 1; SELECT 1/0; SELECT 2',
    'SELECT 1; COPY (SELECT 1) TO STDOUT; SELECT 2',
    // Names of columns.
    'SELECT 1 AS a, 2 AS b, 3 AS a',
    'SELECT 1 AS "__proto__", 2 AS "constructor", 3 AS "toString", 4 AS "hasOwnProperty"',
    'SELECT NULL AS "__proto__"',
    'SELECT 1 AS "2", 2 AS "1", 3 AS x, 4 AS "-1", 5 AS "1.5", 6 AS "01"',
    `SELECT 1 AS " ", 2 AS "'", 3 AS """", 4 AS "\\", 5 AS "a\nb", 6 AS "\u2028", 7 AS "ä漢🐘", 8 AS "\${x}", 9 AS "*/"`,
    `SELECT ${Array.from({ length: 1600 }, (_, i) => `${i}::${i % 3 ? 'int' : 'text'} AS c${i % 800}`)}`,
    `SELECT ${Array.from({ length: 100 }, (_, i) => (i % 7 ? `NULL::${['int', 'bool', 'text', 'float8'][i % 4]}` : i))}`,
    // Errors.
    'SELECT 1/0',
    'SELEC 1',
    'SELECT * FROM nowhere',
    'INSERT INTO t VALUES (NULL)',
    'INSERT INTO t VALUES (2)',
    "SELECT 'a'::int",
    "DO $$ BEGIN RAISE EXCEPTION 'ä' USING HINT = 'h', DETAIL = 'd', ERRCODE = 'P0999', COLUMN = 'c' , DATATYPE = 'y'; END $$",
    "DO $$ BEGIN EXECUTE 'SELECT 1 +'; END $$",
  ]
  // Once, then the same text again on the same connection.
  for (const sql of [...sqls, ...sqls]) {
    same(await both(all, (client) => client.query(sql)), sql)
    same(await both(all, (client) => client.query({ text: sql, rowMode: 'array' })), `${sql}, array`)
    if (sql !== '')
      same(await both(all, (client) => client.query({ text: sql, queryMode: 'extended' })), `${sql}, extended`)
  }
})

test('a result has the properties that others read', async (t) => {
  const { theirs, ours } = await peers(t)
  const ask = { text: 'SELECT 1 AS a, NULL AS b', rowMode: 'array' }
  const [a, b] = [await theirs.query(ask), await ours.query(ask)]
  const internal = ['_prebuiltEmptyResultObject', 'parseRow']
  assert.deepEqual(
    Object.keys(b),
    Object.keys(a).filter((name) => !internal.includes(name)),
  )
  assert.equal(b.constructor.name, a.constructor.name)
  assert.equal(b.fields[0].constructor.name, a.fields[0].constructor.name)
  assert.equal(b._parsers.length, 2)
  assert.equal(b.RowCtor, null)
  assert.equal(b._types, ours._types)
})

test('what is given away is the caller’s to change', async (t) => {
  const { ours } = await peers(t)
  for (let i = 0; i < 3; i++) {
    const { fields, rows } = await ours.query('SELECT 1 AS a, 2 AS b WHERE $1', [true])
    assert.deepEqual(rows, [{ a: 1, b: 2 }])
    assert.deepEqual(
      fields.map((field) => field.name),
      ['a', 'b'],
    )
    fields[0].name = 'changed'
    fields.pop()
    rows[0].c = 3
  }
})

test('parsers: of the query, of the client, for all; once for each value, in order', async (t) => {
  const { theirs, ours, pool } = await peers(t)
  const before = types.getTypeParser(23, 'text')
  t.after(() => types.setTypeParser(23, 'text', before))
  const sql = 'SELECT 1 AS a, 2::int8 AS b'
  assert.deepEqual((await ours.query(sql)).rows, [{ a: 1, b: '2' }])
  ours.setTypeParser(20, BigInt)
  assert.deepEqual((await ours.query(sql)).rows, [{ a: 1, b: 2n }])
  const other = await pool.connect()
  assert.deepEqual((await other.query(sql)).rows, [{ a: 1, b: '2' }], 'another client')
  other.release()
  types.setTypeParser(23, (text) => `int ${text}`)
  assert.deepEqual((await ours.query(sql)).rows, [{ a: 'int 1', b: 2n }])
  ours.setTypeParser(23, 'text', (text) => -text)
  assert.deepEqual((await ours.query(sql)).rows, [{ a: -1, b: 2n }])
  assert.equal(ours.getTypeParser(20, 'text'), BigInt)
  const own = { getTypeParser: (oid) => (text) => [oid, text] }
  assert.deepEqual((await ours.query({ text: sql, types: own })).rows, [{ a: [23, '1'], b: [20, '2'] }])
  // int8 with int4's own parser: no number is cut.
  ours.setTypeParser(20, before)
  assert.deepEqual((await ours.query('SELECT 9007199254740991::int8 AS n')).rows, [{ n: 9007199254740991 }])

  const calls = async (client) => {
    const log = []
    const logging = { getTypeParser: (oid, format) => (text) => log.push(`${oid} ${format} ${text}`) }
    const text = "SELECT n, NULL::int, 'x' || n, n = 1 FROM generate_series(1, 200) n; SELECT true"
    const results = await client.query({ text, types: logging })
    return { log, rows: results.map(({ rows }) => rows) }
  }
  assert.deepEqual(await calls(ours), await calls(theirs))
})

test('a parser that throws rejects its query alone', async (t) => {
  const { ours, pool } = await peers(t)
  const mine = new RangeError('mine')
  let calls = 0
  const throwing = {
    getTypeParser: () => (text) => {
      calls += 1
      if (text === '3') throw mine
      return text
    },
  }
  const all = [
    ours.query('SELECT 1 AS n'),
    ours.query({ text: 'SELECT n FROM generate_series(1, 10000) n', types: throwing }),
    ours.query({ text: 'SELECT n FROM generate_series(1, 5) n WHERE n > $1', types: throwing, values: [0] }),
    ours.query('SELECT 2 AS n'),
  ]
  const outcomes = await Promise.allSettled(all)
  assert.deepEqual(
    outcomes.map(({ value, reason }) => reason ?? value.rows[0].n),
    [1, mine, mine, 2],
  )
  assert.equal(calls, 6, 'no parser is called after the one that threw')
  assert.equal(pool.totalCount, 1)
  // Whatever it throws, and where the parsers themselves are no such thing.
  for (const thrown of [undefined, null, 'text']) {
    const parser = () => {
      throw thrown
    }
    const outcome = await ours
      .query({ text: 'SELECT 1', types: { getTypeParser: () => parser } })
      .then(assert.fail, (e) => [e])
    assert.deepEqual(outcome, [thrown])
  }
  const unusable = { text: 'SELECT 1', types: { getTypeParser: () => undefined } }
  await assert.rejects(ours.query(unusable), {
    name: 'TypeError',
    message: "types.getTypeParser(23, 'text') gave undefined, not a function",
  })
  assert.equal((await ours.query('SELECT 7 AS n')).rows[0].n, 7)
})

test('a parser may ask on its own', async (t) => {
  const { ours } = await peers(t)
  const asked = []
  const asking = { getTypeParser: () => (text) => asked.push(ours.query('SELECT $1::int AS n', [text])) && text }
  const { rows } = await ours.query({
    text: "SELECT n, 'x' || n AS t, n AS m FROM generate_series(1, 50) n",
    types: asking,
  })
  assert.equal(rows.length, 50)
  rows.forEach((row, i) => assert.deepEqual(row, { n: String(i + 1), t: `x${i + 1}`, m: String(i + 1) }))
  const settled = await Promise.allSettled(asked)
  assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 100)
})

test('large results', { timeout: 120_000 }, async (t) => {
  const { ours } = await peers(t)
  const { rows } = await ours.query(
    "SELECT n, repeat(chr(97 + n % 26), n % 100) AS t, CASE n % 3 WHEN 0 THEN '漢🐘' || n END AS w, n / 4.0::float8 AS f, " +
      'now() AS at FROM generate_series(1, 300000) n',
  )
  assert.equal(rows.length, 300_000)
  rows.forEach(({ n, t: text, w, f }, i) => {
    if (n !== i + 1 || text !== String.fromCharCode(97 + (n % 26)).repeat(n % 100) || f !== n / 4)
      assert.fail(`row ${i}`)
    if (w !== (n % 3 === 0 ? `漢🐘${n}` : null)) assert.fail(`row ${i}`)
  })
  // Few, but long ones.
  const long = await ours.query(
    "SELECT repeat('x', 30000000) AS a, repeat('ä', 1000000) AS b, '\\x' || repeat('ab', 5000000) AS c",
  )
  assert.deepEqual([long.rows[0].a.length, long.rows[0].b.length], [30_000_000, 1_000_000])
  const bytes = await ours.query("SELECT decode(repeat('ab', 20000000), 'hex') AS b, repeat('漢', 100) AS t")
  assert.ok(bytes.rows[0].b.equals(Buffer.alloc(20_000_000, 0xab)))
  const wide = await ours.query('SELECT FROM generate_series(1, 100000)')
  assert.deepEqual([wide.rows.length, wide.rows[99_999]], [100_000, {}])
})

test('a large result comes in parts: the loop turns in between', async (t) => {
  const { ours } = await peers(t)
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  const { rows } = await ours.query('SELECT n, n::text AS t FROM generate_series(1, 300000) n')
  clearInterval(timer)
  assert.equal(rows.length, 300_000)
  assert.ok(rows.every(({ n, t }, i) => n === i + 1 && t === String(n)))
  assert.ok(turns > 10, `${turns} turns`)
  // Several large results, cut anywhere.
  const sql =
    'SELECT n FROM generate_series(1, 30000) n; SELECT 1 AS a; SELECT n::text AS t FROM generate_series(1, 30000) n'
  const [a, b, c] = await ours.query(sql)
  assert.deepEqual([a.rowCount, b.rowCount, c.rowCount], [30_000, 1, 30_000])
  assert.deepEqual([a.rows.length, b.rows, c.rows.length], [30_000, [{ a: 1 }], 30_000])
  assert.deepEqual([a.rows.at(-1), c.rows.at(-1)], [{ n: 30_000 }, { t: '30000' }])
})

test('what goes wrong in the middle of a large result', async (t) => {
  const { ours, pool } = await peers(t)
  await assert.rejects(ours.query('SELECT 1 / (n - 200000) AS n FROM generate_series(1, 300000) n'), { code: '22012' })
  // A parser that throws late, and what the server says after that.
  const mine = new Error('mine')
  let calls = 0
  const parser = (text) => {
    calls += 1
    if (text === '100000') throw mine
    return text
  }
  const types = { getTypeParser: () => parser }
  for (const end of ['n', 'n / (n - 200000)']) {
    calls = 0
    const text = `SELECT n FROM generate_series(1, 300000) n WHERE ${end} IS NOT NULL`
    assert.equal(await ours.query({ text, types }).then(assert.fail, (e) => e), mine)
    assert.equal(calls, 100_000)
  }
  const late = {
    text: 'SELECT n, pg_sleep(CASE n WHEN 50000 THEN 60 ELSE 0 END) FROM generate_series(1, 60000) n',
    query_timeout: 300,
  }
  const other = await pool.connect()
  await assert.rejects(other.query(late), { message: 'Query read timeout' })
  other.release(true)
  assert.deepEqual((await ours.query('SELECT 7 AS n')).rows, [{ n: 7 }])
})

test('text that is no UTF-8', async (t) => {
  const { theirs, ours } = await peers(t)
  await theirs.query('DROP DATABASE IF EXISTS leakpool_ascii')
  await theirs.query("CREATE DATABASE leakpool_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
  const url = new URL(process.env.DATABASE_URL)
  url.pathname = '/leakpool_ascii'
  const all = await peers(t, { connectionString: url.href }, { connectionString: url.href })
  // Otherwise the server looks at every text that it sends.
  for (const client of [all.theirs, all.ours]) await client.query("SET client_encoding = 'SQL_ASCII'")
  const broken = [
    '\\377',
    '\\303',
    'a\\303(',
    '\\355\\240\\200',
    '\\360\\237',
    '\\300\\200',
    '\\364\\220\\200\\200',
    'ok',
    'ä',
  ]
  for (const rows of [broken, broken.slice(0, 1)]) {
    const sql = rows.map((text) => `SELECT convert_from('${text}'::bytea, 'SQL_ASCII') AS t`).join(' UNION ALL ')
    const [a, b] = await both(all, (client) => client.query(sql))
    same([a, b], sql)
    assert.equal(a.rows?.length, rows.length, a.message)
  }
  await all.cleanup.pop()()
  for (const sql of ['SELECT 1 AS "a\xff"', 'SELECT 1 AS "\ud800"', "SELECT '\ud83d' AS a"]) {
    same(await both({ theirs, ours }, (client) => client.query(sql)), sql)
  }
})

test('where generating code is forbidden, the values are the same', async () => {
  const script = path.join(__dirname, 'support', 'many-shapes.js')
  const run = (...flags) => execFileSync(process.execPath, [...flags, script], { encoding: 'utf8' })
  const [generated, interpreted] = [run(), run('--disallow-code-generation-from-strings')]
  assert.match(generated, /^generated: true\n/)
  assert.match(interpreted, /^generated: false\n/)
  assert.equal(interpreted.split('\n').slice(1).join('\n'), generated.split('\n').slice(1).join('\n'))
  assert.ok(generated.length > 10_000)
})

test('shapes without end do not pile up', async (t) => {
  const { ours } = await peers(t)
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 1500; i++) {
      const { rows } = await ours.query(`SELECT ${i} AS "c${i}", 'x' AS t`)
      if (rows[0][`c${i}`] !== i || rows[0].t !== 'x') assert.fail(`shape ${i}`)
    }
  }
})
