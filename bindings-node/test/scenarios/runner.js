'use strict'
// Plays one scenario: the pool, who holds what, what was told; and what has to be true at the end of every one.

const { setTimeout: pause } = require('node:timers/promises')
const { setFlagsFromString } = require('node:v8')
const { runInNewContext } = require('node:vm')

const { Pool } = require('../../lib')
const { ManualClock, TestSpy, optionTable } = require('../../lib/testing')
const facts = require('./facts')
const { lineOf, places } = require('./places')
const { Server } = require('./server')

/** The longest that anything may take that is awaited. Generous: nothing is judged by it. */
const LIMIT = 30_000

setFlagsFromString('--expose-gc')
const gc = /** @type {() => void} */ (runInNewContext('gc'))

const OPTIONS = new Map(optionTable().map((option) => [option.core, option]))

/** @param {Record<string, any>} given options by their core names, durations in milliseconds */
function options(given) {
  const own = Object.entries(given).map(([core, value]) => {
    const option = OPTIONS.get(core)
    if (option === undefined) throw new Error(`there is no option ${core}`)
    return [option.name, option.kind === 'seconds' ? value / 1000 : value]
  })
  return Object.fromEntries(own)
}

/**
 * Errors about options, and the advice of a time-out, name options as this language does; scenarios as the core does.
 *
 * @param {any} expect
 * @param {any} seen
 */
function inOurNames(expect, seen) {
  const part = expect.message?.contains
  if (part === undefined || !['invalid_option', 'acquire_timeout', 'too_many_waiting'].includes(seen.error))
    return expect
  const ours = part.replaceAll(/\w+/g, (/** @type {string} */ word) => OPTIONS.get(word)?.name ?? word)
  return { ...expect, message: { contains: ours } }
}

/** `leaks_detected` for `leaksDetected`. */
const kindOf = (/** @type {string} */ name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

class Runner {
  /** @param {any} scenario */
  constructor(scenario) {
    this.scenario = scenario
    this.server = new Server(scenario.server ?? 'default')
    this.poolName = `scenario-${this.server.unique}`
    this.clock = new ManualClock()
    /** Who holds. @type {Map<string, any>} */
    this.held = new Map()
    /** The last checkout of every name. @type {Map<string, { id: string, pid: number, release: Function | null }>} */
    this.known = new Map()
    /** @type {Map<string, string>} */
    this.names = new Map()
    /** What runs while the next steps do. @type {Map<string, any>} */
    this.jobs = new Map()
    /** @type {{ event: any, matched: boolean }[]} */
    this.log = []
    /** What listeners of the pool were told. @type {{ name: string, event: any }[]} */
    this.emitted = []
  }

  makePool() {
    const close = this.scenario.steps.find((/** @type {any} */ step) => step.within_ms !== undefined)
    // Rust's defaults, where those of pg differ. end() takes no limit: the option has it.
    const wanted = { idle_timeout: 600_000, max_lifetime: 3_600_000, ...this.scenario.pool }
    if (close !== undefined) wanted.close_timeout = close.within_ms
    this.pool = new Pool({ ...this.server.target(), ...options(wanted), name: this.poolName, clock: this.clock })
    this.spy = new TestSpy(this.pool._native)
    for (const name of TOLD) this.pool.on(name, (event) => this.emitted.push({ name, event }))
  }

  // ---- polling --------------------------------------------------------------------------------------------------

  /**
   * Looks until it is as it should be. The error is what was seen last.
   *
   * @template T
   * @param {() => T | Promise<T>} look throws if it is not
   * @returns {Promise<T>}
   */
  async eventually(look) {
    const end = Date.now() + LIMIT
    for (;;) {
      try {
        return await look()
      } catch (error) {
        if (Date.now() > end) throw error
      }
      await pause(1)
    }
  }

  listen() {
    // First every line that is known, so that events have theirs.
    this.pool.checkouts()
    for (const event of JSON.parse(this.spy.take())) this.log.push({ event, matched: false })
  }

  async settle() {
    for (let round = 0; round < 2; round++) {
      const { closed, active } = this.pool.getPoolStatus()
      if (closed || active === 0) break
      const rounds = this.spy.rounds()
      this.pool.reconfigure({})
      await this.eventually(() => {
        if (this.spy.rounds() <= rounds && this.pool.getPoolStatus().active > 0) {
          throw new Error('the sweeper does not look at the checkouts')
        }
      })
    }
    if (!this.pool._native.flush(LIMIT)) throw new Error('events are queued and not told')
    this.listen()
  }

  // ---- names ----------------------------------------------------------------------------------------------------

  nameOf = (/** @type {string} */ id) => this.names.get(id) ?? `checkout ${id}, which has no name`

  /** @param {string} name */
  of(name) {
    const known = this.known.get(name)
    if (known === undefined) throw new Error(`${name} has not acquired yet`)
    return known
  }

  /** @param {string} name */
  client(name) {
    const client = this.held.get(name)
    if (client === undefined) throw new Error(`${name} holds no connection`)
    return client
  }

  /** @param {string} sql */
  fillIn(sql) {
    return sql
      .replaceAll('{unique}', this.server.unique)
      .replaceAll(/\{pid:(\w+)\}/g, (_, name) => String(this.of(name).pid))
  }

  // ---- outcomes -------------------------------------------------------------------------------------------------

  /**
   * What an operation comes to, as facts.
   *
   * @param {() => any} operation
   * @param {(value: any) => object} success
   */
  async outcome(operation, success = () => ({ error: null })) {
    const waiting = new AbortController()
    const late = pause(LIMIT, undefined, { signal: waiting.signal }).then(() => {
      throw new Error('it did not come to an end')
    })
    late.catch(() => {})
    try {
      return success(await Promise.race([operation(), late]))
    } catch (error) {
      return facts.failure(error, this.nameOf)
    } finally {
      waiting.abort()
    }
  }

  /**
   * About an outcome; where nothing is said, it has to be a success.
   *
   * @param {object} seen
   * @param {object} [expect]
   */
  check(seen, expect = {}) {
    facts.match({ error: null, ...inOurNames(expect, seen) }, seen)
  }

  /**
   * @param {any} step
   * @param {any} client
   */
  acquired(step, client) {
    if (this.held.has(step.as)) throw new Error(`${step.as} holds a connection already: give this one another name`)
    const id = client._leakDetectionId
    this.names.set(id, step.as)
    this.known.set(step.as, { id, pid: client.processID, release: client.release })
    this.held.set(step.as, client)
    return { error: null }
  }

  /**
   * Starts what may run in the background, and checks its outcome now or when it is awaited.
   *
   * @param {any} step
   * @param {{ start: () => any, success: (value: any) => object, after?: (seen: any) => Promise<void>, abandon?: () => void }} job
   */
  async run(step, { start, success, after = async () => {}, abandon = () => {} }) {
    const job = { of: step.on, ended: false, abandon, after, abandoned: false, outcome: Promise.resolve({}) }
    job.outcome = this.outcome(start, (value) => {
      if (job.abandoned) step.do === 'acquire' && value.release()
      return job.abandoned ? {} : success(value)
    })
    job.outcome.then(
      () => (job.ended = true),
      () => (job.ended = true),
    )
    if (step.background === undefined) return this.finish(job, step.expect)
    this.jobs.set(step.background, job)
  }

  /**
   * @param {any} job
   * @param {object} [expect]
   */
  async finish(job, expect) {
    const seen = await job.outcome
    this.check(seen, expect)
    await job.after(seen)
  }

  /** An error reaches its caller before the session is ready again, and time must not pass in between. */
  async ready(/** @type {string} */ name) {
    await this.eventually(() => {
      const checkout = this.pool.checkouts().find((c) => c.id === this.of(name).id)
      if (checkout !== undefined && checkout.executingMs !== null) throw new Error('the session is not ready again')
    })
  }

  // ---- the end --------------------------------------------------------------------------------------------------

  async end() {
    for (const [, job] of this.jobs) {
      job.abandoned = true
      job.abandon()
    }
    // What still runs does not hold up the end: its session ends.
    const busy = new Set([...this.jobs.values()].filter((job) => !job.ended).map((job) => job.of))
    for (const [name, client] of this.held) {
      if (client._out) client.release(busy.has(name) ? true : undefined)
    }
    this.held.clear()
    if (!this.pool.ending) await this.pool.end()
    await Promise.all([...this.jobs.values()].map((job) => job.outcome))
    const metrics = this.pool.getMetrics()
    const { acquired, released, forceReleased, lost, active } = metrics.books
    if (active !== 0 || acquired !== released + forceReleased + lost) {
      throw new Error(`the books do not balance: ${JSON.stringify(metrics.books)}`)
    }
    if (metrics.status.leaked !== 0 || metrics.eventsDropped !== 0) throw new Error('flagged or dropped after the end')
    await this.eventually(async () => {
      if (await this.server.hasSession(this.poolName)) throw new Error('the server still has sessions of the pool')
    })
    await this.emittedAll()
  }

  /** Listeners were told what the core told, in the same order, with the same facts. */
  async emittedAll() {
    this.listen()
    for (const name of TOLD) {
      const told = this.log.filter(({ event }) => event.name === name).map(({ event }) => event)
      const key = (/** @type {any} */ event) => JSON.stringify(facts.event(event, this.nameOf))
      await this.eventually(() => {
        const emitted = this.emitted.filter((one) => one.name === name).map(({ event }) => key(event))
        const expected = told.map(key)
        if (emitted.join('\n') !== expected.join('\n')) {
          throw new Error(`listeners of ${name} were told\n${emitted.join('\n')}\nof\n${expected.join('\n')}`)
        }
      })
    }
  }

  unexpected() {
    this.listen()
    const about = (/** @type {any} */ event) =>
      event.id ? `${kindOf(event.name)} of ${this.nameOf(event.id)}` : kindOf(event.name)
    return this.log.filter(({ matched }) => !matched).map(({ event }) => about(event))
  }
}

/** The events that listeners get with the core's facts. `remove`, `connect`, `acquire`, `release`, `error` are pg's. */
const TOLD = ['leak', 'leaksDetected', 'leakRecovered', 'longRunning', 'forceRelease', 'lateUse', 'lateRelease']
TOLD.push('dirtyRelease', 'exhausted', 'utilization')

/** @param {any} scenario */
async function play(scenario) {
  const runner = new Runner(scenario)
  await runner.server.open()
  try {
    runner.makePool()
    for (const [n, step] of scenario.steps.entries()) {
      try {
        await steps(runner, step)
      } catch (error) {
        const text = `step ${n + 1} ${JSON.stringify(step)}\n  ${/** @type {Error} */ (error).message}`
        throw new Error(`${text}\n  told and not expected: ${runner.unexpected().join(', ')}`, { cause: error })
      }
    }
    await runner.end()
  } finally {
    if (runner.pool !== undefined && !runner.pool.ending) await runner.end().catch(() => {})
    for (const sql of scenario.cleanup ?? []) await runner.server.sql(runner.fillIn(sql))
    await runner.server.close()
  }
}

/**
 * @param {Runner} runner
 * @param {any} step
 */
function steps(runner, step) {
  return require('./steps').step(runner, step)
}

module.exports = { play, Runner, gc, kindOf, options, places, lineOf }
