'use strict'
// The steps: what does something, and what expects something.

const { rethrown } = require('../../lib/errors')
const facts = require('./facts')
const { gc, kindOf, lineOf, options, places } = require('./runner')

/** @typedef {import('./runner').Runner} Runner */

const TEXT = { rowMode: 'array', types: { getTypeParser: () => String } }

/** @type {Record<string, (runner: Runner, step: any) => any>} */
const ACTS = {
  acquire(runner, step) {
    const { in: place = 'elsewhere', label, expected_ms: expectedDurationMs, timeout_ms: timeoutMs } = step
    const giveUp = new AbortController()
    const wanted = { label, expectedDurationMs, timeoutMs, signal: giveUp.signal }
    const plain = label === undefined && expectedDurationMs === undefined && timeoutMs === undefined
    return runner.run(step, {
      // As applications call it, unless the step wants more.
      start: () =>
        places[/** @type {keyof places} */ (place)](runner.pool, plain && !step.background ? undefined : wanted),
      success: (client) => runner.acquired(step, client),
      abandon: () => giveUp.abort(GIVEN_UP),
    })
  },
  async cancel_acquire(runner, { background }) {
    const job = runner.jobs.get(background)
    if (job === undefined) throw new Error(`nothing runs as ${background}`)
    runner.jobs.delete(background)
    job.abandoned = true
    job.abandon()
    await job.outcome
  },
  release: (runner, { name }) => giveBack(runner, name),
  release_broken: (runner, { name }) => giveBack(runner, name, true),
  async release_again(runner, { name, expect }) {
    runner.check(await runner.outcome(() => runner.of(name).release?.()), expect)
  },
  forget(runner, { name }) {
    runner.client(name)
    runner.held.delete(name)
    // It keeps the client, too.
    runner.of(name).release = null
  },
  async collect(runner, { name }) {
    let finalized = false
    const registry = new FinalizationRegistry(() => (finalized = true))
    // In a function of its own, whose frame keeps nothing.
    ;(() => registry.register(runner.client(name), undefined))()
    runner.held.delete(name)
    runner.of(name).release = null
    await runner.eventually(async () => {
      gc()
      await new Promise((resolve) => setImmediate(resolve))
      if (!finalized) throw new Error('the collector has not found it')
    })
    // The pool's own finalizer runs in the same round of them, or the next.
    for (let round = 0; round < 3; round++) {
      gc()
      await new Promise((resolve) => setImmediate(resolve))
    }
  },
  async prove(runner, { name, expect }) {
    const { id } = runner.of(name)
    if (expect?.error !== undefined) {
      runner.check(await runner.outcome(() => rethrown(() => runner.spy.prove(id))), expect)
      return
    }
    await runner.eventually(async () => {
      gc()
      await new Promise((resolve) => setImmediate(resolve))
      runner.listen()
      const told = runner.log.some(({ event }) => event.id === id && event.verdict === 'proven')
      if (!told) throw new Error('the collector has not shown it')
    })
  },
  query(runner, step) {
    return runner.run(step, {
      start: () => runner.client(step.on).query({ text: runner.fillIn(step.sql), ...TEXT }),
      success: facts.answer,
      after: async ({ error }) => {
        if (error !== null) await runner.ready(step.on)
      },
    })
  },
  async cancel(runner, { on, expect }) {
    runner.check(await runner.outcome(() => runner.client(on).cancel()), expect)
  },
  async force_release(runner, { name, expect }) {
    runner.check(await runner.outcome(() => runner.pool.forceRelease(runner.of(name).id)), expect)
  },
  advance(runner, { ms }) {
    // On a real clock every line is told once its checkout is 100 ms old; that timer knows nothing of this one.
    if (ms >= 100) runner.pool.checkouts()
    runner.clock.advance(ms)
  },
  async await(runner, { background, expect }) {
    const job = runner.jobs.get(background)
    if (job === undefined) throw new Error(`nothing runs as ${background}`)
    await runner.finish(job, expect)
    runner.jobs.delete(background)
  },
  async reconfigure(runner, { options: given, expect }) {
    runner.check(await runner.outcome(() => runner.pool.reconfigure(options(given))), expect)
  },
  async resize(runner, { max_size, expect }) {
    runner.check(await runner.outcome(() => runner.pool.resize(max_size)), expect)
  },
  close: (runner, step) =>
    runner.run(step, {
      start: () => runner.pool.end(),
      success: (held) => ({ error: null, holders: held.map((/** @type {any} */ holder) => runner.nameOf(holder.id)) }),
    }),
  async sql_admin(runner, { sql, expect }) {
    const seen = await runner.outcome(() => runner.server.sql(runner.fillIn(sql)), facts.answer)
    runner.check(seen, expect)
  },
}

/** @type {Record<string, (runner: Runner, step: any) => any>} */
const EXPECTATIONS = {
  expect_event: (runner, step) => runner.eventually(() => lookFor(runner, step)),
  async expect_no_event(runner, { kinds, of }) {
    await runner.settle()
    const id = of === undefined ? undefined : runner.of(of).id
    const found = runner.log.find(
      ({ event, matched }) => !matched && kinds.includes(kindOf(event.name)) && (id === undefined || event.id === id),
    )
    if (found !== undefined) {
      const seen = facts.event(found.event, runner.nameOf)
      throw new Error(`it came: ${kindOf(found.event.name)} ${JSON.stringify(seen)}`)
    }
  },
  async expect_pending(runner, { background }) {
    await runner.settle()
    const job = runner.jobs.get(background)
    if (job === undefined) throw new Error(`nothing runs as ${background}`)
    if (job.ended) throw new Error(`${background} has come to an end`)
  },
  expect_status: (runner, { fields }) =>
    runner.eventually(() => facts.match(fields, facts.status(runner.pool.getPoolStatus()))),
  expect_metrics: (runner, { fields }) =>
    runner.eventually(() => facts.match(fields, facts.metrics(runner.pool.getMetrics()))),
  expect_checkout: (runner, { of, fields }) =>
    runner.eventually(() => {
      const found = runner.pool.checkouts().find((/** @type {any} */ c) => c.id === runner.of(of).id)
      if (found === undefined) throw new Error(`the checkout of ${of} is not live`)
      facts.match(fields, facts.checkout(found))
    }),
  expect_holders: (runner, { names }) =>
    runner.eventually(() => {
      const seen = runner.pool.checkouts().map((/** @type {any} */ c) => runner.nameOf(c.id))
      facts.match({ names }, { names: seen })
    }),
  expect_session(runner, { of, same_as, other_than }) {
    const { pid } = runner.of(of)
    if (same_as !== undefined && runner.of(same_as).pid !== pid)
      throw new Error(`${of} and ${same_as} have different sessions`)
    if (other_than !== undefined && runner.of(other_than).pid === pid)
      throw new Error(`${of} has the session of ${other_than}`)
  },
  expect_report: (runner, { contains = [], lacks = [], places: named = [] }) =>
    runner.eventually(() => {
      const report = runner.pool.report()
      const wanted = [...contains, ...named.map((/** @type {string} */ name) => `places.js:${lineOf(name)}`)]
      for (const part of wanted) if (!report.includes(part)) throw new Error(`the report lacks ${part}:\n${report}`)
      for (const part of lacks) if (report.includes(part)) throw new Error(`the report has ${part}:\n${report}`)
    }),
  server_session_waits: (runner, { of, event }) =>
    runner.eventually(async () => {
      const sql = `SELECT wait_event FROM pg_stat_activity WHERE pid = ${runner.of(of).pid}`
      facts.match({ value: event }, facts.answer(await runner.server.sql(sql)))
    }),
  server_session_gone: (runner, { of }) =>
    runner.eventually(async () => {
      const { pid } = runner.of(of)
      if (await runner.server.hasSession(runner.poolName, pid)) throw new Error(`the server still has session ${pid}`)
    }),
}

const GIVEN_UP = Object.assign(new Error('given up'), { leakpoolCode: 'given_up' })

/**
 * @param {Runner} runner
 * @param {string} name
 * @param {boolean} [broken]
 */
function giveBack(runner, name, broken) {
  const client = runner.client(name)
  runner.held.delete(name)
  // On a real clock, checkouts that end clean within 100 ms tell no line, and no site counts them; here all are looked at.
  if (client.getTransactionStatus() === 'I') runner.pool.checkouts()
  client.release(broken)
}

/**
 * The first event that fits and that no step has expected yet. About one checkout, events are expected in the order in
 * which they came.
 *
 * @param {Runner} runner
 * @param {any} step
 */
function lookFor(runner, { kind, of, fields = {} }) {
  runner.listen()
  const id = of === undefined ? undefined : runner.of(of).id
  const last = id === undefined ? -1 : runner.log.findLastIndex(({ event, matched }) => matched && event.id === id)
  const nearly = []
  for (const [n, told] of runner.log.entries()) {
    const { event, matched } = told
    if (matched || kindOf(event.name) !== kind || (id !== undefined && event.id !== id)) continue
    try {
      facts.match(fields, facts.event(event, runner.nameOf))
    } catch (error) {
      nearly.push(/** @type {Error} */ (error).message)
      continue
    }
    if (n > last) {
      told.matched = true
      return
    }
    nearly.push('it came before what was expected before it')
  }
  throw new Error(nearly.length === 0 ? 'it never came' : `it came otherwise: ${nearly.join(' | ')}`)
}

/**
 * @param {Runner} runner
 * @param {any} step
 */
function step(runner, step) {
  return (ACTS[step.do] ?? EXPECTATIONS[step.do])(runner, step)
}

/** The steps that this runner can do. */
const known = () => [...Object.keys(ACTS), ...Object.keys(EXPECTATIONS)]

module.exports = { step, known }
