'use strict'
// The places where the application acquires, each on a line of its own: what reports have to name.

const fs = require('node:fs')

const places = {
  elsewhere: (pool, options) => pool.connect(options),
  get_user_data: (pool, options) => pool.connect(options),
  process_order: (pool, options) => pool.connect(options),
  complex_operation: (pool, options) => pool.connect(options),
}

const FILE = __filename
const lines = fs.readFileSync(FILE, 'utf8').split('\n')

/** @param {string} place */
const lineOf = (place) => lines.findIndex((line) => line.includes(`  ${place}: (pool`)) + 1

module.exports = { places, lineOf, FILE }
