'use strict'
// How libraries recognise a pool of pg: by `instanceof` of their own pg's Pool. Where the application has pg, ours is one:
// its prototype's parent is that Pool's prototype. Nothing of pg-pool's is run by that: what ours does not have itself is
// a sentence.

const path = require('node:path')
const { unsupported } = require('./errors')

let adopted = false

/** The application's pg, if it is there: as its main file finds it, its folder, or this package. */
function applicationsPg() {
  const from = [require.main?.filename && path.dirname(require.main.filename), process.cwd(), __dirname]
  for (const folder of from) {
    if (!folder) continue
    try {
      return require(require.resolve('pg', { paths: [folder] }))
    } catch {
      // Not there, or not to be loaded: nothing can be an instance of it.
    }
  }
  return undefined
}

/**
 * @param {any} pg
 * @returns {Function | undefined}
 */
function poolOf(pg) {
  try {
    return typeof pg?.Pool === 'function' ? pg.Pool : undefined
  } catch {
    return undefined
  }
}

/** Copies of pg that are loaded already: a bundle's, another version's. */
function loadedCopies() {
  const found = []
  for (const file of Object.keys(require.cache)) {
    if (/[\\/]pg[\\/]lib[\\/]index\.js$/.test(file)) found.push(poolOf(require.cache[file]?.exports))
  }
  return found
}

/**
 * Done once, when the first pool is made.
 * @param {any} Pool
 */
function adopt(Pool) {
  if (adopted) return
  adopted = true
  const own = poolOf(applicationsPg())
  if (own !== undefined) descend(Pool, own)
  for (const other of loadedCopies()) {
    if (other !== undefined && other !== own) claim(Pool, other)
  }
}

/**
 * Makes ours a descendant of that Pool.
 * @param {any} Pool
 * @param {any} Parent
 */
function descend(Pool, Parent) {
  const { prototype } = Pool
  const above = Object.getPrototypeOf(prototype)
  const between = Object.create(Parent.prototype)
  for (let p = Parent.prototype; p !== null && p !== above && p !== Object.prototype; p = Object.getPrototypeOf(p)) {
    for (const name of Object.getOwnPropertyNames(p)) {
      if (name === 'constructor' || Object.hasOwn(prototype, name) || name in above) continue
      Object.defineProperty(between, name, {
        configurable: true,
        writable: true,
        value() {
          throw unsupported(`pool.${name}()`)
        },
      })
    }
  }
  Object.setPrototypeOf(prototype, between)
}

/**
 * Another Pool says of ours that it is one of its own.
 * @param {any} Pool
 * @param {any} Other
 */
function claim(Pool, Other) {
  const before = Other[Symbol.hasInstance]
  Object.defineProperty(Other, Symbol.hasInstance, {
    configurable: true,
    /**
     * @this {any}
     * @param {any} value
     */
    value(value) {
      return (this === Other && value instanceof Pool) || before.call(this, value)
    },
  })
}

module.exports = { adopt, claim, descend, poolOf }
