'use strict'
// Rows for target/bench/rows, in the form of core/benches/support/report.rs, which renders them; and on the terminal.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const { spread } = require('./contest')

/** @param {string} name of a package that is compared */
function version(name) {
  const file = path.join(path.dirname(__dirname), 'node_modules', name, 'package.json')
  return `${name} ${JSON.parse(fs.readFileSync(file, 'utf8')).version}`
}

/** Where rows go. */
function directory() {
  const root = path.dirname(path.dirname(__dirname))
  return path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, 'target'), 'bench')
}

/** @param {number} nanos */
function time(nanos) {
  if (nanos < 1e3) return `${nanos.toFixed(0)} ns`
  return nanos < 1e6 ? `${(nanos / 1e3).toFixed(2)} µs` : `${(nanos / 1e6).toFixed(2)} ms`
}

/** @param {number} value */
function figure(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(value >= 0.1 ? 2 : 4)
}

/** What one benchmark has to say. */
class Section {
  /**
   * Made before the measuring, so that it tells how busy the machine was.
   *
   * @param {string} title
   * @param {string} text
   */
  constructor(title, text) {
    const versions = `Node ${process.versions.node}, ${version('pg')}, ${version('postgres')}`
    this.title = title
    this.text = `${text} ${versions}.`
    this.load = os.loadavg()[0].toFixed(2)
    /** @type {object[]} */
    this.rows = []
    console.log(`\n## ${title} (load ${this.load})\n${this.text}\n`)
  }

  /**
   * @param {import('./contest').Samples} samples
   * @param {string} name
   * @param {string} base
   * @param {number | null} goal the most that the ratio may be
   * @param {string} [more]
   */
  ratio(samples, name, base, goal, more) {
    const ratios = samples[name].map((value, round) => value / samples[base][round])
    const absolute = `${time(spread(samples[name]).median)} against ${time(spread(samples[base]).median)}`
    const note = more === undefined ? absolute : `${absolute}; ${more}`
    const row = { work: name, against: base, unit: 'x', goal, spread: spread(ratios), note }
    this.rows.push(row)
    const { median, q1, q3, min, max, count } = row.spread
    const met = goal === null ? '-' : median <= goal ? 'yes' : '**no**'
    const cells = [name, base, goal === null ? '-' : `<= ${goal} x`, `**${figure(median)}** x`]
    cells.push(`${figure(q1)}..${figure(q3)}`, `${figure(min)}..${figure(max)}`, String(count), met, note)
    console.log(`| ${cells.join(' | ')} |`)
  }

  /** @param {string} file its name decides the order */
  finish(file) {
    const rows = path.join(directory(), 'rows')
    fs.mkdirSync(rows, { recursive: true })
    const { title, text, load } = this
    fs.writeFileSync(path.join(rows, `${file}.json`), JSON.stringify({ title, text, load, rows: this.rows }, null, 2))
  }
}

module.exports = { Section }
