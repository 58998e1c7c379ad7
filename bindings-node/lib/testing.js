'use strict'
// What tests of leaks need: a clock that they move by hand (`new Pool({ clock })`), so that none of them sleeps. The rest
// is for this package's own tests.

const { binding } = require('./native')

/** @returns {{ core: string, name: string, kind: string, live: boolean, doc: string, default: string }[]} */
const optionTable = () => JSON.parse(binding.optionTable())

module.exports = {
  ManualClock: binding.ManualClock,
  TestSpy: binding.TestSpy,
  isDebugBuild: binding.isDebugBuild,
  optionTable,
}
