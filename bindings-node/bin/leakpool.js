#!/usr/bin/env node
'use strict'
// `npx leakpool COMMAND`: says which commands there are, and runs one. What they do lives elsewhere.

const USAGE = `usage: leakpool COMMAND

  demo       a service leaks its connections, stands still, learns which line did it, and is taken back into service
             (about ten seconds; needs a PostgreSQL server, or finds one: see the README)
  --version  the version of this package
  --help     this text`

/** @param {string[]} args */
function main(args) {
  const [command, ...rest] = args
  if (command === undefined || command === '--help' || command === '-h' || command === 'help') {
    console.log(USAGE)
  } else if (command === '--version' || command === '-v') {
    console.log(require('../package.json').version)
  } else if (command === 'demo' && rest.length === 0) {
    return require('../demo/index').main()
  } else {
    console.error(`leakpool: there is no command ${JSON.stringify(args.join(' '))}\n\n${USAGE}`)
    process.exitCode = 2
  }
}

main(process.argv.slice(2))
