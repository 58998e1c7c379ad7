'use strict'
// A measuring runs in processes of its own: on the CPU that is wanted, with a heap and code that nothing else has
// touched. What was measured comes back as JSON.

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')

const CHILD = 'LEAKPOOL_BENCH_CHILD'

/** True in such a process. */
const isChild = () => process.env[CHILD] !== undefined

/**
 * @param {import('./contest').Samples} samples
 * @param {{ server?: string }} [told]
 */
function answer(samples, told = {}) {
  fs.writeSync(1, JSON.stringify({ samples, ...told }))
}

/**
 * Runs `file` that often, and puts the rounds together.
 *
 * @param {string} file
 * @param {number} starts
 * @param {number} [cpu] that it may run on; any if not said
 * @returns {{ samples: import('./contest').Samples, server?: string } | undefined} nothing if it cannot be pinned
 */
function start(file, starts, cpu) {
  if (cpu !== undefined && spawnSync('taskset', ['-c', String(cpu), 'true']).status !== 0) return undefined
  const pinned = cpu === undefined ? [] : ['taskset', '-c', String(cpu)]
  const [program, ...args] = [...pinned, process.execPath, file]
  /** @type {import('./contest').Samples} */
  const all = {}
  let server
  for (let n = 0; n < starts; n++) {
    const env = { ...process.env, [CHILD]: '1' }
    const run = spawnSync(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 28 })
    if (run.status !== 0) throw new Error(`${file} failed with ${run.signal ?? run.status}`)
    const told = JSON.parse(String(run.stdout))
    server = told.server
    for (const [name, values] of Object.entries(told.samples)) all[name] = [...(all[name] ?? []), ...values]
  }
  return { samples: all, server }
}

/** The CPUs that a process of this machine may run on, as in `0-1`. */
function cpusOf(pid) {
  try {
    return /^Cpus_allowed_list:\s*(\S+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  } catch {
    return undefined
  }
}

/**
 * Where client and server ran.
 *
 * @param {number | undefined} cpu of the client
 * @param {string | undefined} server its CPUs
 */
function place(cpu, server) {
  const one = server !== undefined && /^\d+$/.test(server)
  if (cpu === undefined) return one ? 'client anywhere, server on one CPU' : 'client and server anywhere'
  if (!one) return `client on CPU ${cpu}, server anywhere`
  return String(cpu) === server ? 'client and server on the same CPU' : 'client and server on different CPUs'
}

/** The places to measure at: each of two CPUs, and anywhere. */
const places = () => [...Array.from({ length: Math.min(2, os.availableParallelism()) }, (_, n) => n), undefined]

module.exports = { isChild, answer, start, cpusOf, place, places }
