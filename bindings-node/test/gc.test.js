'use strict'
// Proof by garbage collection: a client that cannot be reached any more was leaked, whatever its age. These run in
// processes of their own, which may collect when they want to.

const test = require('node:test')
const assert = require('node:assert/strict')
const { run } = require('./support/pools')

const COLLECT = `
  const assert = require('node:assert/strict')
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  // Several, as the first collection may find things on the stack.
  const collect = async () => { for (let n = 0; n < 3; n++) { await turn(); gc() } await turn(); await turn() }
  const seen = []
  for (const name of ['connect', 'leak', 'forceRelease', 'remove', 'lateRelease', 'lateUse']) {
    pool.on(name, (event, more) => seen.push([name, event.reason ?? more, name === 'connect' ? null : event]))
  }
  const names = () => seen.map(([name, reason]) => [name, reason].filter(Boolean).join(' '))
  const until = async (condition) => {
    const limit = Date.now() + 20000
    while (!condition()) { assert.ok(Date.now() < limit, 'in time: ' + names()); await sleep(1) }
  }
  async function leaky(old) {
    const client = await pool.connect()
    await client.query('SELECT 42')
    if (old) await sleep(200)
  }
`

/**
 * @param {string} name
 * @param {string} script
 * @param {string} [options]
 */
function collecting(name, script, options = '') {
  test(name, { timeout: 60_000 }, async () => {
    const flags = ['--expose-gc']
    const { code, stdout, stderr } = await run(COLLECT + script + "\nconsole.log('done')", { flags, options })
    assert.deepEqual([code, stdout, stderr], [0, 'done\n', ''])
  })
}

for (const [when, old] of [
  ['at once', false],
  ['after its stack was formatted', true],
]) {
  collecting(
    `a client that is collected ${when} is a proven leak, told with its line, and its place is free`,
    `
    await leaky(${old})
    await collect()
    await until(() => names().includes('remove revoked'))
    assert.deepEqual(names(), ['connect', 'leak proven', 'forceRelease proven', 'remove revoked'])
    const leak = seen[1][2]
    assert.equal(leak.verdict, 'proven')
    assert.equal(leak.site.function, 'leaky')
    assert.equal(leak.lastSql.text, 'SELECT 42')
    const standIn = seen[3][2]
    assert.equal(standIn.constructor.name, 'Client')
    await assert.rejects(standIn.query('SELECT 1'), /not queryable/)
    standIn.release()
    const { books, leaks } = pool.getMetrics()
    assert.deepEqual([books.forceReleased, books.active, leaks], [1, 0, 1])
    assert.equal((await pool.query('SELECT 1 AS n')).rows[0].n, 1)
    assert.equal(pool.totalCount, 1)
    await pool.end()
  `,
    'max: 1',
  )
}

collecting(
  'many leaks in a loop: the pool never runs dry',
  `
  for (let n = 0; n < 20; n++) {
    await leaky(false)
    if (pool.totalCount === 2) {
      await collect()
      await until(() => pool.totalCount < 2)
    }
  }
  await collect()
  await until(() => pool.getMetrics().leaks === 20)
  await pool.end()
`,
  'max: 2',
)

collecting(
  'a released connection comes back as the same object, and is no leak',
  `
  const first = await pool.connect()
  first.mark = 'mine'
  const ref = new WeakRef(first)
  first.release()
  for (let n = 0; n < 3; n++) {
    await collect()
    const client = await pool.connect()
    assert.equal(client, ref.deref())
    assert.equal(client.mark, 'mine')
    client.release()
  }
  assert.deepEqual(names(), ['connect'])
  await pool.end()
`,
)

collecting(
  'a holder that is alive, or busy, is left alone',
  `
  const holder = { client: await pool.connect() }
  const busy = (async () => {
    const client = await pool.connect()
    await client.query('SELECT pg_sleep(0.3)')
    client.release()
  })()
  await collect()
  await busy
  await collect()
  assert.deepEqual(names(), ['connect', 'connect'])
  holder.client.release()
  await pool.end()
`,
)

collecting(
  'who listens, or announced a long use, is held strongly',
  `
  const held = []
  await (async () => {
    const hearing = await pool.connect()
    hearing.on('notification', () => {})
    await hearing.query('LISTEN somewhere')
    await pool.connect({ label: 'import' })
    await pool.connect({ expectedDurationMs: 60000 })
  })()
  await sleep(200)
  await collect()
  assert.deepEqual(names(), ['connect', 'connect', 'connect'])
  assert.equal(pool.checkouts().length, 3)
  for (const { id } of pool.checkouts()) pool.forceRelease(id)
  await pool.end()
`,
)

collecting(
  'nobody hears what it listens to, or only the word stands in its SQL: a leak',
  `
  await (async () => {
    await (await pool.connect()).query("SELECT 'please listen'")
    await (await pool.connect()).query('LISTEN somewhere')
  })()
  await sleep(250)
  await collect()
  await until(() => names().filter((name) => name === 'remove revoked').length === 2)
  assert.equal(pool.checkouts().length, 0)
  await pool.end()
`,
)

collecting(
  'a client that lies on the receiver of a frame of its own stack',
  `
  class Service {
    async start() {
      this.client = await pool.connect()
    }
  }
  await (async () => {
    await new Service().start()
  })()
  await sleep(250)
  await collect()
  await until(() => names().includes('remove revoked'))
  assert.equal(seen[1][2].site.function, 'Service.start')
  await pool.end()
`,
)

collecting(
  'taken back and collected afterwards: nobody releases it late',
  `
  await (async () => {
    const client = await pool.connect()
    pool.forceRelease(client)
  })()
  await until(() => names().includes('remove revoked'))
  await collect()
  await sleep(50)
  assert.deepEqual(names(), ['connect', 'forceRelease manual', 'remove revoked'])
  assert.equal(pool.getMetrics().lateReleases, 0)
  await pool.end()
`,
)

collecting(
  'a pool that nobody has any more goes away with its connections',
  `
  const gone = new Promise((resolve) => {
    globalThis.registry = new FinalizationRegistry(resolve)
  })
  await (async () => {
    const other = new leakpool.Pool({ connectionString: process.env.DATABASE_URL, application_name: 'forgotten' })
    await other.query('SELECT 1')
    registry.register(other, 'gone')
  })()
  await sleep(200)
  await collect()
  assert.equal(await gone, 'gone')
  const count = async () => {
    const text = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name LIKE 'forgotten%'"
    return (await pool.query(text)).rows[0].n
  }
  const limit = Date.now() + 20000
  while ((await count()) > 0) { assert.ok(Date.now() < limit, 'its sessions end'); await collect() }
  await pool.end()
`,
)
