'use strict'
// Values of every type that a server has, as SQL. What is here by name are literals; everything that is made of other
// types (arrays, ranges, multiranges, domains, composites) is derived from the catalogue.

const DATES = ['2026-11-23', '0001-01-01', '0044-03-15 BC', '0099-12-31', '0100-02-28', '9999-12-31', '12026-01-01']
DATES.push('infinity', '-infinity', '2024-02-29', '1900-03-01', '5874897-12-31', '4713-01-01 BC', '1883-11-18')
const TIMES = [
  '00:00:00',
  '23:59:59.999999',
  '12:34:56.7',
  '01:02:03.001',
  '09:52:37.123456',
  '02:30:00',
  '00:00:00.29',
]
const TIMESTAMPS = ['2026-11-23', '2026-03-29', '2026-10-25', '0044-03-15', '1999-12-31', '1883-11-18']
  .flatMap((day) => TIMES.map((time) => `${day} ${time}`))
  .concat(['infinity', '-infinity', '0044-03-15 12:00:00 BC', '12026-06-01 00:00:00', '0001-01-01 00:00:00'])
  .concat(['294276-12-31 23:59:59', '4713-01-01 00:00:00 BC', '0100-01-01 00:00:00', '275760-09-13 00:00:00'])
const ZONED = TIMESTAMPS.map((text) => (/infinity|BC/.test(text) ? text : `${text}+00`)).concat([
  '2026-07-01 00:00:00-03:30',
  '1890-01-01 00:00:00+00:19:32',
  '2026-01-01 00:00:00.5+15:59',
])
const INTS = ['0', '1', '-1', '42']
const TEXTS = [
  '',
  'a',
  'short',
  'a text that is longer than what V8 copies',
  'ä ö ü ß',
  '漢字',
  '🐘',
  'a\tb\nc',
  "'",
  '"',
  '\\',
]
TEXTS.push(
  'NULL',
  'null',
  '{}',
  '{a,b}',
  '(1,2)',
  ' spaces ',
  'naïve 漢 🐘 mixed',
  '\u0301',
  '\u2028',
  'x'.repeat(5000),
  '€'.repeat(3000),
)

/** Literals by the name of their type. */
const LITERALS = {
  bool: ['true', 'false'],
  bytea: ['', '\\x00', '\\xdeadbeef', '\\x5c78', '\\x' + 'ff'.repeat(5000)],
  char: ['a', '', '\\', '\\351'],
  name: ['pg_class', 'Ünï', ''],
  int8: [...INTS, '9223372036854775807', '-9223372036854775808', '9007199254740993'],
  int2: [...INTS, '32767', '-32768'],
  int4: [...INTS, '2147483647', '-2147483648'],
  regproc: ['0', 'now', '999999'],
  text: TEXTS,
  oid: ['0', '1', '2147483648', '4294967295'],
  tid: ['(0,1)', '(4294967295,65535)'],
  xid: ['0', '4294967295'],
  xid8: ['0', '18446744073709551615'],
  cid: ['0', '4294967295'],
  json: [
    'null',
    '1',
    '"a"',
    '{"a": [1, 2.50, {"b": null}], "a": "ä🐘\\u0041"}',
    ' [ ] ',
    'true',
    '1e400',
    '"__proto__"',
    '{"__proto__": 1}',
  ],
  jsonb: ['null', '1', '"a"', '{"a": [1, 2.50, {"b": null}], "c": "ä🐘\\u0041"}', '[]', 'true', '12345678901234567890'],
  jsonpath: ['$.a[*] ? (@ > 1)', 'strict $'],
  xml: ['<a b="c">d</a>', 'text'],
  point: ['(0,0)', '(1.5,-2e10)', '(NaN,Infinity)'],
  lseg: ['[(0,0),(1,1)]'],
  path: ['[(0,0),(1,1)]', '((0,0),(1,1),(2,0))'],
  box: ['(1,1),(0,0)'],
  polygon: ['((0,0),(1,1),(2,0))'],
  line: ['{1,2,3}'],
  circle: ['<(1,2),3.5>', '<(0,0),0>'],
  cidr: ['10.0.0.0/8', '2001:db8::/32'],
  inet: ['10.0.0.1', '10.1.2.3/8', '::1', '2001:db8::1/64'],
  macaddr: ['08:00:2b:01:02:03'],
  macaddr8: ['08:00:2b:01:02:03:04:05'],
  float4: ['0', '-0', '1.5', '-3.4028235e38', '1e-45', 'NaN', 'Infinity', '-Infinity', '0.1', '16777217'],
  float8: [
    '0',
    '-0',
    '1.5',
    '1.7976931348623157e308',
    '5e-324',
    'NaN',
    'Infinity',
    '-Infinity',
    '0.1',
    '9007199254740993',
    '1e21',
    '1e-7',
    '123456789.123456789',
  ],
  money: ['0', '-12.34', '1234567.89'],
  numeric: [
    '0',
    '1.50',
    '-0.000001',
    'NaN',
    'Infinity',
    '-Infinity',
    '123456789012345678901234567890.123456789',
    '1e300',
    '1e-300',
  ],
  aclitem: ['=r/pg_monitor'],
  bpchar: ['', 'a', 'a  ', 'ä'],
  varchar: TEXTS,
  date: DATES,
  time: [...TIMES, '24:00:00'],
  timetz: TIMES.flatMap((time) => [`${time}+00`, `${time}-03:30`, `${time}+15:59:59`]),
  timestamp: TIMESTAMPS,
  timestamptz: ZONED,
  interval: [
    '0',
    '1 year 2 months 3 days 04:05:06.789',
    '-1 year -2 days 03:00:00',
    '1 second',
    '-00:00:00.000001',
    '1 day -1 hour',
    '178000000 years',
    '10 milliseconds',
    '400 days 25:00:01.5',
  ],
  bit: ['1', '0'],
  varbit: ['', '1', '0101010111'],
  refcursor: ['a cursor'],
  regprocedure: ['0', 'now()', 'pg_catalog.length(text)'],
  regoper: ['0', 'pg_catalog.||/'],
  regoperator: ['0', '+(int4,int4)', '-(NONE,int4)'],
  regclass: ['0', 'pg_class', '999999'],
  regtype: ['0', 'int4', 'timestamptz[]'],
  regconfig: ['english', 'simple'],
  regdictionary: ['simple'],
  regnamespace: ['pg_catalog', '0'],
  regrole: ['0', '10'],
  regcollation: ['"C"', '0'],
  uuid: ['00000000-0000-0000-0000-000000000000', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  txid_snapshot: ['10:20:10,14,15'],
  pg_snapshot: ['10:20:10,14,15'],
  pg_lsn: ['0/0', '16/B374D848', 'FFFFFFFF/FFFFFFFF'],
  tsvector: ["'a' 'fat':2,4A 'cat':3B", ''],
  tsquery: ["'fat' & !'rat' | 'cat':AB", ''],
  gtsvector: [],
  // They have no input, but there are such values in the catalogues.
  pg_node_tree: [],
  pg_ndistinct: [],
  pg_dependencies: [],
  pg_mcv_list: [],
  pg_brin_bloom_summary: [],
  pg_brin_minmax_multi_summary: [],
  unknown: ['', 'whatever'],
  cstring: ['', 'a "quoted" text', '🐘'],
  // Extensions.
  hstore: ['', '"a"=>"1", "b"=>NULL, "c"=>"x\\"y"'],
  citext: TEXTS,
  ltree: ['', 'Top.Science.Astronomy'],
  lquery: ['Top.*{1,3}.Astro*'],
  ltxtquery: ['Europe & Russia*@ & !Transportation'],
  cube: ['(1, 2, 3)', '(0),(1)'],
  seg: ['1', '1.5 .. 2', '~5'],
  query_int: ['1&(2|3)'],
  isbn: ['0-393-04002-X'],
  lo: ['0', '4294967295'],
}

/** Values that only the server itself can make. */
const EXPRESSIONS = {
  pg_node_tree: ['SELECT conbin FROM pg_constraint WHERE conbin IS NOT NULL ORDER BY oid LIMIT 3'],
  pg_ndistinct: ['SELECT stxdndistinct FROM pg_statistic_ext_data ORDER BY stxoid'],
  pg_dependencies: ['SELECT stxddependencies FROM pg_statistic_ext_data ORDER BY stxoid'],
  pg_mcv_list: ['SELECT stxdmcv FROM pg_statistic_ext_data ORDER BY stxoid'],
  record: ["SELECT ROW(1, 'a', NULL, ROW(now()::date - now()::date))", 'SELECT ROW()'],
  _record: ["SELECT ARRAY[ROW(1, 'a'), ROW(2, NULL)]"],
  void: ["SELECT set_config('leakpool.nothing', '', true)::void"],
  anyarray: ["SELECT histogram_bounds FROM pg_stats WHERE tablename = 'samples' ORDER BY attname"],
  pg_ddl_command: [],
}

/** Domains that do not take every value of their type. */
const CHECKED = { positive: ['7', '2147483647'], cardinal_number: ['0', '7'], yes_or_no: ["'YES'", "'NO'"] }

/** By what name a user-defined thing of these tests is made. */
const SETUP = `
  CREATE TYPE mood AS ENUM ('sad', 'o,k', 'ha"ppy', 'ä 🐘', 'NULL');
  CREATE DOMAIN positive AS int4 CHECK (VALUE > 0);
  CREATE DOMAIN moment AS timestamptz;
  CREATE DOMAIN positives AS int4[];
  CREATE TYPE pair AS (a int4, "b c" text, d timestamptz[]);
  CREATE TYPE textrange AS RANGE (subtype = text, collation = "C");
  CREATE TABLE samples (id int4, happy mood, t text, p pair);
  INSERT INTO samples SELECT n % 10, (enum_range(NULL::mood))[1 + n % 5], 'text ' || n % 7, ROW(n, 'x', '{}')::pair FROM generate_series(1, 1000) n;
  CREATE STATISTICS samples_statistics (ndistinct, dependencies, mcv) ON id, t FROM samples;
  ANALYZE samples;
`

const quote = (/** @type {string} */ text) => {
  const quoted = text.replaceAll("'", "''")
  return quoted.includes('\\') ? `E'${quoted.replaceAll('\\', '\\\\')}'` : `'${quoted}'`
}

/**
 * Expressions for values of one type, in SQL.
 *
 * @param {any} type a row of pg_type with what it is made of
 * @param {(oid: number) => any} typeOf
 * @returns {string[]}
 */
function expressionsOf(type, typeOf) {
  const literals = LITERALS[type.typname] ?? (type.typtype === 'e' ? type.labels : undefined)
  const cast = (/** @type {string} */ text) => `${quote(text)}::${type.sql}`
  if (literals) return literals.map(cast)
  if (type.element) {
    const element = typeOf(type.element)
    const all = expressionsOf(element, typeOf)
    if (all.length === 0) return []
    const some = all.slice(0, 3)
    const list = (/** @type {string[]} */ items) => `ARRAY[${items.join(', ')}]::${type.sql}`
    const empty = [cast('{}'), `ARRAY[NULL]::${type.sql}`]
    // int2vector and oidvector are arrays that know no NULL, no second dimension and no other bound than 0.
    if (/^(int2|oid)vector$/.test(type.typname)) return [cast(''), cast('1'), cast('1 2 3')]
    // Arrays of arrays are not told apart from arrays, but by their domains.
    if (element.category === 'A' && element.typtype === 'd') return [...empty, list(some)]
    const nested = `ARRAY[ARRAY[${all[0]}, NULL], ARRAY[${some.at(-1)}, ${all[0]}]]::${type.sql}`
    const bounded = `(SELECT ('[2:3]=' || ARRAY[${all[0]}, NULL]::${type.sql}::text)::${type.sql})`
    return [...empty, list([...all, 'NULL']), list(some), nested, ...(type.typname === '_gtsvector' ? [] : [bounded])]
  }
  if (type.subtype) {
    const make = (/** @type {string} */ args) => `${type.sql}(${args})`
    const [a, b] = expressionsOf(typeOf(type.subtype), typeOf)
    const [low, high] = [`least(${a}, ${b})`, `greatest(${a}, ${b})`]
    return [
      cast('empty'),
      make('NULL, NULL'),
      make(`${low}, ${high}`),
      make(`${low}, NULL, '[]'`),
      make(`${low}, ${high}, '()'`),
    ]
  }
  if (type.range) {
    const range = typeOf(type.range)
    return [cast('{}'), ...expressionsOf(range, typeOf).map((one) => `${type.sql}(${one})`)]
  }
  if (type.typtype === 'd') {
    const inner = expressionsOf(typeOf(type.base), typeOf)
    return (CHECKED[type.typname] ?? inner).map((one) => `${one}::${type.sql}`)
  }
  return []
}

/**
 * Every type of the server, its extensions and this test, with queries that give its values (and NULL). Not those of
 * other tests, whose tables come and go meanwhile.
 *
 * @param {import('pg').Client} client
 */
async function everyType(client) {
  const { rows } = await client.query(`
    SELECT t.oid::int8::int4 AS oid, t.typname, t.typtype, t.typcategory AS category, t.typrelid::int8::int4 AS relid,
      CASE WHEN t.typelem <> 0 AND t.typsubscript IN ('array_subscript_handler'::regproc) THEN t.typelem::int4 END AS element,
      nullif(t.typbasetype, 0)::int4 AS base,
      coalesce((SELECT rngsubtype FROM pg_range WHERE rngtypid = t.oid), NULL)::int4 AS subtype,
      (SELECT rngtypid FROM pg_range WHERE rngmultitypid = t.oid)::int4 AS range,
      (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid) AS labels,
      quote_ident(n.nspname) || '.' || quote_ident(t.typname) AS sql,
      c.relkind, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE t.typisdefined AND n.nspname IN ('pg_catalog', 'information_schema', 'leakpool_types') ORDER BY t.oid`)
  /** @type {Map<number, any>} */
  const byOid = new Map(rows.map((/** @type {any} */ row) => [row.oid, row]))
  const typeOf = (/** @type {number} */ oid) => byOid.get(oid)
  return rows.map((/** @type {any} */ type) => ({ ...type, sources: sourcesOf(type, typeOf) }))
}

/**
 * Queries with one column of this type.
 *
 * @param {any} type
 * @param {(oid: number) => any} typeOf
 * @returns {string[]}
 */
function sourcesOf(type, typeOf) {
  const made = EXPRESSIONS[type.typname]
  if (made) return made
  // A function of the server answers questions; its pseudo-types have no values.
  if (type.typtype === 'p' && !LITERALS[type.typname]) return []
  const none = `SELECT NULL::${type.sql}`
  const composite =
    type.typtype === 'c' ? type : type.element && typeOf(type.element)?.typtype === 'c' ? typeOf(type.element) : null
  if (composite) {
    if (composite.typname === 'pair') {
      const one = `ROW(1, 'x,"y"', ARRAY['2026-11-23 00:00:00+00', NULL]::timestamptz[])::pair`
      return [composite === type ? `SELECT ${one} UNION ALL SELECT NULL` : `SELECT ARRAY[${one}, NULL]::pair[]`]
    }
    // Statistics change under the hands, and so do most views.
    const steady = composite.relkind === 'r' && !/^pg_statistic|^pg_class$|^sql_/.test(composite.typname)
    if (!steady) return [none]
    const some = `SELECT x FROM ${composite.relation} x ORDER BY x.ctid LIMIT 3`
    return composite === type ? [some, none] : [`SELECT ARRAY(${some})`, none]
  }
  const values = expressionsOf(type, typeOf)
  return [[...values, `NULL::${type.sql}`].map((value) => `SELECT ${value} AS v`).join(' UNION ALL ')]
}

module.exports = { SETUP, everyType }
