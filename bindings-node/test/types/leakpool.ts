// What leakpool adds to pg, and what it refuses.

import { EventEmitter } from 'node:events'
import {
  Client,
  DatabaseError,
  LeakDetectingPool,
  LeakpoolError,
  Pool,
  ProductionPool,
  Result,
  TypeOverrides,
  defaults,
  escapeIdentifier,
  escapeLiteral,
  setLogLevel,
  types,
} from 'leakpool'
import type { CheckoutInfo, ErrorCode, PoolClient, PoolMetrics, PoolStatus, Revocation } from 'leakpool'

const pool: ProductionPool = new LeakDetectingPool({
  leakThresholdMs: 5000,
  checkIntervalMs: 2000,
  maxLeaksBeforeAlert: 2,
  maxHeldMs: 0,
  forceReleaseAfterMs: 60_000,
  forceReleaseBusy: true,
  forceReleaseWhen: 'exhausted',
  utilizationWarning: 0.9,
  stackCapture: 'site',
  stackDepth: 64,
  sqlText: 'fingerprint',
  name: 'orders',
  closeTimeoutMillis: 1000,
  statementCache: false,
  reset: 'session',
  resetTimeoutMillis: 100,
  ssl: 'no-verify',
})
export const emitter: EventEmitter = pool
new Pool('postgres://localhost/app')

export async function prevention(): Promise<string> {
  await using client = await pool.connect({ label: 'nightly report', expectedDurationMs: 3_600_000 })
  await client.query('SELECT 1')
  const n: number = await pool.withClient(async (c) => (await c.query<{ n: number }>('SELECT 1 AS n')).rows[0]!.n)
  const text = await pool.transaction((c: PoolClient) => c.escapeLiteral(String(n)), {
    isolationLevel: 'serializable',
    readOnly: true,
    timeoutMs: 100,
    signal: AbortSignal.timeout(100),
  })
  return text
}

pool.on('leak', (leak) => {
  const verdict: 'healthy' | 'busy' | 'expected' | 'suspected' | 'proven' = leak.verdict
  console.log(leak.location, leak.heldMs.toFixed(), leak.lastSql?.text, leak.site.frames[0]?.line, verdict, leak.reason)
})
pool.on('leaksDetected', ({ count, leaks }) =>
  console.log(
    count,
    leaks.map(({ id, ageMs, location }) => [id, ageMs, location]),
  ),
)
pool.on('forceRelease', ({ id, age, reason }) => console.log(id, age.toFixed(), reason))
pool.once('exhausted', ({ diagnosis, holders }) => console.log(diagnosis, holders[0]?.label))
pool.on('release', (err, client, heldMs) => console.log(err, client.processID, heldMs?.toFixed()))
pool.on('remove', (client, reason) => console.log(client.host, reason === 'lifetime'))
pool.on('utilization', ({ active, max }) => console.log(active / max))
pool.on('dirtyRelease', ({ found, lastSql }) => console.log(found, lastSql?.ageMs))
pool.on('lateUse', ({ reason, heldMs }) => console.log(reason, heldMs))

export function health(): { status: PoolStatus; metrics: PoolMetrics; held: CheckoutInfo[] } {
  const status = pool.getPoolStatus()
  const flagged: boolean = status.activeConnections.some(({ isPotentialLeak }) => isPotentialLeak)
  console.log(flagged, pool.leaks().length, pool.sites()[0]?.leaked, pool.report() + pool.openmetrics())
  const taken: Revocation = pool.forceRelease(pool.checkouts()[0]!.id)
  console.log(taken.reason)
  pool.reconfigure({ leakThresholdMs: 1000 })
  pool.resize(5)
  return { status, metrics: pool.getMetrics(), held: pool.checkouts() }
}

export async function failures(): Promise<void> {
  try {
    await pool.query('SELECT 1')
  } catch (error) {
    if (error instanceof DatabaseError) console.log(error.severity, error.where, error.length)
    if (error instanceof LeakpoolError) {
      const code: ErrorCode = error.leakpoolCode
      console.log(code, error.code, error.diagnosis, error.holders?.[0]?.location, error.revocation?.at)
    }
  }
  const held = await pool.end()
  for (const { location } of held ?? []) console.log(location)
}

setLogLevel('off')
defaults.parseInt8 = true
const own = new TypeOverrides(types)
own.setTypeParser(600, (text: string) => text)
own.setTypeParser(17, 'binary', (bytes: Buffer) => bytes.length)
console.log(own.getTypeParser(600)('x'), escapeIdentifier('a') + escapeLiteral('b'), new Result('array', types).rows)

// @ts-expect-error an unknown option
new Pool({ leakTresholdMs: 5 })
// @ts-expect-error what an option does not take
new Pool({ forceReleaseWhen: 'never' })
// @ts-expect-error pg's own streams
new Pool({ stream: () => undefined })
// @ts-expect-error an event that does not exist
pool.on('leeak', () => {})
// @ts-expect-error clients come from pools
new Client()
// @ts-expect-error an option that needs a new pool
pool.reconfigure({ max: 5 })
// @ts-expect-error what no level is
setLogLevel('loud')
void pool.connect().then((client) => {
  // @ts-expect-error pg's own connection does not exist
  client.connection.stream()
  const cursor = { submit() {} }
  const refused: never = client.query(cursor)
  return refused
})
