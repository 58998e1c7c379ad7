'use strict'
// What tests of leaks need: a clock that they move by hand (`new Pool({ clock })`), so that none of them sleeps.

const { binding } = require('./native')

module.exports = { ManualClock: binding.ManualClock }
