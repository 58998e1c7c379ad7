'use strict'
// A web service on Express: one pool, one route that uses it, one that shows it. DATABASE_URL says where the server is.
//
//   DATABASE_URL=postgres://app@localhost/shop node examples/express.js   # prints where it listens

const express = require('express')
const { Pool } = require('leakpool')

const pool = new Pool({ connectionString: process.env.DATABASE_URL, name: 'express', max: 5 })
const app = express()

app.get('/square/:number', async (req, res) => {
  // Released on every path. The line that connects is the one that a report would name.
  const square = await pool.withClient(async (client) => {
    const { rows } = await client.query('SELECT $1::int4 * $1::int4 AS square', [req.params.number])
    return rows[0].square
  })
  res.json({ square })
})

app.get('/metrics', (_req, res) => {
  res.type('application/openmetrics-text; version=1.0.0; charset=utf-8').send(pool.openmetrics())
})

// What a handler throws: an acquire that has waited too long is not the client's fault, and over soon.
app.use((error, _req, res, _next) => {
  console.error(error.message)
  res.sendStatus(error.code === 'acquire_timeout' || error.code === 'too_many_waiting' ? 503 : 500)
})

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`)
})

// An operator's Ctrl-D; a service would wait for a signal.
process.stdin.resume().on('end', async () => {
  server.close()
  server.closeAllConnections()
  await pool.end()
})
