'use strict'
// What is published: the packages of the platforms, the workflow that builds them, the command line, the demo's server.

const assert = require('node:assert/strict')
const { missing } = require('./support/missing')
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const pg = require('pg')

const { findServer, fromEnvironment, localBinaries } = require('../demo/server')

const home = path.dirname(__dirname)
const json = (file) => JSON.parse(fs.readFileSync(path.join(home, file), 'utf8'))
const platforms = fs.readdirSync(path.join(home, 'npm')).sort()

test('each platform has a package whose name the loader asks for, of the same version', () => {
  const { version, license, engines } = json('package.json')
  for (const platform of platforms) {
    const described = json(`npm/${platform}/package.json`)
    const [os, cpu, libc] = platform.split('-')
    assert.equal(described.name, `@leakpool/binding-${platform}`)
    assert.equal(described.main, `leakpool.${platform}.node`)
    assert.deepEqual([described.version, described.license, described.engines], [version, license, engines])
    assert.deepEqual([described.files, described.os, described.cpu], [[described.main], [os], [cpu]])
    assert.deepEqual(described.libc, libc && [{ gnu: 'glibc', musl: 'musl' }[libc]])
  }
})

test('the workflow builds them all, and no others', () => {
  const workflow = fs.readFileSync(path.join(home, '../.github/workflows/release-node.yml'), 'utf8')
  const built = [...workflow.matchAll(/- \{ platform: ([\w-]+),/g)].map(([, platform]) => platform)
  assert.deepEqual(built.sort(), platforms)
})

test('everything that is to be published is there', () => {
  for (const file of [...json('package.json').files, ...Object.values(json('package.json').bin)]) {
    assert.ok(fs.existsSync(path.join(home, file)), file)
  }
})

test('the command line says what it can do', () => {
  const run = (...args) =>
    spawnSync(process.execPath, [path.join(home, 'bin/leakpool.js'), ...args], { encoding: 'utf8' })
  assert.match(run().stdout, /usage: leakpool COMMAND/)
  assert.equal(run('--version').stdout, `${json('package.json').version}\n`)
  const wrong = run('dmeo')
  assert.equal(wrong.status, 2)
  assert.match(wrong.stderr, /there is no command "dmeo"/)
})

test("the demo's server is the environment's, if it names one", () => {
  const connectionString = 'postgres://somewhere/else'
  assert.deepEqual(fromEnvironment({ DATABASE_URL: connectionString, PGHOST: 'x' })?.config, { connectionString })
  assert.equal(fromEnvironment({ PGHOST: 'x', PGUSER: 'y' })?.told, 'the server of PGHOST, PGUSER')
  assert.equal(fromEnvironment({ PGPASSWORD: 'x' }), undefined)
})

test(
  "the demo's own server: not root's, gone without a trace",
  { skip: missing(!localBinaries() && 'no initdb on this machine') },
  async (t) => {
    const before = { ...process.env }
    t.after(() => Object.assign(process.env, before))
    for (const name of Object.keys(process.env))
      if (name === 'DATABASE_URL' || name.startsWith('PG')) delete process.env[name]
    const server = await findServer()
    const client = new pg.Client(server.config)
    await client.connect()
    const { rows } = await client.query("SELECT current_setting('data_directory') AS folder, pg_backend_pid() AS pid")
    const [{ folder, pid }] = rows
    assert.notEqual(fs.statSync(folder).uid, 0)
    await client.end()
    await server.stop()
    assert.equal(fs.existsSync(path.dirname(folder)), false)
    assert.throws(() => process.kill(pid, 0))
  },
)
