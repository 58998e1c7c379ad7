'use strict'
// How the pool behaves in a process: when it lets it exit, what end() waits for, blocked loops, worker threads, modules.

const test = require('node:test')
const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const { pathToFileURL } = require('node:url')
const path = require('node:path')
const { leakpool, connectionString, library, poolFor, clockedPoolFor, run, until } = require('./support/pools')

const lines = (text) => text.trim().split('\n')

test('an idle process exits at once, and a leaked client keeps it alive as pg does', async () => {
  const idle = await run("await pool.query('SELECT 1'); (await pool.connect()).release(); console.log('idle')")
  assert.deepEqual([idle.code, idle.stdout, idle.stderr], [0, 'idle\n', ''])
  assert.ok(idle.ms < 8000, `${idle.ms} ms, where pg waits for idleTimeoutMillis`)
  const never = await run("console.log('never used')")
  assert.deepEqual([never.code, never.stdout], [0, 'never used\n'])
  const script = `
    globalThis.client = await pool.connect()
    let turns = 0
    setTimeout(() => { client.release(); console.log('released') }, 300).unref()
  `
  // The unreferenced timer fires only because the client that is out keeps the loop alive.
  const held = await run(script)
  assert.deepEqual([held.code, held.stdout], [0, 'released\n'])
  const taken = await run(
    "globalThis.client = await pool.connect(); pool.on('forceRelease', () => console.log('taken'))",
    { options: 'leakThresholdMs: 50, forceReleaseAfterMs: 200', env: { LEAKPOOL_LOG: 'off' } },
  )
  assert.deepEqual([taken.code, taken.stdout], [0, 'taken\n'], 'what was taken back keeps nobody')
  const pending = await run(
    'const client = await pool.connect(); pool.connect().catch((e) => { console.log(e.message); client.release() })',
    { options: 'max: 1, connectionTimeoutMillis: 200', env: { LEAKPOOL_LOG: 'off' } },
  )
  assert.deepEqual([pending.code, pending.stdout], [0, 'timeout exceeded when trying to connect\n'])
})

test('end() closes what is flagged at once, waits for the others, and names them', async (t) => {
  const { pool, clock } = clockedPoolFor(t, { leakThresholdMs: 1000, closeTimeoutMillis: 5000 })
  const leaked = await pool.connect()
  clock.advance(1000)
  await until(() => pool.leaks().length === 1, 'it is flagged')
  const honest = await pool.connect()
  const stubborn = await pool.connect()
  const ending = pool.end()
  await until(() => pool.checkouts().length === 2, 'the flagged one is taken back')
  await assert.rejects(leaked.query('SELECT 1'), { leakpoolCode: 'force_released' })
  assert.equal((await honest.query('SELECT 1 AS n')).rows[0].n, 1)
  honest.release()
  await until(() => pool.checkouts().length === 1, 'one is left')
  assert.equal(pool.ended, false)
  clock.advance(5000)
  const held = await ending
  assert.deepEqual(
    held.map((c) => [c.id, c.site.file]),
    [
      [leaked._leakDetectionId, __filename],
      [stubborn._leakDetectionId, __filename],
    ],
  )
  assert.equal(pool.ended, true)
  await assert.rejects(stubborn.query('SELECT 1'), { leakpoolCode: 'force_released', message: /the pool was closed/ })
  stubborn.release()
  leaked.release()
})

test('end() turns those away who wait', async (t) => {
  const pool = poolFor(t, { max: 1 })
  const client = await pool.connect()
  const waiting = pool.connect()
  await until(() => pool.waitingCount === 1, 'it waits')
  const ending = pool.end()
  await assert.rejects(waiting, { message: 'Cannot use a pool after calling end on the pool' })
  client.release()
  await ending
})

test('a blocked event loop stops neither detection nor its log line, nor the taking back', async () => {
  const script = `
    const client = await pool.connect()
    await client.query('SELECT 42')
    const { pid } = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0]
    const until = Date.now() + 1500
    while (Date.now() < until);
    require('node:fs').writeSync(2, 'unblocked\\n')
    const leak = await new Promise((resolve) => pool.on('leak', resolve))
    console.log(leak.site.function, leak.heldMs < 1000)
    await sleep(100)
    await client.query('SELECT 1').catch((e) => console.log(e.leakpoolCode))
    client.release()
    await pool.end()
  `
  const options = 'leakThresholdMs: 200, forceReleaseAfterMs: 600'
  const { code, stdout, stderr } = await run(script, { options, env: { LEAKPOOL_LOG: 'warn' } })
  assert.equal(code, 0, stderr)
  assert.deepEqual(lines(stdout), ['main true', 'force_released'])
  const [before, after] = stderr.split('unblocked\n')
  assert.match(
    before,
    /ERROR leakpool: connection leak: a line that follows .*\n.*pool "pool-1"\n.*held for \d+ ms, idle/,
  )
  assert.match(before, /last SQL, .*: SELECT pg_backend_pid\(\) AS pid/)
  assert.match(before, /WARN leakpool: a connection was taken back/)
  assert.match(after, /the leaked checkout 0\.1 of pool "pool-1" was acquired at main \(\[eval\]:\d+\)/)
})

test('process.exit, uncaught exceptions and rejections end the process as ever', async () => {
  const busy = "pool.query('SELECT pg_sleep(30)').catch(() => {}); await pool.connect();"
  const exit = await run(`${busy} process.exit(3)`)
  assert.equal(exit.code, 3)
  assert.ok(exit.ms < 8000)
  const thrown = await run(`${busy} setImmediate(() => { throw new Error('mine') })`)
  assert.equal(thrown.code, 1)
  assert.match(thrown.stderr, /Error: mine/)
  const rejected = await run(`${busy} Promise.reject(new Error('mine too'))`)
  assert.equal(rejected.code, 1)
  assert.match(rejected.stderr, /Error: mine too/)
  const inListener = await run("pool.on('acquire', () => process.exit(4)); await pool.query('SELECT 1')")
  assert.equal(inListener.code, 4)
  const settled = await run("await pool.query('SELECT 1'); process.exit(5)")
  assert.equal(settled.code, 5)
})

test('nothing inside rejects unhandled', async () => {
  const script = `
    process.on('unhandledRejection', (e) => { console.log('unhandled', e); process.exitCode = 9 })
    const nobody = (promise) => promise.catch(() => {})
    nobody(pool.query('SELECT wrong'))
    nobody(pool.query('SELECT pg_sleep(30)'))
    nobody(pool.connect().then((c) => nobody(c.query('SELECT pg_sleep(30)'))))
    const client = await pool.connect()
    nobody(client.query('SELECT pg_sleep(30)'))
    client.query('SELECT wrong', () => {})
    pool.query('SELECT wrong', () => {})
    await sleep(50)
    client.release(true)
    const broken = new leakpool.Pool({ host: '127.0.0.1', port: 1, min: 2 })
    nobody(broken.query('SELECT 1'))
    await sleep(50)
    await broken.end()
    await pool.end()
    console.log('done')
  `
  const { code, stdout, stderr } = await run(script, { options: 'closeTimeoutMillis: 0', env: { LEAKPOOL_LOG: 'off' } })
  assert.deepEqual([code, stdout, stderr], [0, 'done\n', ''])
})

test('require and import give the same', () => {
  const esm = `
    import leakpool, { Pool, LeakDetectingPool, watch, types } from ${JSON.stringify(pathToFileURL(path.join(path.dirname(library), 'index.mjs')).href)}
    import { createRequire } from 'node:module'
    const required = createRequire(import.meta.url)(${JSON.stringify(library)})
    const pool = new Pool({ connectionString: process.env.DATABASE_URL })
    console.log(required.Pool === Pool, leakpool === required, LeakDetectingPool === Pool, typeof watch, typeof types)
    const exported = Object.keys(await import(${JSON.stringify(pathToFileURL(path.join(path.dirname(library), 'index.mjs')).href)}))
    console.log(Object.keys(required).filter((name) => !exported.includes(name)).join())
    async function acquire() { return pool.connect() }
    const client = await acquire()
    const [{ site }] = pool.checkouts()
    console.log(site.function, site.line)
    client.release()
    await pool.end()
  `
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', esm], { encoding: 'utf8' })
  assert.equal(stdout, 'true true true function object\n\nacquire 9\n', stderr)
})

const WORKER = `
  const { parentPort, workerData, threadId } = require('node:worker_threads')
  const leakpool = require(workerData.library)
  const pool = new leakpool.Pool({ connectionString: workerData.connectionString, max: 4, application_name: 'lp_worker' })
`

test('worker threads have pools of their own', async () => {
  const { Worker } = require('node:worker_threads')
  const text = `${WORKER}
    pool.query('SELECT $1::int AS n', [threadId]).then(async ({ rows }) => {
      const client = await pool.connect()
      parentPort.postMessage([rows[0].n === threadId, pool.checkouts()[0].site.known])
      client.release()
      await pool.end()
      parentPort.postMessage('ended')
    })
  `
  const all = Array.from({ length: 4 }, async () => {
    const worker = new Worker(text, { eval: true, workerData: { library, connectionString } })
    const messages = []
    worker.on('message', (message) => messages.push(message))
    const code = await new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject))
    return [code, ...messages]
  })
  for (const outcome of await Promise.all(all)) assert.deepEqual(outcome, [0, [true, true], 'ended'])
})

test('200 workers that are terminated with queries in flight', { timeout: 240_000 }, async (t) => {
  const { Worker } = require('node:worker_threads')
  const text = `${WORKER}
    const busy = () => pool.query('SELECT n, repeat(n::text, 20) FROM generate_series(1, 500) n').then(busy, () => {})
    for (let n = 0; n < 4; n++) busy()
    pool.connect().then((client) => {
      client.query('SELECT pg_sleep(60)').catch(() => {})
      parentPort.postMessage('busy')
    })
  `
  const one = async () => {
    const worker = new Worker(text, { eval: true, workerData: { library, connectionString } })
    await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject))
    await worker.terminate()
  }
  const row = async () => {
    for (let n = 0; n < 25; n++) await one()
  }
  await Promise.all(Array.from({ length: 8 }, row))
  const pool = poolFor(t)
  const sessions = async () => {
    const count = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name LIKE 'lp_worker%'"
    return (await pool.query(count)).rows[0].n
  }
  await until(async () => (await sessions()) === 0, 'their sessions end')
  assert.equal(leakpool.Pool.name, 'Pool')
})

test('a process that loads the addon in many workers, and in none of them uses it', async () => {
  const { Worker } = require('node:worker_threads')
  const one = async () => {
    const worker = new Worker('require(require("node:worker_threads").workerData)', { eval: true, workerData: library })
    assert.equal(await new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject)), 0)
  }
  await Promise.all(Array.from({ length: 8 }, one))
})
