#!/usr/bin/env node
'use strict'
// Installs the tarballs of `npm-pack.js` in an empty folder, as users do, with no Rust in reach, and tries what they try
// first: the README's first program, `import`, `npx leakpool demo`. For `make test-npm`; needs DATABASE_URL.

const assert = require('node:assert/strict')
const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const here = path.dirname(__dirname)
const tarballs = path.join(process.env.CARGO_TARGET_DIR ?? path.join(path.dirname(here), 'target'), 'npm')

/** PATH without the folders that have a Rust compiler. */
function withoutRust() {
  const has = (/** @type {string} */ folder) => ['cargo', 'rustc'].some((name) => fs.existsSync(path.join(folder, name)))
  const folders = (process.env.PATH ?? '').split(path.delimiter)
  return folders.filter((folder) => !has(folder)).join(path.delimiter)
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'leakpool-try-'))
process.once('exit', () => fs.rmSync(folder, { recursive: true, force: true }))
const env = { ...process.env, PATH: withoutRust() }

/**
 * @param {string} program
 * @param {string[]} args
 */
function run(program, args) {
  console.log(`$ ${[path.basename(program), ...args].join(' ')}`)
  const out = execFileSync(program, args, { cwd: folder, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  console.log(out.trimEnd())
  return out
}

const [{ code }] = [...fs.readFileSync(path.join(here, 'README.md'), 'utf8').matchAll(/^```js\n(?<code>[^]*?)^```/gm)].map(
  (match) => /** @type {{ code: string }} */ (match.groups),
)
const files = fs.readdirSync(tarballs).map((file) => path.join(tarballs, file))
assert.ok(files.length >= 2, `no tarballs in ${tarballs}: run \`make npm-pack\``)
fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n')
run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...files])

fs.writeFileSync(path.join(folder, 'program.js'), code)
assert.match(run(process.execPath, ['program.js']), /^hello\n3\n$/)
fs.writeFileSync(
  path.join(folder, 'program.mjs'),
  `import leakpool, { Pool, LeakDetectingPool, DatabaseError } from 'leakpool'
const pool = new Pool({ connectionString: process.env.DATABASE_URL })
const error = await pool.query('SELECT 1 / 0').catch((error) => error)
console.log(Pool === leakpool.Pool, Pool === LeakDetectingPool, error instanceof DatabaseError, error.code)
await pool.end()\n`,
)
assert.equal(run(process.execPath, ['program.mjs']), 'true true true 22012\n')
assert.match(run('npx', ['leakpool', '--version']), /^\d+\.\d+\.\d+\n$/)
const story = run('npx', ['leakpool', 'demo'])
assert.match(story, /The story came true\.\n$/)
// Played from outside of the package, as every service is: its own line, its own frames.
assert.match(story, /LEAK: reserveStock \(.*leakpool-shop-\w+.shop\.js:\d+\)/)
// What it made to find a server for itself is gone; with DATABASE_URL it had nothing to make.
delete env.DATABASE_URL
assert.match(run('npx', ['leakpool', 'demo']), /a throw-away server \(.*\) on port \d+[^]*The story came true\.\n$/)
assert.deepEqual(
  fs.readdirSync(os.tmpdir()).filter((name) => name.startsWith('leakpool-demo-') || name.startsWith('leakpool-shop-')),
  [],
)
console.log('the tarballs work')
