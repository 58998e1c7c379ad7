// The addon's own functions: the contract between src/ (Rust) and lib/ (JavaScript). Not public.
//
// Who uses what: lib/client.js submits. Before it calls `lib/values.js`
//   prepareValues(values: unknown[]): Params                              any JavaScript value as a parameter; may throw
// and when its ticket is settled `lib/result.js`
//   makeResult(request, delivered: Delivered): Result | Result[]         may throw what a user's parser throws
//   noticesOf(delivered: Delivered): Record<string, string>[]             fields by their letters, in order
// with request = { rowMode?: 'array', types?: { getTypeParser(oid, format) } } (never null; `types` are the query's, else
// the client's, else pg-types'), or on an error `lib/database_error.js`
//   class DatabaseError extends Error, databaseError(error: NativeError): DatabaseError    for code `database`
//   noticeMessage(fields: Record<string, string>): Notice                                  what `notice` is emitted with
// The layout between src/rows.rs and lib/result.js, and that between lib/values.js and src/params.rs, are theirs alone.

/** An error of the core; `lib/errors.js` makes a JavaScript error of it. */
export interface NativeError {
  /** The code's name: `acquire_timeout`, `force_released`, `database`, … */
  code: string
  message: string
  sqlstate?: string
  /** The server's fields by their letters in the protocol (`S`, `C`, `M`, `D`, `H`, `P`, …), for `database`. */
  fields?: Record<string, string>
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
 * What a query is settled with: the answer's place in the batch, then for each of its results the command tag
 * (`INSERT 0 5`, `CREATE TABLE`; empty for an empty query) and the number of its shape (-1 = no columns): the same
 * number is the same list of columns. The rows stay in the addon until `pack` gets them, while the batch is settled.
 */
export type Delivered = (number | string)[]

/** Parameters as `lib/values.js` makes them of any value (src/params.rs takes them): text, binary, NULL. */
export type Params = (string | Buffer | null)[]

/** A thread's end of the addon. `settle` gets batches of `[ticket, error, value, …]`. */
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

export class NativePool {
  /** `fields` replace parts of `dsn`; `options` are Node's names of leakpool's options. Throws a NativeError. */
  constructor(loop: EventLoop, dsn: string, fields: [string, string][], options: [string, boolean | number | string][])
  /** The number of the member (the session, for its whole life) that is lent now, or -1 if none is idle. */
  tryAcquire(): number
  /** Settled with a member's number. */
  acquire(ticket: number): void
  /** Throws a NativeError (`force_released`) if it had been taken back before; it is released all the same. */
  release(member: number, broken: boolean): void
  /** Settled with Delivered. Without parameters (`null`) by the simple protocol, else by the extended one. */
  submit(member: number, ticket: number, text: string, params: Params | null): void
}
