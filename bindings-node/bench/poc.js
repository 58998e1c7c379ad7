'use strict'
// What applications write when they go looking for a leak themselves: a wrapper around pg.Pool that notes each checkout
// with its formatted stack and overrides `release`. A peer to be measured, nothing that anybody should use.

class NotingPool {
  /** @param {import('pg').Pool} pool */
  constructor(pool) {
    this.pool = pool
    this.out = new Map()
    this.stats = { acquired: 0, released: 0 }
  }

  async connect() {
    const client = await this.pool.connect()
    const id = `${Date.now()}-${Math.random().toString(36).slice(2)}`
    this.out.set(id, { since: Date.now(), stack: new Error('acquired here').stack })
    this.stats.acquired++
    const release = client.release.bind(client)
    client.release = (error) => {
      this.out.delete(id)
      this.stats.released++
      return release(error)
    }
    return client
  }
}

module.exports = { NotingPool }
