'use strict'
// Parameters: every kind of JavaScript value is sent as pg sends it, and what cannot be bound is an error.

const test = require('node:test')
const assert = require('node:assert/strict')
const pg = require('pg')
const { prepareValue, prepareValues } = require('../lib/values')
const { escapeIdentifier, escapeLiteral } = require('../lib/escape')
const defaults = require('../lib/defaults')
const { both, same } = require('./support/compare')
const { peers } = require('./support/peers')

class Money {
  constructor(cents) {
    this.cents = cents
  }

  toPostgres() {
    return `${this.cents / 100}`
  }
}

/** A toPostgres() that gives another such object, and uses the function that it is given. */
class Nested {
  toPostgres(prepare) {
    assert.equal(prepare(true), 'true')
    return new Money(1234)
  }
}

const bytes = Buffer.from([0x68, 0x69, 0x20, 0x7e])
const inner = new Uint8Array(new Uint8Array([1, 2, 104, 105, 3]).buffer, 2, 2)
const words = new Uint16Array([0x6968, 0x2020])

/** Everything that pg takes, by name. */
const VALUES = {
  null: null,
  undefined: undefined,
  'empty string': '',
  string: 'it\'s "quoted" \\ and long '.repeat(20),
  'many scripts': 'äöü € 漢字 🐘 \u0301',
  'a lone high surrogate': 'a\ud800b',
  'a lone low surrogate': 'a\udc00',
  NUL: 'a\0b',
  integer: 42,
  'negative zero': -0,
  'a large number': 1e21,
  'a small number': -1.5e-7,
  NaN: NaN,
  Infinity: -Infinity,
  bigint: 9007199254740993n,
  true: true,
  false: false,
  symbol: Symbol('s'),
  'a function': function f() {},
  Buffer: bytes,
  'empty Buffer': Buffer.alloc(0),
  Uint8Array: inner,
  Uint16Array: words,
  DataView: new DataView(inner.buffer, 2, 2),
  ArrayBuffer: new ArrayBuffer(3),
  Date: new Date('2026-11-23T09:52:37.012Z'),
  'a Date of long ago': new Date(Date.UTC(1883, 10, 18, 12, 0, 0)),
  'a Date in the first century': new Date('0044-03-15T12:00:00Z'),
  'a Date before Christ': new Date(Date.UTC(-43, 2, 15, 12)),
  'a Date in the year 0': new Date('0000-06-01T00:00:00Z'),
  'a Date far ahead': new Date('+012026-06-01T00:00:00Z'),
  'a Date in summer': new Date('2026-07-01T00:00:00.001Z'),
  'a Date of another realm': require('node:vm').runInNewContext('new Date(0)'),
  'an object': { a: 1, b: [null, 'x"y'], c: new Date(0), d: undefined },
  'an object without prototype': Object.assign(Object.create(null), { a: 1 }),
  Map: new Map([[1, 2]]),
  'boxed string': new String('x'),
  'boxed number': new Number(5),
  'toJSON() that gives undefined': { toJSON: () => undefined },
  'toJSON() that gives a string': { toJSON: () => 'x' },
  toPostgres: new Money(599),
  'toPostgres of toPostgres': new Nested(),
  'toPostgres that gives null': { toPostgres: () => null },
  'toPostgres that gives bytes': { toPostgres: () => bytes },
  'toPostgres that gives an array': { toPostgres: () => [1, 'two'] },
  'a frozen array': Object.freeze(['x']),
  'an empty array': [],
  'an array': [1, 'two', 3n, true, null, undefined, 'NULL', '', 'a,b', '{c}', ' d ', 'e"\\f', '漢🐘'],
  'a sparse array': [, 1, , 2], // eslint-disable-line no-sparse-arrays
  'an array of arrays': [[1, 2], [3, null], []],
  'an array of bytes': [bytes, inner, words, null],
  'an array of Dates': [new Date(0), new Date('2026-07-01T00:00:00Z')],
  'an array of objects': [{ a: '"' }, { b: [1] }],
  'an array of toPostgres': [new Money(1), new Nested()],
}

test('every value is prepared as pg does it', () => {
  const zones = ['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kathmandu', 'America/St_Johns', 'Pacific/Apia']
  const before = process.env.TZ
  try {
    for (const zone of zones) {
      process.env.TZ = zone
      for (const utc of [false, true]) {
        defaults.parseInputDatesAsUTC = pg.defaults.parseInputDatesAsUTC = utc
        for (const [name, value] of Object.entries(VALUES)) {
          // pg leaves undefined to the encoder, which sends NULL.
          assert.deepEqual(prepareValue(value), pg.utils?.prepareValue(value) ?? null, `${name} in ${zone}`)
        }
      }
    }
  } finally {
    defaults.parseInputDatesAsUTC = pg.defaults.parseInputDatesAsUTC = false
    if (before === undefined) delete process.env.TZ
    else process.env.TZ = before
  }
})

test('prepareValue ignores what map adds', () => {
  assert.deepEqual([{ toPostgres: () => 1 }, 'x'].map(prepareValue), ['1', 'x'])
})

test('every value arrives at the server as from pg', async (t) => {
  const { theirs, ours } = await peers(t)
  const sqls = [
    'SELECT $1::text AS text, pg_typeof($1)::text AS type, $1 IS NULL AS none',
    'SELECT $1::bytea AS v',
    'SELECT $1::int8 AS v',
    'SELECT $1::float8 AS v',
    'SELECT $1::numeric AS v',
    'SELECT $1::bool AS v',
    'SELECT $1::timestamptz AS v',
    'SELECT $1::timestamp AS v',
    'SELECT $1::date AS v',
    'SELECT $1::jsonb AS v',
    'SELECT $1::text[] AS v',
    'SELECT $1::bytea[] AS v',
    'SELECT $1::timestamptz[] AS v',
    'SELECT $1 || $1::text AS v',
    'SELECT $1 AS v',
  ]
  let errors = 0
  for (const [name, value] of Object.entries(VALUES)) {
    for (const sql of sqls) {
      const [a, b] = await both({ theirs, ours }, (client) => client.query(sql, [value]))
      same([a, b], `${sql} with ${name}`)
      errors += a.rows ? 0 : 1
    }
  }
  assert.ok(errors > 100 && errors < 600, `${errors} of these were refused by the server`)
})

test('what cannot be bound is refused before it is sent, and the connection goes on', async (t) => {
  const { ours } = await peers(t)
  const looped = ['a']
  looped.push([looped])
  const ring = { a: {} }
  ring.a.b = ring
  class Circle {
    toPostgres() {
      return this
    }

    toString() {
      return 'a circle'
    }
  }
  const cause = new RangeError('mine')
  const refused = [
    [looped, TypeError, 'values[1] is an array that contains itself, which cannot be bound'],
    [new Date(NaN), TypeError, 'values[1] is an invalid Date, which cannot be bound'],
    [[[new Date(NaN)]], TypeError, 'values[1] is an invalid Date, which cannot be bound'],
    [ring, TypeError, /circular structure/],
    [{ a: 1n }, TypeError, /BigInt/],
    [new Circle(), Error, 'circular reference detected while preparing "a circle" for query'],
    [Object.assign(() => 0, { toString: () => 7 }), TypeError, /^values\[1\] is a function whose toString\(\)/],
  ]
  for (const [value, type, message] of refused) {
    const error = await ours.query('SELECT $1, $2', ['x', value]).then(assert.fail, (e) => e)
    assert.ok(error instanceof type, String(error))
    if (typeof message === 'string') assert.equal(error.message, message)
    else assert.match(error.message, message)
    assert.match(error.stack, /values\.parameters\.test\.js/, 'the stack leads to the caller')
  }
  const thrown = {
    toPostgres() {
      throw cause
    },
  }
  assert.equal(await ours.query('SELECT $1', [thrown]).then(assert.fail, (e) => e), cause)
  const { rows } = await ours.query('SELECT $1::int AS n', [7])
  assert.deepEqual(rows, [{ n: 7 }])
})

test('too many parameters, and too few', async (t) => {
  const { theirs, ours } = await peers(t)
  const most = Array.from({ length: 65_535 }, (_, i) => i)
  const sum = `SELECT ${most.map((i) => `$${i + 1}::int8`).join(' + ')} AS n`
  await assert.rejects(ours.query('SELECT 1', [...most, 1]), /65536 parameters are more than the 65535/)
  assert.ok(sum.length > 65_535)
  for (const values of [[], [1]]) {
    const [a, b] = await Promise.all(
      [theirs, ours].map((c) => c.query('SELECT $1::int + $2::int', values).then(assert.fail, (e) => e)),
    )
    // Ours has prepared it, under a name.
    assert.deepEqual([b.code, b.message.replace(/"lp_[0-9a-f]{32}_\d+"/, '""')], [a.code, a.message])
  }
  const { rows } = await ours.query('SELECT cardinality($1::int8[]) AS n', [most])
  assert.deepEqual(rows, [{ n: 65_535 }])
})

test('a large parameter', async (t) => {
  const { ours } = await peers(t)
  const large = Buffer.alloc(20 << 20, 'ä')
  const { rows } = await ours.query('SELECT length($1::bytea) AS b, length($2::text) AS t', [large, large.toString()])
  assert.deepEqual(rows, [{ b: 20 << 20, t: 10 << 20 }])
})

test('prepareValues keeps the places', () => {
  assert.deepEqual(prepareValues(['a', 1, , null]), ['a', '1', null, null]) // eslint-disable-line no-sparse-arrays
})

test('identifiers and literals are quoted as pg does it', () => {
  const texts = ['', 'a', "it's", 'a"b', 'back\\slash', "'\\'", '""', 'ä🐘', "''", '\n']
  for (const text of texts) {
    assert.equal(escapeIdentifier(text), pg.escapeIdentifier(text))
    assert.equal(escapeLiteral(text), pg.escapeLiteral(text))
  }
  for (const other of [null, undefined, 5, {}]) assert.equal(escapeLiteral(other), pg.escapeLiteral(other))
  assert.throws(() => escapeIdentifier(5), {
    name: 'TypeError',
    message: 'escapeIdentifier takes a string, not number',
  })
})
