'use strict'
// What leakpool does, as data: plays every file of tests/scenarios, one named test for each. LEAKPOOL_SCENARIO=word plays
// those alone that have this in their name.

const assert = require('node:assert/strict')
const { test } = require('node:test')

const { setLogLevel } = require('../lib')
const { play } = require('./scenarios/runner')
const { check, scenarios, schemaSteps, STEPS, UNSUPPORTED, whyNot } = require('./scenarios/script')
const { known } = require('./scenarios/steps')

const word = process.env.LEAKPOOL_SCENARIO ?? ''
setLogLevel('off')

test('this runner knows every step of the schema, or says why it cannot do it', () => {
  const steps = schemaSteps().sort()
  assert.deepEqual(Object.keys(STEPS).sort(), steps)
  assert.deepEqual([...known(), ...Object.keys(UNSUPPORTED)].sort(), steps)
})

test('what is misspelt is refused', () => {
  const bad = [{ do: 'aquire', as: 'a' }, { do: 'acquire' }, { do: 'acquire', as: 'a', exspect: {} }]
  for (const step of bad) assert.throws(() => check({ steps: [step] }))
  assert.throws(() => check({ steps: [], sever: 'silent' }))
})

for (const { name, scenario } of scenarios()) {
  if (!name.includes(word)) continue
  test(name, { skip: whyNot(scenario), timeout: 120_000 }, () => play(check(scenario)))
}
