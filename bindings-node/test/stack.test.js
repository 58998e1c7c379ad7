'use strict'
// Stacks where Error is not as it comes: frozen, with somebody's prepareStackTrace, without a limit.

const test = require('node:test')
const assert = require('node:assert/strict')
const { leakpool, connectionString, poolFor, run } = require('./support/pools')

/** The site of a checkout that begins in `acquire`, as it is told 100 ms later. */
const SITE = `
  const assert = require('node:assert/strict')
  async function acquire() { return pool.connect() }
  const client = await acquire()
  await sleep(250)
  const { site } = pool.checkouts()[0]
  client.release()
  await pool.end()
`

const CASES = {
  'as it comes': ['', ''],
  'a frozen Error': ['Object.freeze(Error)', ''],
  'a prepareStackTrace that gives the call sites': ['Error.prepareStackTrace = (_, sites) => sites', ''],
  'a prepareStackTrace that throws': ['Error.prepareStackTrace = () => { throw new Error("theirs") }', ''],
  'a prepareStackTrace that gives nothing': ['Error.prepareStackTrace = () => undefined', ''],
  'a frozen Error with a prepareStackTrace': ['Error.prepareStackTrace = (_, s) => s; Object.freeze(Error)', ''],
  'no limit': ['delete Error.stackTraceLimit', 'assert.equal("stackTraceLimit" in Error, false)'],
  'a limit of 0': ['Error.stackTraceLimit = 0', 'assert.equal(Error.stackTraceLimit, 0)'],
  'a limit of its own': ['Error.stackTraceLimit = 3', 'assert.equal(Error.stackTraceLimit, 3)'],
}

for (const [name, [before, after]] of Object.entries(CASES)) {
  test(name, async () => {
    const foreign = 'const foreign = Error.prepareStackTrace'
    const same = 'assert.equal(Error.prepareStackTrace, foreign)'
    const script = `${before}; ${foreign}; ${SITE}; ${after}; ${same}; console.log(site.function, site.known)`
    const { code, stdout, stderr } = await run(script)
    // What a frozen Error allows is 10 frames, which is enough here; 0 frames are none.
    assert.deepEqual([code, stdout, stderr], [0, 'acquire true\n', ''])
  })
}

test('source maps are kept', async () => {
  // `acquire` on the second line of original.ts.
  const map = {
    version: 3,
    sources: ['original.ts'],
    names: [],
    mappings: 'AACA',
    file: 'made.js',
  }
  const url = `data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString('base64')}`
  const made = `
    module.exports = (pool) => pool.connect()
    //# sourceMappingURL=${url}
  `.trim()
  const fs = require('node:fs')
  const os = require('node:os')
  const path = require('node:path')
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'leakpool-test-'))
  const file = path.join(folder, 'made.js')
  fs.writeFileSync(file, made)
  const script = `
    const client = await require(${JSON.stringify(file)})(pool)
    await sleep(250)
    const { site } = pool.checkouts()[0]
    client.release()
    await pool.end()
    console.log(require('node:path').basename(site.file), site.line)
  `
  const mapped = await run(script, { flags: ['--enable-source-maps'] })
  const plain = await run(script)
  fs.rmSync(folder, { recursive: true })
  assert.deepEqual([mapped.stdout, plain.stdout], ['original.ts 2\n', 'made.js 1\n'], mapped.stderr + plain.stderr)
})

test('as many frames as asked for, and one for a site', async (t) => {
  const down = (n, f) => (n === 0 ? f() : down(n - 1, f))
  const counts = []
  for (const options of [
    {},
    { stackDepth: 5 },
    { stackCapture: 'site' },
    { stackCapture: 'off' },
    { stackDepth: 100 },
  ]) {
    const pool = poolFor(t, options)
    const client = await down(60, () => pool.connect())
    counts.push(pool.checkouts()[0].site.frames.length)
    client.release()
  }
  assert.deepEqual(counts, [32, 5, 1, 0, counts[4]])
  assert.ok(counts[4] > 60)
})

test('an unformatted stack keeps no context of a request', async () => {
  const script = `
    const { AsyncLocalStorage } = require('node:async_hooks')
    const storage = new AsyncLocalStorage()
    const gone = new Promise((resolve) => { globalThis.registry = new FinalizationRegistry(resolve) })
    let client
    await (async () => {
      const context = { big: Buffer.alloc(1000) }
      registry.register(context, 'gone')
      await storage.run(context, async () => { client = await pool.connect() })
    })()
    await sleep(250)
    for (let n = 0; n < 3; n++) { await sleep(1); gc() }
    console.log(await gone)
    client.release()
    await pool.end()
  `
  const { stdout, stderr } = await run(script, { flags: ['--expose-gc'] })
  assert.deepEqual([stdout, stderr], ['gone\n', ''])
})

test('through a thenable V8 forgets the caller: the library’s frame and the last SQL are told', async (t) => {
  const pool = poolFor(t)
  // As query builders have it: nothing happens before it is awaited.
  const lazy = {
    then(resolve, reject) {
      return pool.connect().then(resolve, reject)
    },
  }
  const client = await lazy
  await client.query('SELECT 1 AS the_last_one')
  const [checkout] = pool.checkouts()
  assert.match(checkout.site.function, /then$/)
  assert.equal(checkout.lastSql.text, 'SELECT 1 AS the_last_one')
  client.release()
})

test('errors of promises and callbacks lead to whoever asked', async (t) => {
  const pool = poolFor(t)
  async function asking() {
    return await pool.query('SELECT wrong')
  }
  const error = await asking().catch((e) => e)
  assert.match(error.stack, /^error: column "wrong" does not exist\n(.*\n)*.*asking .*stack\.test\.js/)
  const called = await new Promise((resolve) => {
    const inCallback = () =>
      pool.connect((_, client, release) => client.query('SELECT wrong', (e) => resolve(e, release())))
    inCallback()
  })
  assert.match(called.stack, /^error: column "wrong" does not exist\n(.*\n)*.*stack\.test\.js/)
  const frozen = new leakpool.Pool({
    connectionString,
    password: () => Promise.reject(Object.freeze(new Error('frozen'))),
  })
  await assert.rejects(frozen.connect(), /frozen/)
  await frozen.end()
})
