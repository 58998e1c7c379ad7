'use strict'
// The README is true: its programs run and print what they say, its TypeScript compiles, its table of options is the
// core's.

const assert = require('node:assert/strict')
const { execFile, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { promisify } = require('node:util')

const { optionTable } = require('../lib/testing')

const home = path.dirname(__dirname)
const readme = fs.readFileSync(path.join(home, 'README.md'), 'utf8')

/**
 * The code blocks of a language, with the heading that they stand under.
 *
 * @param {string} language
 */
function blocks(language) {
  const found = []
  let heading = ''
  for (const part of readme.split(/^(?=#+ |\*\*[A-Z]|```)/m)) {
    const title = /^(?:#+ (.*)|\*\*(.*?)\*\*)/.exec(part)
    if (title) heading = title[1] ?? title[2]
    if (part.startsWith(`\`\`\`${language}\n`)) found.push({ heading, code: part.slice(language.length + 4) })
  }
  return found
}

/**
 * In a folder where the package finds itself by its name, as its users' programs do.
 *
 * @param {import('node:test').TestContext} t
 * @param {string} name
 * @param {string} code
 */
function write(t, name, code) {
  const folder = fs.mkdtempSync(path.join(__dirname, 'readme-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  const file = path.join(folder, name)
  fs.writeFileSync(file, code)
  return file
}

const programs = blocks('js')

test('there are programs to run', () => {
  assert.ok(programs.length >= 8, `${programs.length} programs`)
  assert.ok(programs.every(({ code }) => code.includes('// prints ')))
})

for (const [n, { heading, code }] of programs.entries()) {
  test(`program ${n + 1}: ${heading}`, { timeout: 60_000 }, async (t) => {
    const file = write(t, 'program.js', code)
    const env = { ...process.env, LEAKPOOL_LOG: 'off' }
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], { env })
    for (const [, expected] of code.matchAll(/\/\/ prints (.*)$/gm)) {
      assert.ok(stdout.includes(expected), `${JSON.stringify(expected)} was to be printed, in\n${stdout}`)
    }
    assert.equal(stderr, '')
  })
}

test('the TypeScript compiles', (t) => {
  const [{ code }] = blocks('ts')
  const file = write(t, 'example.ts', code)
  const options = ['--ignoreConfig', '--strict', '--noEmit', '--skipLibCheck', '--types', 'node', '--target', 'es2022', '--module', 'node16']
  const compiler = path.join(path.dirname(require.resolve('typescript/package.json')), 'bin/tsc')
  const { status, stdout } = spawnSync(process.execPath, [compiler, ...options, file], { encoding: 'utf8', cwd: home })
  assert.equal(status, 0, stdout)
})

test('the table of options is that of the core', () => {
  const lines = readme.split('\n').filter((line) => /^\| `\w+` \| .* \| (?:yes|no) \|/.test(line))
  const rows = optionTable().map((o) => `| \`${o.name}\` | ${o.kind} | ${o.default} | ${o.live ? 'yes' : 'no'} | ${o.doc} |`)
  assert.deepEqual(lines, rows)
})

test('it says which platforms there are', () => {
  const names = fs.readdirSync(path.join(home, 'npm'))
  assert.deepEqual(names.sort(), ['darwin-arm64', 'darwin-x64', 'linux-arm64-gnu', 'linux-arm64-musl', 'linux-x64-gnu', 'linux-x64-musl'])
  assert.match(readme, /Linux x64 and arm64 with glibc \(2\.28 or\nnewer\) or musl, macOS on Intel and Apple silicon/)
})
