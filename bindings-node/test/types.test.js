'use strict'
// The declarations: they compile, with the code of users and of libraries; and they say exactly what is there.

const test = require('node:test')
const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { promisify } = require('node:util')
const pg = require('pg')
const leakpool = require('../lib/index')
const { optionTable } = require('../lib/testing')
const { events } = require('./support/every-event')

const folder = path.join(__dirname, 'types')
const tsc = path.join(__dirname, '..', 'node_modules', 'typescript', 'bin', 'tsc')

/** What the compiler says to a project, or to one file with the options of the strictest project. */
async function compile(project, text) {
  if (text === undefined) return run(['-p', path.join(folder, project)])
  // Inside of the package, so that `leakpool` is found.
  const made = fs.mkdtempSync(path.join(folder, 'made-'))
  try {
    fs.writeFileSync(path.join(made, 'made.ts'), text)
    const config = { extends: path.join(folder, project), include: ['./made.ts'] }
    fs.writeFileSync(path.join(made, 'tsconfig.json'), JSON.stringify(config))
    return await run(['-p', made])
  } finally {
    fs.rmSync(made, { recursive: true })
  }
}

async function run(args) {
  const { stdout } = await promisify(execFile)(process.execPath, [tsc, '--pretty', 'false', ...args]).catch((e) => e)
  return stdout
}

test('they compile strictly, with code of every kind', async () => {
  assert.equal(await compile('tsconfig.json'), '')
  assert.equal(await compile('tsconfig.declarations.json'), '')
})

test('code for @types/pg compiles unchanged', async () => {
  const code = fs.readFileSync(path.join(folder, 'pg-code.ts'), 'utf8')
  const changed = code.replaceAll("from 'pg'", "from 'leakpool'")
  assert.notEqual(changed, code)
  assert.equal(await compile('tsconfig.declarations.json', changed), '')
})

/** The names of all properties, as a type checked from both sides: none is missing, none is too much. */
function exactly(type, names) {
  const list = names.map((name) => `${JSON.stringify(name)}: true`).join(', ')
  return `{ const names: Record<${type}, true> = { ${list} }; void names }\n`
}

/** The public properties of a class's objects that are its own, not EventEmitter's. */
function slots(object, type) {
  const internal = ['constructor', 'look', 'told', 'log', 'Promise', 'secretKey', 'connectionParameters', 'pool']
  const names = new Set([...Object.getOwnPropertyNames(object), ...Object.getOwnPropertyNames(type.prototype)])
  return [...names].filter((name) => !name.startsWith('_') && !internal.includes(name))
}

test('they declare exactly what is exported', async (t) => {
  const pool = new leakpool.Pool({ connectionString: process.env.DATABASE_URL })
  t.after(() => pool.end())
  const client = await pool.connect()
  const listening = ['on', 'once', 'addListener', 'removeListener', 'off']
  const absent = ['connection', 'pipeline', 'copyFrom', 'copyTo', 'pauseDrain', 'resumeDrain']
  const add = (object, type, more) => [...new Set([...slots(object, type), ...more])]
  for (const name of absent) assert.equal(client[name], undefined, name)
  client.release()
  let text = "import { EventEmitter } from 'node:events'\nimport leakpool = require('leakpool')\n"
  text += exactly('keyof typeof leakpool', Object.keys(leakpool))
  const inherited = "Exclude<keyof EventEmitter, 'on' | 'once' | 'addListener' | 'removeListener' | 'off'>"
  text += exactly(`Exclude<keyof leakpool.Pool, ${inherited}>`, add(pool, leakpool.Pool, listening))
  const ofClient = add(client, leakpool.Client, [...listening, ...absent, 'password'])
  text += exactly(`Exclude<keyof leakpool.PoolClient, ${inherited} | symbol>`, ofClient)
  const theirs = new pg.Pool({ connectionString: process.env.DATABASE_URL })
  const detector = leakpool.watch(theirs)
  text += exactly(`Exclude<keyof leakpool.LeakDetector, ${inherited}>`, add(detector, leakpool.LeakDetector, listening))
  const live = optionTable().filter((option) => option.live)
  text += exactly(
    'keyof leakpool.LeakOptions',
    live.map((option) => option.name),
  )
  text += exactly('keyof leakpool.WatchOptions', [...live.map((option) => option.name), 'name', 'clock'])
  const ofPg = ['poolSize', 'allowExitOnIdle', 'log', 'Promise', 'onConnect', 'verify', 'allowOpenTransaction', 'clock']
  const own = [...optionTable().map((option) => option.name), ...ofPg]
  text += exactly('Exclude<keyof leakpool.PoolConfig, keyof leakpool.ClientConfig>', own)
  for (const { name, kind } of optionTable()) {
    const typescript = { integer: 'number', milliseconds: 'number', seconds: 'number', share: 'number' }[kind]
    const type =
      typescript ??
      (/,/.test(kind)
        ? kind
            .split(', ')
            .map((word) => `'${word}'`)
            .join(' | ')
        : kind)
    text += `{ const value: leakpool.PoolConfig['${name}'] = 0 as unknown as ${type}; void value }\n`
    text += `{ const value: ${type} = 0 as unknown as NonNullable<leakpool.PoolConfig['${name}']>; void value }\n`
  }
  assert.equal(await compile('tsconfig.json', text), '')
  // And the check itself fails when something is missing.
  const wrong = text.replace('"withClient": true', '"withCustomer": true')
  assert.match(await compile('tsconfig.json', wrong), /withCustomer/)
})

test('what is looked at and told has exactly the declared properties', async (t) => {
  const { seen, errors } = await events(t)
  let text = "import leakpool = require('leakpool')\n"
  for (const [type, values] of Object.entries(seen)) {
    for (const value of values) text += `{ const value: leakpool.${type} = ${JSON.stringify(value)}; void value }\n`
  }
  assert.equal(await compile('tsconfig.json', text), '')
  for (const error of errors) {
    const names = Object.keys(error).filter((name) => error[name] !== undefined)
    text += `{ const names: (keyof leakpool.LeakpoolError)[] = ${JSON.stringify(names)}; void names }\n`
    text += `{ const code: leakpool.ErrorCode = '${error.leakpoolCode}'; void code }\n`
  }
  assert.equal(await compile('tsconfig.json', text), '')
  assert.match(await compile('tsconfig.json', text.replace('"heldMs":', '"heldSeconds":')), /heldSeconds/)
})
