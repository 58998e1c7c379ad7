'use strict'
// Why a test is not run. Where everything has to be (`make test`), that is a failure.

/**
 * @param {string | false} why false: nothing is missing
 * @returns {string | false} for the option `skip`
 */
function missing(why) {
  if (why !== false && process.env.LEAKPOOL_TEST_ALL !== undefined) {
    throw new Error(`a test may not be skipped here: ${why}`)
  }
  return why
}

module.exports = { missing }
