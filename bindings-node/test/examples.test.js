'use strict'
// The examples are run, and do what they say.

const test = require('node:test')
const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { once } = require('node:events')
const { spawn } = require('node:child_process')
const { connectionString } = require('./support/pools')

const here = path.join(__dirname, '..')

test('the service on Express', async (t) => {
  // Where `require('leakpool')` finds this package, as it does where that is installed.
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'leakpool-example-'))
  t.after(() => fs.rmSync(folder, { recursive: true }))
  fs.mkdirSync(path.join(folder, 'node_modules'))
  fs.symlinkSync(here, path.join(folder, 'node_modules', 'leakpool'))
  fs.symlinkSync(path.join(here, 'node_modules', 'express'), path.join(folder, 'node_modules', 'express'))
  fs.copyFileSync(path.join(here, 'examples', 'express.js'), path.join(folder, 'express.js'))
  const child = spawn(process.execPath, ['express.js'], {
    cwd: folder,
    env: { ...process.env, DATABASE_URL: connectionString },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.after(() => child.kill())
  const [line] = await once(child.stdout, 'data')
  const url = `http://${String(line).trim().replace('listening on ', '')}`
  assert.deepEqual(await (await fetch(`${url}/square/12`)).json(), { square: 144 })
  const metrics = await fetch(`${url}/metrics`)
  assert.match(metrics.headers.get('content-type') ?? '', /openmetrics-text/)
  assert.match(await metrics.text(), /leakpool_leaks_total\{db_client_connection_pool_name="express"\} 0/)
  assert.equal((await fetch(`${url}/square/many`)).status, 500)
  child.stdin.end()
  const [code] = await once(child, 'exit')
  assert.equal(code, 0)
})
