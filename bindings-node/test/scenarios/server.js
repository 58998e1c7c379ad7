'use strict'
// What a scenario needs of the server besides the pool: an extra connection (pg's, so that nothing of ours is in it), a
// role of its own, ports that lead nowhere, and names that nobody else uses.

const { once } = require('node:events')
const net = require('node:net')
const pg = require('pg')

let count = 0

class Server {
  /** @param {string} kind */
  constructor(kind) {
    this.kind = kind
    this.unique = `n${process.pid}_${count++}`
    this.url = process.env.DATABASE_URL
    if (!this.url) throw new Error('DATABASE_URL is not set: run `make test-node`, or this under tests/with-postgres')
    this.admin = new pg.Client({ connectionString: this.url })
    /** @type {net.Socket[]} */
    this.silenced = []
    this.listener = net.createServer((socket) => this.silenced.push(socket.on('error', () => {})))
    this.port = 0
  }

  async open() {
    await this.admin.connect()
    this.listener.listen(0, '127.0.0.1')
    await once(this.listener, 'listening')
    this.port = /** @type {net.AddressInfo} */ (this.listener.address()).port
    if (this.kind !== 'silent') await this.closeListener()
    if (this.kind === 'limited') {
      await this.sql(`CREATE ROLE ${this.unique} LOGIN PASSWORD '${this.unique}' CONNECTION LIMIT 1`)
    }
  }

  async closeListener() {
    if (!this.listener.listening) return
    for (const socket of this.silenced) socket.destroy()
    this.listener.close()
    await once(this.listener, 'close')
  }

  /** Where the scenario's pool connects to. */
  target() {
    const url = new URL(/** @type {string} */ (this.url))
    switch (this.kind) {
      case 'default':
        return { connectionString: this.url }
      case 'limited':
        url.username = this.unique
        url.password = this.unique
        return { connectionString: url.href }
      default:
        return { host: '127.0.0.1', port: this.port, user: 'nobody' }
    }
  }

  /** @param {string} text */
  sql(text) {
    return this.admin.query({ text, rowMode: 'array', types: { getTypeParser: () => String } })
  }

  /**
   * @param {string} pool
   * @param {number} [pid]
   */
  async hasSession(pool, pid) {
    const which = pid === undefined ? '' : ` AND pid = ${pid}`
    const { rows } = await this.sql(`SELECT 1 FROM pg_stat_activity WHERE application_name = '${pool}'${which}`)
    return rows.length > 0
  }

  async close() {
    if (this.kind === 'limited') await this.sql(`DROP ROLE ${this.unique}`)
    await this.closeListener()
    await this.admin.end()
  }
}

module.exports = { Server }
