'use strict'
// The scenario files: tests/scenarios/README.md says what they mean. Unknown steps and fields are refused.

const fs = require('node:fs')
const path = require('node:path')

const DIRECTORY = path.join(__dirname, '../../../tests/scenarios')

/** The fields of each step; those that it must have come first, and `?` marks the others. */
const STEPS = {
  acquire: 'as in? label? expected_ms? timeout_ms? background? expect?',
  try_acquire: 'as expect?',
  release: 'name',
  release_broken: 'name',
  release_again: 'name expect?',
  forget: 'name',
  query: 'on sql background? expect?',
  query_released: 'on sql expect?',
  copy_in_open: 'on sql',
  read_nothing: 'on sql',
  cancel: 'on expect?',
  collect: 'name',
  prove: 'name expect?',
  owner_ended: 'name expect?',
  force_release: 'name expect?',
  advance: 'ms',
  await: 'background expect?',
  cancel_acquire: 'background',
  reconfigure: 'options expect?',
  resize: 'max_size expect?',
  close: 'within_ms? background? expect?',
  sql_admin: 'sql expect?',
  expect_event: 'kind of? fields?',
  expect_no_event: 'kinds of?',
  expect_pending: 'background',
  expect_status: 'fields',
  expect_metrics: 'fields',
  expect_checkout: 'of fields',
  expect_holders: 'names',
  expect_session: 'of same_as? other_than?',
  expect_report: 'contains? lacks? places?',
  server_session_waits: 'of event',
  server_session_gone: 'of',
}

/** The steps that Node cannot do, and why. A scenario with such a step is skipped, by the step's name. */
const UNSUPPORTED = {
  copy_in_open:
    'query() refuses COPY … FROM STDIN, as pg does when nobody gives it data; there is no COPY to leave open',
  read_nothing: 'a result is collected as a whole: none can be left unread',
  try_acquire: 'pg.Pool has no such method; connect() takes an idle connection at once by itself',
  owner_ended: 'JavaScript has no task or thread of an acquire whose end could be seen',
  query_released:
    "as in pg, one client object belongs to a connection for its whole life: the next holder's is the same object",
}

/**
 * A release while the holder's query runs: pg has its next holder wait for it, and so have we.
 *
 * @param {any[]} steps
 */
function releasesWhileRunning(steps) {
  const running = new Map()
  for (const step of steps) {
    if (step.do === 'query' && step.background !== undefined) running.set(step.background, step.on)
    if (step.do === 'await') running.delete(step.background)
    if (step.do === 'release' && [...running.values()].includes(step.name)) return true
  }
  return false
}

/**
 * Why Node cannot play a scenario; nothing if it can.
 *
 * @param {{ steps: any[] }} scenario
 */
function whyNot({ steps }) {
  for (const { do: step } of steps) {
    if (Object.hasOwn(UNSUPPORTED, step)) return `${step}: ${UNSUPPORTED[/** @type {keyof UNSUPPORTED} */ (step)]}`
  }
  if (!releasesWhileRunning(steps)) return undefined
  return 'release: of a client whose query runs, it waits for that query, as the queue of a client of pg does'
}

/** @param {any} step */
function checkStep(step) {
  const fields = STEPS[/** @type {keyof STEPS} */ (step.do)]?.split(' ')
  if (fields === undefined) throw new Error(`there is no step ${step.do}`)
  const known = new Set([...fields.map((field) => field.replace('?', '')), 'do', 'note'])
  for (const name of Object.keys(step)) if (!known.has(name)) throw new Error(`${step.do} has no field ${name}`)
  for (const name of fields) if (!name.endsWith('?') && !(name in step)) throw new Error(`${step.do} lacks ${name}`)
}

const FIELDS = ['$schema', 'description', 'pool', 'server', 'steps', 'cleanup']
const SERVERS = ['default', 'limited', 'refused', 'silent']

/** @param {any} scenario */
function check(scenario) {
  for (const name of Object.keys(scenario))
    if (!FIELDS.includes(name)) throw new Error(`a scenario has no field ${name}`)
  if (!SERVERS.includes(scenario.server ?? 'default')) throw new Error(`there is no server ${scenario.server}`)
  for (const step of scenario.steps) checkStep(step)
  return scenario
}

/** Every scenario, by its name. */
function scenarios() {
  const files = fs.readdirSync(DIRECTORY).filter((file) => file.endsWith('.json') && file !== 'schema.json')
  const read = (/** @type {string} */ file) => JSON.parse(fs.readFileSync(path.join(DIRECTORY, file), 'utf8'))
  return files.sort().map((file) => ({ name: path.basename(file, '.json'), scenario: read(file) }))
}

/** The steps that the schema knows. */
function schemaSteps() {
  const { $defs } = JSON.parse(fs.readFileSync(path.join(DIRECTORY, 'schema.json'), 'utf8'))
  const names = Object.values($defs).map((/** @type {any} */ step) => step.properties?.do?.const)
  return names.filter((name) => name !== undefined)
}

module.exports = { scenarios, check, whyNot, schemaSteps, STEPS, UNSUPPORTED }
