#!/usr/bin/env node
'use strict'
// Builds the addon for this machine and puts it where lib/native.js looks first. `--release` for the optimized one.

const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { platformName } = require('../lib/platform')

const folder = path.dirname(__dirname)
const release = process.argv.includes('--release')
const LIBRARY = { darwin: 'libleakpool_node.dylib', win32: 'leakpool_node.dll' }

const args = ['build', '--locked', '-p', 'leakpool-node', '--message-format=json-render-diagnostics']
if (release) args.push('--release')
const messages = execFileSync('cargo', args, { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 28 })
const library = LIBRARY[process.platform] ?? 'libleakpool_node.so'
const built = String(messages)
  .split('\n')
  .filter((line) => line.startsWith('{'))
  .map((line) => JSON.parse(line))
  .filter((message) => message.reason === 'compiler-artifact' && message.target.name === 'leakpool_node')
  .flatMap((message) => message.filenames)
  .find((file) => path.basename(file) === library)
if (built === undefined) throw new Error(`cargo did not say where ${library} is`)

// By a rename: a process that has the old one loaded keeps it.
const target = path.join(folder, `leakpool.${platformName()}.node`)
const next = `${target}.${process.pid}.new`
fs.copyFileSync(built, next)
fs.renameSync(next, target)
console.log(path.relative(process.cwd(), target))
