#!/usr/bin/env node
'use strict'
// Makes the tarballs that npm installs: one of the package, one of each platform's addon that has been built.
//
//   node scripts/npm-pack.js [--all] [FOLDER]
//
// The addons are those beside package.json (`npm run build` makes this machine's; the release workflow brings the
// others'). `--all`: it is an error if one is missing. FOLDER: where the tarballs go, `target/npm` if not said.
// Prints their paths, one a line.

const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const here = path.dirname(__dirname)
const root = path.dirname(here)

/** @param {string} file */
const json = (file) => JSON.parse(fs.readFileSync(file, 'utf8'))

/** The packages of the platforms, as npm/ has them. */
function platforms() {
  const names = fs.readdirSync(path.join(here, 'npm')).sort()
  return names.map((name) => ({ name, folder: path.join(here, 'npm', name), addon: `leakpool.${name}.node` }))
}

/** What the published package says: nothing of how it is developed, but which addons belong to it. */
function published() {
  const { devDependencies, scripts, ...kept } = json(path.join(here, 'package.json'))
  const own = Object.fromEntries(platforms().map(({ folder }) => [json(path.join(folder, 'package.json')).name, kept.version]))
  return { ...kept, optionalDependencies: own }
}

/**
 * @param {string} folder
 * @param {object} description
 */
function describe(folder, description) {
  fs.writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(description, null, 2)}\n`)
  for (const license of ['LICENSE-MIT', 'LICENSE-APACHE']) fs.copyFileSync(path.join(root, license), path.join(folder, license))
}

/**
 * @param {string} folder
 * @param {string} target
 */
function pack(folder, target) {
  const args = ['pack', '--json', '--silent', '--ignore-scripts', '--pack-destination', target]
  const out = execFileSync('npm', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  const told = Object.values(JSON.parse(out))
  return path.join(target, path.basename(told[0].filename))
}

/** @param {string[]} args */
function main(args) {
  const all = args.includes('--all')
  const given = args.find((arg) => !arg.startsWith('--'))
  const target = path.resolve(given ?? path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, 'target'), 'npm'))
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'leakpool-pack-'))
  try {
    fs.rmSync(target, { recursive: true, force: true })
    fs.mkdirSync(target, { recursive: true })
    const { version } = json(path.join(here, 'package.json'))
    for (const { name, folder, addon } of platforms()) {
      if (!fs.existsSync(path.join(here, addon))) {
        if (all) throw new Error(`${addon} has not been built`)
        continue
      }
      const stage = path.join(scratch, name)
      fs.mkdirSync(stage)
      const description = json(path.join(folder, 'package.json'))
      if (description.version !== version) throw new Error(`${folder} has not the version ${version}`)
      describe(stage, description)
      fs.copyFileSync(path.join(here, addon), path.join(stage, addon))
      fs.writeFileSync(path.join(stage, 'README.md'), `${description.description}.\n`)
      // Names stay, for backtraces; lines go: they are most of the file.
      execFileSync(process.env.STRIP ?? 'strip', ['-S', path.join(stage, addon)], { stdio: 'inherit' })
      console.log(pack(stage, target))
    }
    const stage = path.join(scratch, 'leakpool')
    fs.mkdirSync(stage)
    describe(stage, published())
    for (const file of [...json(path.join(here, 'package.json')).files, 'README.md']) {
      fs.cpSync(path.join(here, file), path.join(stage, file), { recursive: true })
    }
    console.log(pack(stage, target))
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true })
  }
}

main(process.argv.slice(2))
