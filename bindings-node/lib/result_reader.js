'use strict'
// What a query is answered with, from the addon's description to pg's results. Parts are to be added while the batch that
// brought them is being settled: their rows are in the addon until then, and gone afterwards.

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
   * @param {number} number
   * @param {number} answer
   * @param {number} result
   */
  shape(number, answer, result) {
    const known = this.shapes.get(number)
    if (known !== undefined) return known
    if (this.shapes.size >= SHAPES) this.shapes.clear()
    const shape = new Shape(this.loop.columns(answer, result))
    this.shapes.set(number, shape)
    return shape
  }
}

/** The answer to one query, as far as it has come. */
class Answer {
  /**
   * @param {AnswerReader} reader
   * @param {import('./decode').Types} types
   * @param {string | undefined} rowMode
   */
  constructor(reader, types, rowMode) {
    this.reader = reader
    this.types = types
    this.rowMode = rowMode
    /** @type {InstanceType<typeof Result>[]} */
    this.results = []
    /** Of the last result. @type {InstanceType<typeof RowReader> | undefined} */
    this.rows = undefined
    /** A type parser threw, or there was none; what comes after that is not read. */
    this.failed = false
    /** @type {unknown} */
    this.thrown = undefined
  }

  /** @param {import('../native').Delivered} delivered */
  add(delivered) {
    if (this.failed) return
    try {
      this.read(delivered)
    } catch (thrown) {
      this.failed = true
      this.thrown = thrown
      this.results = []
    }
  }

  /** @param {import('../native').Delivered} delivered */
  read(delivered) {
    const { results } = this
    const answer = /** @type {number} */ (delivered[0])
    for (let at = 2; at < delivered.length; at += 2) {
      const n = (at - 2) / 2
      const tag = /** @type {string | null} */ (delivered[at])
      const number = /** @type {number} */ (delivered[at + 1])
      const result = n === 0 && delivered[1] === 1 ? results[results.length - 1] : this.begin(number, answer, n)
      const { rows } = this
      if (rows !== undefined && number >= 0) rows.take(this.reader.loop, answer, n, result.rows)
      if (tag !== null && tag !== '') result.setTag(tag)
    }
  }

  /**
   * The next result.
   *
   * @param {number} number of its shape
   * @param {number} answer
   * @param {number} n
   */
  begin(number, answer, n) {
    const result = new Result(this.rowMode, this.types)
    this.results.push(result)
    this.rows = undefined
    if (number >= 0) {
      const shape = this.reader.shape(number, answer, n)
      result.fields = shape.fields()
      this.rows = new RowReader(shape, this.types, result.rowAsArray)
      result._parsers = this.rows.parsers
    }
    return result
  }

  /** One result, or an array of them if the text had several statements. */
  value() {
    return this.results.length === 1 ? this.results[0] : this.results
  }
}

module.exports = { Answer, AnswerReader }
