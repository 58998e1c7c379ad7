#!/usr/bin/env node
'use strict'
// All benchmarks of Node, or those that are named: `node bench/run.js [checkout] [query] [rows]`. For `make bench-node`.

const { spawnSync } = require('node:child_process')
const path = require('node:path')

if (!process.env.DATABASE_URL) throw new Error('DATABASE_URL: run this by `make bench-node`, or by tests/with-postgres')
if (require('../lib/testing').isDebugBuild()) throw new Error('the addon is a debug build: `npm run build` makes an optimized one')
const asked = process.argv.slice(2)
for (const name of asked.length > 0 ? asked : ['checkout', 'query', 'rows']) {
  const { status } = spawnSync(process.execPath, [path.join(__dirname, `${name}.js`)], { stdio: 'inherit' })
  if (status !== 0) process.exitCode = 1
}
