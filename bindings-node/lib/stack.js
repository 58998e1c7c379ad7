'use strict'
// Where a checkout was acquired: the caller's stack, captured cheaply at once and looked at late, if at all.
//
// An unformatted stack keeps the receivers of its frames alive: a client stored on `this` could never be shown to be
// unreachable. So once a checkout is 100 ms old its stack is formatted, and V8's object let go of.

const { AsyncResource } = require('node:async_hooks')
const { fileURLToPath } = require('node:url')

const captureStackTrace = Error.captureStackTrace

/** What V8 hangs a stack on. */
class Captured {
  constructor() {
    /** @type {any} */
    this.stack = undefined
  }
}

/**
 * The stack of whoever called `below`, unformatted; undefined if there is none to be had.
 * @param {Function} below
 * @param {number} depth
 */
function capture(below, depth) {
  const captured = spare ?? new Captured()
  spare = undefined
  const limit = Error.stackTraceLimit
  if (limit === depth) {
    captureStackTrace(captured, below)
    return captured
  }
  try {
    Error.stackTraceLimit = depth
  } catch {
    // Error is frozen: what it allows has to do.
  }
  try {
    captureStackTrace(captured, below)
  } finally {
    restore(limit)
  }
  return captured
}

/** One that was captured and never looked at: V8 replaces its stack faster than it makes a new one. @type {Captured | undefined} */
let spare

/**
 * Nobody will look at this one.
 * @param {Captured | undefined} captured
 */
function discard(captured) {
  if (captured !== undefined) spare = captured
}

/** @param {any} limit */
function restore(limit) {
  try {
    if (limit === undefined) {
      // It was deleted; setting it to undefined would be seen.
      delete (/** @type {any} */ (Error).stackTraceLimit)
    } else {
      Error.stackTraceLimit = limit
    }
  } catch {
    // Frozen: then it was not changed either.
  }
}

/** A frame's line in a formatted stack: `at async name (file:line:column)`, `at file:line:column`. */
const FRAME = /^\s*at (?:async )?(?:(.*?) \()?(.+?):(\d+)(?::\d+)?\)?$/

/** @param {string} file */
function path(file) {
  if (!file.startsWith('file://')) return file
  try {
    return fileURLToPath(file)
  } catch {
    return file
  }
}

/**
 * @param {string} text
 * @returns {(string | number)[]}
 */
function fromText(text) {
  /** @type {(string | number)[]} */
  const frames = []
  for (const line of text.split('\n')) {
    const match = FRAME.exec(line)
    if (match === null) continue
    frames.push(name(match[1]), path(match[2]), Number(match[3]))
  }
  return frames
}

/**
 * A function's name, however it was reached: what is exported is a method of its module's object, too.
 * @param {string | null | undefined} text
 */
function name(text) {
  if (text == null || text === '<anonymous>') return ''
  return text.replace(/^(?:async )?(?:Object\.)?/, '')
}

/**
 * Without Node's own frames, if others are left: they depend on how the loop came to continue a function, and checkouts
 * of one line are to be one site.
 * @param {(string | number)[]} frames
 */
function withoutNode(frames) {
  const kept = []
  for (let n = 0; n < frames.length; n += 3) {
    if (!String(frames[n + 1]).startsWith('node:')) kept.push(frames[n], frames[n + 1], frames[n + 2])
  }
  return kept.length > 0 ? kept : frames
}

/**
 * @param {NodeJS.CallSite[]} sites
 * @returns {(string | number)[]}
 */
function fromSites(sites) {
  /** @type {(string | number)[]} */
  const frames = []
  for (const site of sites) {
    try {
      const file = site.getFileName() ?? site.getEvalOrigin() ?? ''
      if (file === '') continue
      const method = site.getFunctionName() ?? ''
      const type = site.isToplevel() || method.includes('.') ? null : site.getTypeName()
      const full = type !== null && method !== '' ? `${type}.${method}` : method
      frames.push(name(full), path(String(file)), site.getLineNumber() ?? 0)
    } catch {
      // A frame that cannot be asked is left out.
    }
  }
  return frames
}

/**
 * The frames of a captured stack: `[function, file, line, function, …]`, innermost first. Lines are mapped to their
 * sources where Node (`--enable-source-maps`) or somebody's prepareStackTrace does so.
 * @param {Captured} captured
 * @returns {(string | number)[]}
 */
function format(captured) {
  return withoutNode(all(captured))
}

/**
 * @param {Captured} captured
 * @returns {(string | number)[]}
 */
function all(captured) {
  const foreign = Error.prepareStackTrace
  if (typeof foreign !== 'function') return read(captured)
  /** @type {(string | number)[]} */
  let frames = []
  const ours = (/** @type {Error} */ error, /** @type {NodeJS.CallSite[]} */ sites) => {
    frames = fromSites(sites)
    try {
      const theirs = foreign.call(Error, error, sites)
      // Theirs may know better where a line came from.
      const mapped = typeof theirs === 'string' ? fromText(theirs) : []
      if (mapped.length > 0) frames = mapped
    } catch {
      // What it does about errors is its own business.
    }
    return ''
  }
  try {
    Error.prepareStackTrace = ours
  } catch {
    return read(captured)
  }
  try {
    void captured.stack
  } catch {
    // Nothing of ours throws in there; then there is no stack.
  } finally {
    Error.prepareStackTrace = foreign
  }
  return frames
}

/** @param {Captured} captured */
function read(captured) {
  try {
    const { stack } = captured
    if (typeof stack === 'string') return fromText(stack)
    // A frozen Error with somebody's prepareStackTrace that gives the call sites themselves.
    return Array.isArray(stack) ? fromSites(stack) : []
  } catch {
    return []
  }
}

/** How often young checkouts are looked at. */
const TICK = 50

/** Who has checkouts whose stack is not formatted: looks at them, and tells whether it still has any. */
/** @typedef {{ look(tick: number): boolean }} Looker */

/** @type {Set<Looker>} */
const lookers = new Set()
/** Outside of any request: what is made in here keeps no request's context. */
const outside = new AsyncResource('leakpool')
/** @type {NodeJS.Timeout | undefined} */
let timer
/** The number of the current tick: a checkout is old enough two ticks after its own is over. */
const time = { tick: 0 }

function look() {
  time.tick++
  // It keeps alive what its frames had, which nobody may need any more.
  spare = undefined
  for (const looker of lookers) {
    if (!looker.look(time.tick)) lookers.delete(looker)
  }
  if (lookers.size === 0) {
    clearInterval(timer)
    timer = undefined
  }
}

function start() {
  timer = setInterval(look, TICK)
  timer.unref()
}

/**
 * From now on `looker` is asked at each tick, until it has nothing more to look at.
 * @param {Looker} looker
 */
function lookLater(looker) {
  lookers.add(looker)
  if (timer === undefined) outside.runInAsyncScope(start)
}

/** True if a checkout of tick `then` is 100 ms old. */
const isOld = (/** @type {number} */ then, /** @type {number} */ now) => now - then > 2

/** @typedef {InstanceType<typeof Captured>} Stack */

module.exports = { capture, discard, format, lookLater, time, isOld, Captured }
