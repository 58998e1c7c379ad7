// The addon's own functions: the contract between src/ (Rust) and lib/ (JavaScript). Not public.
//
// Who uses what: lib/request.js submits (parameters by lib/values.js, answers by lib/answer.js), lib/pool.js does the
// rest, lib/events.js tells what the core tells. The layouts between src/rows.rs, src/pack.rs and lib/decode.js, and
// between lib/values.js and src/params.rs, are theirs alone.

/** An error of the core; `lib/errors.js` makes a JavaScript error of it. */
export interface NativeError {
  /** The code's name: `acquire_timeout`, `force_released`, `database`, … */
  code: string
  message: string
  sqlstate?: string
  /** The server's fields by their letters in the protocol (`S`, `C`, `M`, `D`, `H`, `P`, …), if it was the server's. */
  fields?: Record<string, string>
  /** JSON: why and who holds, for `acquire_timeout`; when and why, for `force_released`. */
  details?: string
  /** What Node calls the operating system's error: `ECONNREFUSED`, … */
  errno?: string
}

/** One column of a result, with `pg`'s names. */
export interface NativeField {
  name: string
  tableID: number
  columnID: number
  dataTypeID: number
  dataTypeSize: number
  dataTypeModifier: number
  format: 'text' | 'binary'
}

/**
 * What a query is settled with, or a part of it if there is much: its place in the batch; 1 if its first result goes on
 * with the last one of the part before; then for each result the command tag (`INSERT 0 5`, `CREATE TABLE`; empty for an
 * empty query; null if the result is not over) and the number of its shape (-1 = no columns): the same number is the same
 * list of columns. The rows stay in the addon until `pack` gets them, while the batch is settled; then they are gone.
 */
export type Delivered = (number | string | null)[]

/** Parameters as `lib/values.js` makes them of any value (src/params.rs takes them): text, binary, NULL. */
export type Params = (string | Buffer | null)[]

/**
 * A thread's end of the addon. `settle` gets batches of `[ticket, error, value, …]` for what was asked, and in
 * between `[-1 - number, kind, value, …]` for what was not: `events` (to be taken with `events()`), `notice`,
 * `notification`. It must not throw.
 */
export class EventLoop {
  constructor(settle: (batch: any[]) => void)
  /** The columns of a result of the batch that is being settled. */
  columns(answer: number, result: number): NativeField[]
  /**
   * Packs the next rows of a result of that batch: numbers into the arrays, texts into the string that it returns. The
   * layout and the kinds are those of src/pack.rs; lib/decode.js reads it.
   */
  pack(answer: number, result: number, kinds: Uint8Array, ints: Int32Array, doubles: Float64Array): string
}

/** A pool of this thread. SessionSlots are numbers: one for each session that was checked out, until it is forgotten. */
export class NativePool {
  /**
   * `number`: what the pool is called when it is told something. `fields` replace parts of `dsn`; `defaults` stand in for
   * variables of the environment; `options` are Node's names of leakpool's options. Throws a NativeError.
   */
  constructor(
    loop: EventLoop,
    number: number,
    dsn: string,
    fields: [string, string][],
    defaults: [string, string][],
    options: [string, boolean | number | string][],
    clock: ManualClock | null,
  )
  readonly name: string
  /** Where it connects to, as JSON: `user`, `database`, `host`, `port`. */
  readonly target: string

  /** The functions that every checkout calls. */
  fastPath(): {
    /** The slot that is checked out now, or -1 if none is idle. `later`: `locate` tells its line. */
    tryAcquire(later: boolean): number
    /** 0: it was the holder's; 1: it had been taken back before; 2: there was nothing to release. */
    release(slot: number, broken: boolean): number
  }
  /** Settled with a slot. Negative numbers: nothing said. */
  acquire(ticket: number, later: boolean, label: string | null, expectedMs: number, timeoutMs: number): void
  /** Nobody waits any more: settled with an error, unless it is about to be settled anyway (false). */
  cancelAcquire(ticket: number): boolean
  /** The slot's object was collected while it was out. */
  abandon(slot: number): void
  /** There is no object for it any more: the number may come again. */
  forget(slot: number): void
  /** `[function, file, line, function, …]`, innermost first. */
  locate(slot: number, frames: (string | number)[]): void

  /** Settled with Delivered. Without parameters (`null`) by the simple protocol. One at a time for each slot. */
  submit(slot: number, ticket: number, text: string, params: Params | null, cached: boolean): void
  cancel(slot: number): void
  /** Throws if what a slot ran last has left a transaction open. */
  endsHere(slot: number): void
  listen(slot: number): void
  setPassword(password: string): void

  /** JSON: events since the last call. */
  events(): string
  /** SessionSlots whose session has ended, each once. */
  ended(): number[]
  /** Settled with JSON: who still held. Negative: the option's limit. */
  close(ticket: number, limitMs: number): void

  /** 0: connections; 1: idle ones; 2: acquires that wait. */
  count(what: 0 | 1 | 2): number
  status(): string
  metrics(): string
  checkouts(): string
  leaks(): string
  sites(): string
  siteOf(id: string): string | null
  report(): string
  openmetrics(): string
  checkoutId(slot: number): string | null
  processId(slot: number): number | null
  transactionStatus(slot: number): string | null
  parameter(slot: number, name: string): string | null
  /** Throws a NativeError. */
  forceRelease(id: string): string
  reconfigure(options: [string, boolean | number | string][]): void
  resize(max: number): void
  /** How many frames of a stack are wanted; 0 = none. */
  depth(): number
  /** Waits, blocking, until all events have arrived here. */
  flush(limitMs: number): boolean
}

/** The detector over another library's pool. Times in milliseconds, lists as JSON. */
export class NativeDetector {
  /** `max`: how many connections the pool may have, 0 = not known. Throws a NativeError. */
  constructor(
    loop: EventLoop,
    number: number,
    name: string,
    max: number,
    options: [string, boolean | number | string][],
    clock: ManualClock | null,
  )
  checkOut(later: boolean, label: string | null, expectedMs: number): bigint
  /** Throws a NativeError (`force_released`) if it had been taken back. */
  executing(id: bigint, sql: string | null): void
  idle(id: bigint, status: string): void
  /** False if it had been taken back before. */
  checkIn(id: bigint): boolean
  locate(id: bigint, frames: (string | number)[]): void
  idText(id: bigint): string
  forceRelease(id: string): string
  events(): string
  status(): string
  metrics(): string
  checkouts(): string
  leaks(): string
  report(): string
  openmetrics(): string
  reconfigure(options: [string, boolean | number | string][]): void
  depth(): number
  flush(limitMs: number): boolean
  stop(): string
}

/** A clock that stands still until it is moved. */
export class ManualClock {
  constructor()
  advance(millis: number): void
}

/** The nearest known option, or the empty text. */
export function nearestOption(name: string): string
export function optionNames(): string[]
/** True for a parameter of connection strings that the core understands, or refuses with a reason. */
export function isConnectionParameter(name: string): boolean
export function setLogLevel(level: string): void

// ---- for this package's own tests -----------------------------------------------------------------------------------

/** Every event of a pool, as the core tells it. */
export class TestSpy {
  constructor(pool: NativePool)
  take(): string
  rounds(): number
  prove(id: string): void
}
export function optionTable(): string
export function isDebugBuild(): boolean
