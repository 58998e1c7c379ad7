'use strict'
// The service of the demo: an ordinary one, with an ordinary bug.

/** Wrong: when there is no such order, nobody releases the client. `pending` still has it, as real leaks often do. */
async function reserveStock(pool, pending, order) {
  const client = await pool.connect()
  pending.set(order, client)
  const { rows } = await client.query('SELECT id FROM leakpool_demo_orders WHERE id = $1', [order])
  if (rows.length === 0) throw new Error('order not found')
  pending.delete(order)
  client.release()
}

/** Right: it is released, whatever happens in between. */
async function countOrders(pool, fail) {
  const client = await pool.connect()
  try {
    const { rows } = await client.query('SELECT count(*)::int AS count FROM leakpool_demo_orders')
    if (fail) throw new Error('simulated error')
    return rows[0].count
  } finally {
    client.release()
  }
}

/** Wrong as well: an early return, after which nobody can even reach the client. */
async function isOpen(pool) {
  const client = await pool.connect()
  const { rows } = await client.query('SELECT id FROM leakpool_demo_orders')
  if (rows.length === 0) return false
  client.release()
  return true
}

module.exports = { reserveStock, countOrders, isOpen }
