'use strict'
// What a query is settled with, from the addon's description to pg's results. To be called while the batch that brought
// it is being settled: the rows are in the addon until then, and gone afterwards.

const { RowReader, Shape } = require('./decode')
const { Result } = require('./result')

/** As many as the addon has numbers for at a time. */
const SHAPES = 1024

/** Reads the answers of one thread's event loop. */
class AnswerReader {
  /** @param {Pick<import('../native').EventLoop, 'columns' | 'pack'>} loop */
  constructor(loop) {
    this.loop = loop
    /** @type {Map<number, InstanceType<typeof Shape>>} */
    this.shapes = new Map()
  }

  /**
   * One result, or an array of them if the text had several statements.
   *
   * Throws what a type parser throws, and what an unusable `types` leads to; the connection is not concerned.
   *
   * @param {import('../native').Delivered} delivered
   * @param {import('./decode').Types} types
   * @param {string | undefined} rowMode
   * @returns {InstanceType<typeof Result> | InstanceType<typeof Result>[]}
   */
  read(delivered, types, rowMode) {
    const answer = /** @type {number} */ (delivered[0])
    const count = (delivered.length - 1) / 2
    if (count === 1) return this.result(delivered, answer, 0, types, rowMode)
    /** @type {InstanceType<typeof Result>[]} */
    const results = new Array(count)
    for (let n = 0; n < count; n++) results[n] = this.result(delivered, answer, n, types, rowMode)
    return results
  }

  /**
   * @param {import('../native').Delivered} delivered
   * @param {number} answer
   * @param {number} n which of its results
   * @param {import('./decode').Types} types
   * @param {string | undefined} rowMode
   */
  result(delivered, answer, n, types, rowMode) {
    const tag = /** @type {string} */ (delivered[1 + 2 * n])
    const number = /** @type {number} */ (delivered[2 + 2 * n])
    const result = new Result(rowMode, types)
    if (tag !== '') result.setTag(tag)
    if (number >= 0) {
      const shape = this.shapes.get(number) ?? this.shape(number, answer, n)
      result.fields = shape.fields()
      const reader = new RowReader(shape, types, result.rowAsArray)
      result._parsers = reader.parsers
      reader.take((kinds, ints, doubles) => this.loop.pack(answer, n, kinds, ints, doubles), result.rows)
    }
    return result
  }

  /**
   * @param {number} number
   * @param {number} answer
   * @param {number} n
   */
  shape(number, answer, n) {
    if (this.shapes.size >= SHAPES) this.shapes.clear()
    const shape = new Shape(this.loop.columns(answer, n))
    this.shapes.set(number, shape)
    return shape
  }
}

module.exports = { AnswerReader }
