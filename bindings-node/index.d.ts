// What `leakpool` exports, exactly. Names and generics are those of @types/pg wherever leakpool is compatible with pg, and
// a Pool or a client is assignable to pg's types, so that libraries written for pg take them.

import { EventEmitter } from 'node:events'
import { ConnectionOptions } from 'node:tls'
import pgTypes = require('pg-types')

// ---- options -----------------------------------------------------------------------------------------------------

/** Where and how to connect: pg's options. */
export interface ClientConfig {
  user?: string | undefined
  database?: string | undefined
  /** A function is asked before each new connection. */
  password?: string | (() => string | Promise<string>) | undefined
  port?: number | undefined
  host?: string | undefined
  /** A URL, or `key=value` pairs as libpq takes them. */
  connectionString?: string | undefined
  keepAlive?: boolean | undefined
  keepAliveInitialDelayMillis?: number | undefined
  statement_timeout?: false | number | undefined
  lock_timeout?: false | number | undefined
  idle_in_transaction_session_timeout?: false | number | undefined
  query_timeout?: false | number | undefined
  ssl?:
    | boolean
    | 'no-verify'
    | 'disable'
    | 'prefer'
    | 'require'
    | 'verify-ca'
    | 'verify-full'
    | ConnectionOptions
    | undefined
  sslnegotiation?: 'postgres' | 'direct' | undefined
  enableChannelBinding?: boolean | undefined
  application_name?: string | undefined
  fallback_application_name?: string | undefined
  options?: string | undefined
  client_encoding?: string | undefined
  types?: CustomTypesConfig | undefined
}

export type ConnectionConfig = ClientConfig

/** When a connection may be taken back: as soon as it is due, or only while an acquire waits for one. */
export type ForceReleaseWhen = 'due' | 'exhausted'

/** What leak detection does. All of these can be changed while the pool runs (`pool.reconfigure`). */
export interface LeakOptions {
  /** Unused for that long = suspected; 0 turns detection off. Default 30,000. */
  leakThresholdMs?: number | undefined
  /** The longest time between two looks at utilization. Default 5,000. */
  checkIntervalMs?: number | undefined
  /** `leaksDetected` fires when that many are flagged at once; 0 = never. Default 3. */
  maxLeaksBeforeAlert?: number | undefined
  /** Held that long, being used now and then no longer excuses; 0 = never. Default 10 times `leakThresholdMs`. */
  maxHeldMs?: number | undefined
  /** Unused for that long = taken back; 0 = never. Default 300,000. */
  forceReleaseAfterMs?: number | undefined
  /** Take back a client whose one statement has run for that long, too. Default false. */
  forceReleaseBusy?: boolean | undefined
  /** Default `due`. */
  forceReleaseWhen?: ForceReleaseWhen | undefined
  /** The event `utilization` fires at this share of `max` in use; 0 = never. Default 0.8. */
  utilizationWarning?: number | undefined
  /** How much of the call stack an acquire records. Default `full`. */
  stackCapture?: 'full' | 'site' | 'off' | undefined
  /** The most frames that are recorded, 1 to 128. Default 32. */
  stackDepth?: number | undefined
  /** How SQL is shown. Default `full`. */
  sqlText?: 'full' | 'fingerprint' | 'off' | undefined
}

/** Options of a pool: pg's, and leakpool's. */
export interface PoolConfig extends ClientConfig, LeakOptions {
  /** The most connections, 1 to 65,535. Default 10. */
  max?: number | undefined
  /** The same as `max`. */
  poolSize?: number | undefined
  /** Connections kept warm. Default 0. */
  min?: number | undefined
  /** An idle connection is closed after that long; 0 = never. Default 10,000. */
  idleTimeoutMillis?: number | undefined | null
  /** The longest wait of `connect()`; 0 = for ever. Default 30,000. */
  connectionTimeoutMillis?: number | undefined
  /** A connection is closed after that many checkouts; 0 = no limit. Default 0. */
  maxUses?: number | undefined
  /** So many acquires may wait for a connection; one more fails at once (`too_many_waiting`). 0 (default) = no limit. */
  maxWaiting?: number | undefined
  /** A connection is not handed out again after that long; 0 = no limit. Default 0. */
  maxLifetimeSeconds?: number | undefined
  allowExitOnIdle?: boolean | undefined
  log?: ((...messages: any[]) => void) | undefined
  Promise?: PromiseConstructor | undefined
  /** Prepares each new connection before its first use. */
  onConnect?: ((client: PoolClient) => void | Promise<void>) | undefined
  /** Decides whether a new connection may be used. */
  verify?: ((client: PoolClient, done: (err?: Error) => void) => void) | undefined
  /** The pool's name in `application_name`, events and metrics. Default `pool-1`, `pool-2`, … */
  name?: string | undefined
  /** How long `end()` waits for holders that look honest; 0 = not at all. Default 30,000. */
  closeTimeoutMillis?: number | undefined
  /** `pool.query` may leave a transaction open, as with pg, instead of rolling it back and rejecting. Default false. */
  allowOpenTransaction?: boolean | undefined
  /** Repeated SQL is prepared once per connection: true, false, or, if nothing is said, unless a pooler stands between. */
  statementCache?: boolean | undefined
  /** What happens to a session when it is returned. Default `rollback`. */
  reset?: 'rollback' | 'none' | 'session' | undefined
  /** A returned session that is not clean by then is closed. Default 5,000. */
  resetTimeoutMillis?: number | undefined
  /** A clock that tests move by hand: `ManualClock` of `leakpool/testing`. */
  clock?: object | undefined
}

/** What `pool.options` types less strictly, so that a pool is assignable to pg's. */
type Wider =
  'ssl' | 'query_timeout' | 'lock_timeout' | 'idle_in_transaction_session_timeout' | 'types' | 'onConnect' | 'verify'

/** The options as `pool.options` shows them. */
export interface PoolOptions extends Omit<PoolConfig, Wider>, Partial<Record<Wider, any>> {
  max: number
  min: number
  maxUses: number
  allowExitOnIdle: boolean
  maxLifetimeSeconds: number
  idleTimeoutMillis: number | null
  connectionTimeoutMillis: number
}

/** What an acquire says about itself. */
export interface AcquireOptions {
  /** What the client is for, as reports show it. */
  label?: string | undefined
  /** A client that is announced to be held for so long is judged against that. */
  expectedDurationMs?: number | undefined
  /** The longest wait of this acquire alone; 0 = for ever. */
  timeoutMs?: number | undefined
  /** Ends the wait with its reason. */
  signal?: AbortSignal | undefined
}

export interface TransactionOptions extends AcquireOptions {
  isolationLevel?: 'read uncommitted' | 'read committed' | 'repeatable read' | 'serializable' | undefined
  readOnly?: boolean | undefined
  deferrable?: boolean | undefined
}

// ---- queries and results -----------------------------------------------------------------------------------------

export type QueryConfigValues<T> = T extends Array<infer U> ? T : never

export interface CustomTypesConfig {
  getTypeParser: typeof pgTypes.getTypeParser
}

export interface QueryConfig<I = any[]> {
  name?: string | undefined
  text: string
  values?: QueryConfigValues<I>
  types?: CustomTypesConfig | undefined
  rowMode?: 'array' | undefined
  query_timeout?: number | undefined
  /** `extended`: not by the simple protocol, although there are no values. */
  queryMode?: 'extended' | 'simple' | undefined
}

export interface QueryArrayConfig<I = any[]> extends QueryConfig<I> {
  rowMode: 'array'
}

export interface FieldDef {
  name: string
  tableID: number
  columnID: number
  dataTypeID: number
  dataTypeSize: number
  dataTypeModifier: number
  format: string
}

export interface QueryResultBase {
  command: string
  rowCount: number | null
  oid: number
  fields: FieldDef[]
}

export interface QueryResultRow {
  [column: string]: any
}

export interface QueryResult<R extends QueryResultRow = any> extends QueryResultBase {
  rows: R[]
}

export interface QueryArrayResult<R extends any[] = any[]> extends QueryResultBase {
  rows: R[]
}

/** A cursor, a stream, a query object of pg's own: they drive pg's JavaScript connection, which leakpool has not. */
export interface Submittable {
  submit: (connection: any) => void
}

export interface Notification {
  processId: number
  channel: string
  payload?: string | undefined
}

export interface Notice {
  length: number
  message: string | undefined
  name: 'notice'
  severity: string | undefined
  code: string | undefined
  detail: string | undefined
  hint: string | undefined
  position: string | undefined
  internalPosition: string | undefined
  internalQuery: string | undefined
  where: string | undefined
  schema: string | undefined
  table: string | undefined
  column: string | undefined
  dataType: string | undefined
  constraint: string | undefined
  file: string | undefined
  line: string | undefined
  routine: string | undefined
}

export type TransactionStatus = 'I' | 'T' | 'E' | null

/** `query()` of pools and clients. */
interface Queryable {
  /** Not supported, and refused with an error that says so. */
  query<T extends Submittable>(queryStream: T): never
  query<R extends any[] = any[], I = any[]>(
    queryConfig: QueryArrayConfig<I>,
    values?: QueryConfigValues<I>,
  ): Promise<QueryArrayResult<R>>
  query<R extends QueryResultRow = any, I = any[]>(queryConfig: QueryConfig<I>): Promise<QueryResult<R>>
  query<R extends QueryResultRow = any, I = any[]>(
    queryTextOrConfig: string | QueryConfig<I>,
    values?: QueryConfigValues<I>,
  ): Promise<QueryResult<R>>
  query<R extends any[] = any[], I = any[]>(
    queryConfig: QueryArrayConfig<I>,
    callback: (err: Error, result: QueryArrayResult<R>) => void,
  ): void
  query<R extends QueryResultRow = any, I = any[]>(
    queryTextOrConfig: string | QueryConfig<I>,
    callback: (err: Error, result: QueryResult<R>) => void,
  ): void
  query<R extends QueryResultRow = any, I = any[]>(
    queryText: string,
    values: QueryConfigValues<I>,
    callback: (err: Error, result: QueryResult<R>) => void,
  ): void
}

// ---- what is told about checkouts --------------------------------------------------------------------------------

export type Activity =
  'executing' | 'stalled' | 'idle' | 'idle_in_transaction' | 'idle_in_failed_transaction' | 'unknown'
export type Verdict = 'healthy' | 'busy' | 'expected' | 'suspected' | 'proven'
export type Suspicion = 'unused' | 'held_by_pings'
export type RevokeReason = 'unused' | 'busy' | 'proven' | 'manual' | 'pool_closed'
export type RemoveReason =
  'idle' | 'lifetime' | 'uses' | 'broken' | 'lost' | 'reset' | 'revoked' | 'resized' | 'pool_closed'
export type DirtyReason = 'executing' | 'stalled' | 'in_transaction' | 'in_failed_transaction'
export type Diagnosis = 'leak' | 'slow_queries' | 'pool_too_small' | 'database_unreachable' | 'server_connection_limit'

/** A frame of a stack. */
export interface Frame {
  function: string | null
  file: string | null
  line: number | null
  kind: 'user' | 'dependency' | 'library' | 'runtime' | 'unknown'
  /** The package that it belongs to. */
  owner: string | null
}

/** A place in the program that acquires clients. */
export interface Site {
  function: string | null
  file: string | null
  line: number | null
  /** False: nothing was recorded. */
  known: boolean
  frames: Frame[]
  /** The frames as text, those of libraries folded. */
  stack: string
  acquired: number
  leaked: number
  recovered: number
  forceReleased: number
  /** The culprit line as text. */
  location: string
}

export interface LastSql {
  text: string
  ageMs: number
}

/** A client that is out. */
export interface CheckoutInfo {
  id: string
  pool: string
  location: string
  site: Site
  label: string | null
  owner: string | null
  heldMs: number
  /** For how long it has done nothing; null while it does something. */
  idleMs: number | null
  executingMs: number | null
  activity: Activity
  transactionStatus: 'I' | 'T' | 'E'
  verdict: Verdict
  reason: Suspicion | null
  /** An event `leak` was emitted. */
  reported: boolean
  /** The task or thread that acquired it has ended. */
  ownerEnded: boolean
  /** It has a LISTEN. */
  listening: boolean
  expectedDurationMs: number | null
  lastSql: LastSql | null
  /** The server's process. */
  processID: number | null
}

/** How a client was taken back. */
export interface Revocation {
  id: string
  pool: string
  at: number
  reason: RevokeReason
  location: string
  site: Site
  heldMs: number
  idleMs: number | null
}

/** Why an acquire had to give up, and who holds the clients, the longest idle first. */
export interface ExhaustedInfo {
  diagnosis: Diagnosis
  phase: 'wait' | 'connect'
  waitedMs: number
  max: number
  waiting: number
  ending: number
  holders: CheckoutInfo[]
  lastError: string | null
}

export interface CoreStatus {
  name: string
  max: number
  total: number
  idle: number
  /** Clients that are out. */
  active: number
  /** Connections that are on their way back. */
  returning: number
  connecting: number
  /** Acquires that wait. */
  waiting: number
  /** Sessions that are being closed. */
  ending: number
  closed: boolean
  /** The share of `max` that is in use. */
  utilization: number
  /** Clients that are flagged now. */
  leaked: number
}

export interface PoolStatus extends Omit<CoreStatus, 'utilization'> {
  /** Per cent of the connections that are not idle, with one decimal place; 0 without connections. */
  utilization: string | 0
  activeConnections: (CheckoutInfo & { isPotentialLeak: boolean })[]
}

export interface Histogram {
  count: number
  sumMs: number
  boundsMs: number[]
  /** How many were at most as long as each bound; then the longer ones. */
  buckets: number[]
}

export interface PoolMetrics {
  pool: { total: number; idle: number; waiting: number }
  connections: { active: number; oldest: number }
  stats: { totalAcquired: number; totalReleased: number; leaksDetected: number; forcedReleases: number }
  status: CoreStatus
  /** acquired = released + forceReleased + lost + active */
  books: { acquired: number; released: number; forceReleased: number; lost: number; active: number }
  leaks: number
  leaksRecovered: number
  lateUses: number
  lateReleases: number
  dirtyReleases: number
  timeouts: number
  created: number
  createErrors: number
  removed: number
  eventsDropped: number
  oldestMs: number | null
  /** Per cent of the checkouts that leaked, with two decimal places. */
  leakRate: string
  min: number
  waitTime: Histogram
  useTime: Histogram
  createTime: Histogram
}

// ---- events ------------------------------------------------------------------------------------------------------

/** What every event of the detector says. */
export interface EventBase<Name extends string> {
  name: Name
  /** Milliseconds since 1970. */
  at: number
  pool: string
}

export type LeakEvent = EventBase<'leak'> & Omit<CheckoutInfo, 'reason'> & { reason: Suspicion | 'proven' }
export type LeaksDetectedEvent = EventBase<'leaksDetected'> & {
  count: number
  leaks: (CheckoutInfo & { ageMs: number })[]
}
export type LeakRecoveredEvent = EventBase<'leakRecovered'> & CheckoutInfo
export type LongRunningEvent = EventBase<'longRunning'> & CheckoutInfo
export type ForceReleaseEvent = EventBase<'forceRelease'> &
  Omit<CheckoutInfo, 'reason'> & { reason: RevokeReason; age: number }
export type LateUseEvent = EventBase<'lateUse'> & Revocation
export type LateReleaseEvent = EventBase<'lateRelease'> & Revocation
export type DirtyReleaseEvent = EventBase<'dirtyRelease'> & {
  id: string
  found: DirtyReason
  location: string
  site: Site
  lastSql: LastSql | null
}
export type ExhaustedEvent = EventBase<'exhausted'> & ExhaustedInfo
export type UtilizationEvent = EventBase<'utilization'> & { active: number; max: number }

/** The arguments of a pool's events. */
export interface PoolEvents {
  connect: [client: PoolClient]
  acquire: [client: PoolClient]
  release: [err: Error, client: PoolClient, heldMs: number | undefined]
  remove: [client: PoolClient, reason: RemoveReason]
  error: [err: Error, client: PoolClient]
  leak: [event: LeakEvent]
  leaksDetected: [event: LeaksDetectedEvent]
  leakRecovered: [event: LeakRecoveredEvent]
  longRunning: [event: LongRunningEvent]
  forceRelease: [event: ForceReleaseEvent]
  lateUse: [event: LateUseEvent]
  lateRelease: [event: LateReleaseEvent]
  dirtyRelease: [event: DirtyReleaseEvent]
  exhausted: [event: ExhaustedEvent]
  utilization: [event: UtilizationEvent]
}

// ---- clients -----------------------------------------------------------------------------------------------------

/** A type parser by number: `pg-types` itself knows only the types of its own list. */
type SetTypeParser = typeof pgTypes.setTypeParser & {
  (oid: number, parser: (value: string) => any): void
  (oid: number, format: 'text', parser: (value: string) => any): void
  (oid: number, format: 'binary', parser: (value: Buffer) => any): void
}
type GetTypeParser = typeof pgTypes.getTypeParser & ((oid: number, format?: 'text' | 'binary') => (value: any) => any)

/** The arguments of a client's events. */
export interface ClientEvents {
  /** Its session has ended while it was out. */
  error: [err: Error]
  notice: [notice: Notice]
  notification: [message: Notification]
  end: []
}

/** The one object of a connection, in all its checkouts. Pools make it: its constructor throws. */
export class Client extends EventEmitter {
  protected constructor()

  user?: string | undefined
  database?: string | undefined
  port: number
  host: string
  password?: string | undefined
  ssl: boolean
  /** The server's process. */
  readonly processID: number

  query: Queryable['query']

  /** Refused: a client is connected when a pool hands it out. */
  connect(): Promise<any>
  connect(callback: (err: Error) => void): void
  /** The session is not to be used again: its release ends it. */
  end(): Promise<void>
  end(callback: () => void): void
  /** Asks the server to cancel what runs. */
  cancel(): void

  escapeIdentifier: typeof escapeIdentifier
  escapeLiteral: typeof escapeLiteral
  setTypeParser: SetTypeParser
  getTypeParser: GetTypeParser
  /** `I`: idle, `T`: in a transaction, `E`: in a failed one; null while it is not out. */
  getTransactionStatus(): TransactionStatus

  on<E extends keyof ClientEvents>(event: E, listener: (...args: ClientEvents[E]) => void): this
  on<E extends 'connect' | 'drain' | 'error' | 'notice' | 'notification' | 'end'>(
    event: E,
    listener: E extends 'connect' | 'drain' | 'end'
      ? () => void
      : E extends 'error'
        ? (err: Error) => void
        : E extends 'notice'
          ? (notice: any) => void
          : (message: Notification) => void,
  ): this
  once<E extends keyof ClientEvents>(event: E, listener: (...args: ClientEvents[E]) => void): this
  addListener<E extends keyof ClientEvents>(event: E, listener: (...args: ClientEvents[E]) => void): this
  removeListener<E extends keyof ClientEvents>(event: E, listener: (...args: ClientEvents[E]) => void): this
  off<E extends keyof ClientEvents>(event: E, listener: (...args: ClientEvents[E]) => void): this

  ref(): void
  unref(): void

  // What pg's client has and leakpool's has not: its JavaScript connection, and what drives that.
  readonly connection: never
  readonly pipeline: never
  readonly copyFrom: never
  readonly copyTo: never
  readonly pauseDrain: never
  readonly resumeDrain: never
}

export type ClientBase = Client

/** A client that is out. */
export interface PoolClient extends Client {
  /** Gives it back; with an error or `true`, its connection is closed. */
  release(err?: Error | boolean): void
  /** `await using client = await pool.connect()`: released at the end of the block. */
  readonly [Symbol.asyncDispose]: () => Promise<void>
}

// ---- pools -------------------------------------------------------------------------------------------------------

export class Pool extends EventEmitter {
  /** pg's options and leakpool's, or a connection string. */
  constructor(config?: PoolConfig | string)

  /** Connections, idle or out. */
  readonly totalCount: number
  readonly idleCount: number
  /** Acquires that wait. */
  readonly waitingCount: number
  /** Clients that are out and will be closed when they come back, for their age. */
  readonly expiredCount: number
  readonly ending: boolean
  readonly ended: boolean
  readonly name: string
  options: PoolOptions

  connect(options?: AcquireOptions): Promise<PoolClient>
  connect(
    callback: (err: Error | undefined, client: PoolClient | undefined, done: (release?: any) => void) => void,
  ): void
  connect(
    options: AcquireOptions,
    callback: (err: Error | undefined, client: PoolClient | undefined, done: (release?: any) => void) => void,
  ): void

  /** Runs a query on a client of its own. */
  query: Queryable['query']

  /** Lends a client to `fn`, and takes it back whatever happens. */
  withClient<T>(fn: (client: PoolClient) => Promise<T> | T, options?: AcquireOptions): Promise<T>
  /** Runs `fn` in a transaction: committed when it is done, rolled back when it throws. */
  transaction<T>(fn: (client: PoolClient) => Promise<T> | T, options?: TransactionOptions): Promise<T>

  /** Closes the pool. Resolves with those who still held a client after `closeTimeoutMillis`. */
  end(): Promise<StillHeld>
  end(callback: (err: Error | undefined, held: StillHeld) => void): void

  getPoolStatus(): PoolStatus
  getMetrics(): PoolMetrics
  /** Every client that is out. */
  checkouts(): CheckoutInfo[]
  /** Those of them that are suspected or proven to have leaked. */
  leaks(): CheckoutInfo[]
  /** Every place that has acquired. */
  sites(): Site[]
  /** Who leaks, for people. */
  report(): string
  /** The metrics for Prometheus. */
  openmetrics(): string
  /** Takes a client away from its holder. */
  forceRelease(which: PoolClient | string): CheckoutInfo
  /** Changes leak options while the pool runs. */
  reconfigure(options: LeakOptions): void
  /** Changes `max`. */
  resize(max: number): void

  on<K extends keyof PoolEvents>(event: K, listener: (...args: PoolEvents[K]) => void): this
  on<K extends 'error' | 'release' | 'connect' | 'acquire' | 'remove'>(
    event: K,
    listener: K extends 'error' | 'release' ? (err: Error, client: PoolClient) => void : (client: PoolClient) => void,
  ): this
  once<K extends keyof PoolEvents>(event: K, listener: (...args: PoolEvents[K]) => void): this
  addListener<K extends keyof PoolEvents>(event: K, listener: (...args: PoolEvents[K]) => void): this
  removeListener<K extends keyof PoolEvents>(event: K, listener: (...args: PoolEvents[K]) => void): this
  off<K extends keyof PoolEvents>(event: K, listener: (...args: PoolEvents[K]) => void): this
}

/** Nothing, to those who expect what pg's `end()` gives. */
export type StillHeld = void & CheckoutInfo[]

export { Pool as LeakDetectingPool, Pool as ProductionPool }

// ---- over another library's pool -----------------------------------------------------------------------------------

/** What a detector needs of a pool: it is `pg.Pool`, or a pool that behaves like it. */
export interface WatchablePool {
  connect(...args: any[]): any
  query?(...args: any[]): any
  readonly totalCount?: number
  readonly idleCount?: number
  readonly waitingCount?: number
}

export interface WatchOptions extends LeakOptions {
  /** Its name in events and metrics. Default `watched-1`, `watched-2`, … */
  name?: string | undefined
  /** A clock that tests move by hand: `ManualClock` of `leakpool/testing`. */
  clock?: object | undefined
}

/** The arguments of a detector's events. */
export type DetectorEvents = Pick<
  PoolEvents,
  | 'leak'
  | 'leaksDetected'
  | 'leakRecovered'
  | 'longRunning'
  | 'forceRelease'
  | 'lateUse'
  | 'lateRelease'
  | 'dirtyRelease'
  | 'utilization'
>

/** Leak detection over a pool of `pg`, which stays what it is. */
export class LeakDetector extends EventEmitter {
  constructor(pool: WatchablePool, options?: WatchOptions)

  getPoolStatus(): PoolStatus
  getMetrics(): PoolMetrics
  /** Every client that is out. */
  checkouts(): CheckoutInfo[]
  /** Those of them that are suspected to have leaked. */
  leaks(): CheckoutInfo[]
  /** Who leaks, for people. */
  report(): string
  /** The metrics for Prometheus. */
  openmetrics(): string
  /** Takes a client away from its holder: the pool closes its connection. */
  forceRelease(which: object | string): CheckoutInfo
  /** Changes leak options. */
  reconfigure(options: LeakOptions): void
  /** The pool is as it was before. Those who are still out. */
  stop(): CheckoutInfo[]

  on<K extends keyof DetectorEvents>(event: K, listener: (...args: DetectorEvents[K]) => void): this
  once<K extends keyof DetectorEvents>(event: K, listener: (...args: DetectorEvents[K]) => void): this
  addListener<K extends keyof DetectorEvents>(event: K, listener: (...args: DetectorEvents[K]) => void): this
  removeListener<K extends keyof DetectorEvents>(event: K, listener: (...args: DetectorEvents[K]) => void): this
  off<K extends keyof DetectorEvents>(event: K, listener: (...args: DetectorEvents[K]) => void): this
}

/**
 * For bundles, whose `pg` cannot be found: our pools are instances of this pg's `Pool`, too. Elsewhere the application's
 * pg is found by itself when the first pool is made.
 */
export function usePg(pg: object): void

/** Finds leaks in a pool of `pg`. */
export function watch(pool: WatchablePool, options?: WatchOptions): LeakDetector

// ---- errors ------------------------------------------------------------------------------------------------------

/** An error of the server. */
export class DatabaseError extends Error {
  constructor(message: string, length: number, name: string)
  readonly length: number
  severity: string | undefined
  code: string | undefined
  detail: string | undefined
  hint: string | undefined
  position: string | undefined
  internalPosition: string | undefined
  internalQuery: string | undefined
  where: string | undefined
  schema: string | undefined
  table: string | undefined
  column: string | undefined
  dataType: string | undefined
  constraint: string | undefined
  file: string | undefined
  line: string | undefined
  routine: string | undefined
}

export type ErrorCode =
  | 'invalid_option'
  | 'invalid_dsn'
  | 'invalid_argument'
  | 'no_runtime'
  | 'acquire_timeout'
  | 'none_idle'
  | 'pool_closed'
  | 'unreachable'
  | 'authentication_failed'
  | 'database_missing'
  | 'tls_failed'
  | 'server_connection_limit'
  | 'wrong_session_kind'
  | 'force_released'
  | 'connection_lost'
  | 'already_released'
  | 'unknown_checkout'
  | 'database'
  | 'protocol'
  | 'forked'
  | 'panicked'
  | 'unsupported'
  | 'limit_reached'
  | 'too_many_waiting'

/** An error of leakpool itself. */
export class LeakpoolError extends Error {
  constructor(message: string, leakpoolCode: ErrorCode, more?: { code?: string; cause?: unknown })
  /** The same word in every language. */
  readonly leakpoolCode: ErrorCode
  /** `LEAKPOOL_…`, a SQLSTATE, or the name of an error of the system. */
  readonly code: string
  /** With `acquire_timeout`: why, and who holds the clients. */
  readonly diagnosis?: Diagnosis
  readonly phase?: 'wait' | 'connect'
  readonly waitedMs?: number
  readonly max?: number
  readonly waiting?: number
  readonly ending?: number
  readonly holders?: CheckoutInfo[]
  readonly lastError?: string | null
  /** With `force_released`: how the client was taken back. */
  readonly revocation?: Revocation
}

// ---- values ------------------------------------------------------------------------------------------------------

export class Result<R extends QueryResultRow = any> implements QueryResult<R> {
  constructor(rowMode: string | undefined, types: CustomTypesConfig | undefined)
  command: string
  rowCount: number | null
  oid: number
  fields: FieldDef[]
  rows: R[]
}

export class TypeOverrides {
  constructor(types?: CustomTypesConfig)
  setTypeParser: SetTypeParser
  getTypeParser: GetTypeParser
}

/** The parsers of all pools: the package `pg-types`, which pg uses too. */
export const types: typeof pgTypes

/**
 * What options are where neither they nor the environment say anything, as `pg.defaults`. Read when a pool is made. What
 * the native driver cannot keep (`rows`, `binary`, `connect_timeout`, `keepalives`) is refused when it is set.
 */
export const defaults: {
  host: string | undefined
  port: number | string | undefined
  user: string | undefined
  password: string | (() => string | Promise<string>) | null | undefined
  database: string | undefined
  connectionString: string | undefined
  ssl: PoolConfig['ssl']
  sslnegotiation: string | undefined
  application_name: string | undefined
  fallback_application_name: string | undefined
  client_encoding: string | undefined
  options: string | undefined
  statement_timeout: number | false | undefined
  lock_timeout: number | false | undefined
  idle_in_transaction_session_timeout: number | false | undefined
  query_timeout: number | false | undefined
  max: number | undefined
  poolSize: number | undefined
  idleTimeoutMillis: number | undefined
  connectionTimeoutMillis: number | undefined
  /** Dates given as parameters are sent in UTC instead of local time. */
  parseInputDatesAsUTC: boolean
  /** int8 as numbers, exact up to 2^53 only. */
  parseInt8: boolean
}

export function escapeIdentifier(str: string): string
export function escapeLiteral(str: string): string

/** How much is logged. Default `warn`. */
export function setLogLevel(level: 'off' | 'error' | 'warn' | 'info' | 'debug' | 'trace'): void
