'use strict'
// Interleaved rounds: every case runs a slice in every round, in an order that turns round, and only the ratios of one
// round are compared. What disturbs the machine for longer than a slice disturbs both sides. As core/benches/support does.

/** @typedef {Record<string, number[]>} Samples nanoseconds an operation, one for each round */

/** The cases that are measured against each other. */
class Contest {
  constructor() {
    /** @type {{ name: string, work: (count: number) => Promise<unknown> }[]} */
    this.cases = []
  }

  /**
   * @param {string} name
   * @param {(count: number) => Promise<unknown>} work does it that many times
   */
  case(name, work) {
    this.cases.push({ name, work })
  }

  /**
   * Warms every case up, then measures `rounds` rounds with a slice of about `slice` milliseconds for each case.
   *
   * @param {number} rounds
   * @param {number} slice
   * @returns {Promise<Samples>}
   */
  async run(rounds, slice) {
    const counts = []
    for (const { work } of this.cases) counts.push(await calibrate(work, slice))
    /** @type {Samples} */
    const samples = Object.fromEntries(this.cases.map(({ name }) => [name, []]))
    // The first two rounds only warm up.
    for (let round = -2; round < rounds; round++) {
      const order = this.cases.map((_, n) => n)
      if (round % 2 !== 0) order.reverse()
      for (const n of order) {
        const took = await timed(this.cases[n].work, counts[n])
        if (round >= 0) samples[this.cases[n].name].push(took / counts[n])
      }
    }
    return samples
  }
}

/**
 * @param {(count: number) => Promise<unknown>} work
 * @param {number} count
 */
async function timed(work, count) {
  const started = process.hrtime.bigint()
  await work(count)
  return Number(process.hrtime.bigint() - started)
}

/**
 * How often a case runs in a slice.
 *
 * @param {(count: number) => Promise<unknown>} work
 * @param {number} slice
 */
async function calibrate(work, slice) {
  const wanted = slice * 1e6
  // Twice, as V8 compiles what runs often.
  for (let pass = 0, count = 1; ; ) {
    const took = await timed(work, count)
    if (took * 2 < wanted) count *= 2
    else if (pass++ > 0) return Math.max(1, Math.round((count * wanted) / took))
  }
}

/**
 * The value below which that share lies.
 *
 * @param {number[]} sorted
 * @param {number} share
 */
function quantile(sorted, share) {
  const place = share * (sorted.length - 1)
  const below = sorted[Math.floor(place)]
  return below + (sorted[Math.ceil(place)] - below) * (place % 1)
}

/** @param {number[]} values */
function spread(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const [min, q1, median, q3, max] = [0, 0.25, 0.5, 0.75, 1].map((share) => quantile(sorted, share))
  return { median, q1, q3, min, max, count: values.length }
}

module.exports = { Contest, spread }
