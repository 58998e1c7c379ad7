/* libleakpool: a PostgreSQL connection pool that finds connection leaks, names the line of code that leaks and takes
 * the connection back safely.
 *
 * Made by `make header` from the comments in ffi/src: do not edit.
 *
 * Conventions
 *   Status      A function that can fail returns a leakpool_status, 0 = LEAKPOOL_OK. Its last parameter is a
 *               leakpool_error **: NULL if the details are of no interest; otherwise *error is always written: NULL
 *               on success, an error object on failure, which is yours to free.
 *   Results     go into parameters before that one. Unless it says otherwise, none may be NULL. On failure, pointers
 *               to objects are NULL and ids are 0.
 *   Ownership   "Yours" is freed with the function that is named; "borrowed" lives as long as what it was borrowed
 *               from. Whatever a call is given stays the caller's, and is needed until it returns only.
 *   NULL        is LEAKPOOL_INVALID_ARGUMENT, or 0 or NULL from functions without a status. Freeing NULL does nothing.
 *   Texts       are UTF-8 and end with a NUL.
 *   Threads     Everything may be called from any thread, at the same time, but for freeing what is in use.
 *               Callbacks run on a thread of the library's, and may call the library.
 *   Sizes       Structs that may grow come with their size: pass sizeof.
 *   fork        In a forked child every call on an inherited object is LEAKPOOL_FORKED: make a new pool there.
 *   Panics      A bug inside the library is LEAKPOOL_PANICKED, with its text as the message.
 */


#ifndef LEAKPOOL_H
#define LEAKPOOL_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header; leakpool_version() tells the one of the library. */
#define LEAKPOOL_VERSION "0.1.0"
#define LEAKPOOL_VERSION_MAJOR 0
#define LEAKPOOL_VERSION_MINOR 1
#define LEAKPOOL_VERSION_PATCH 0
#define LEAKPOOL_VERSION_NUMBER 100

// For max_held_ms: 10 times leak_threshold_ms.
#define LEAKPOOL_AUTO UINT64_MAX

// The room for a pool's name, its NUL included.
#define LEAKPOOL_NAME_SIZE 64

// For time-outs of single calls: what the pool's options say.
#define LEAKPOOL_DEFAULT_TIMEOUT UINT64_MAX

// How many buckets a histogram has.
#define LEAKPOOL_BUCKETS 14

// For durations: there is none.
#define LEAKPOOL_NONE UINT64_MAX

// For subscriptions: events of every kind, also of those that later versions add.
#define LEAKPOOL_ALL_EVENTS UINT32_MAX

// How a call ended. 0 is success; the numbers are stable and never change their meaning. Later versions may add
// some, so that a switch needs a default.
typedef enum leakpool_status {
  // Everything went well.
  LEAKPOOL_OK = 0,
  // An option has a value that its rule forbids, contradicts another option, or does not exist.
  LEAKPOOL_INVALID_OPTION = 1,
  // A connection string or a PG* environment variable cannot be understood.
  LEAKPOOL_INVALID_DSN = 2,
  // An argument is wrong: NULL where there must be none, a wrong size, no UTF-8, out of range.
  LEAKPOOL_INVALID_ARGUMENT = 3,
  // The library's own runtime is missing. Does not happen in C.
  LEAKPOOL_NO_RUNTIME = 4,
  // No connection became free, or could be made, in time. See leakpool_error_diagnosis().
  LEAKPOOL_ACQUIRE_TIMEOUT = 5,
  // LEAKPOOL_TRY_ACQUIRE found no idle connection.
  LEAKPOOL_NONE_IDLE = 6,
  // The pool was closed.
  LEAKPOOL_POOL_CLOSED = 7,
  // The server cannot be reached (name, route, refused, timed out).
  LEAKPOOL_UNREACHABLE = 8,
  // The server refused user, password or authentication method.
  LEAKPOOL_AUTHENTICATION_FAILED = 9,
  // The database does not exist.
  LEAKPOOL_DATABASE_MISSING = 10,
  // TLS could not be agreed on, or a certificate did not pass.
  LEAKPOOL_TLS_FAILED = 11,
  // The server has no connection left for us (SQLSTATE 53300).
  LEAKPOOL_SERVER_CONNECTION_LIMIT = 12,
  // No host of the list is of the wanted kind (target_session_attrs).
  LEAKPOOL_WRONG_SESSION_KIND = 13,
  // The connection was taken away from its holder; the message says when, why and from which line.
  LEAKPOOL_FORCE_RELEASED = 14,
  // The session ended while it was held (server restarted, killed, network gone).
  LEAKPOOL_CONNECTION_LOST = 15,
  // The checkout was released already.
  LEAKPOOL_ALREADY_RELEASED = 16,
  // No live checkout has this id.
  LEAKPOOL_UNKNOWN_CHECKOUT = 17,
  // The server answered with an error; leakpool_error_sqlstate() and leakpool_error_field() tell which.
  LEAKPOOL_DATABASE = 18,
  // The server said something that the protocol does not allow here.
  LEAKPOOL_PROTOCOL = 19,
  // This process was forked after the pool was made: make a new pool in the child.
  LEAKPOOL_FORKED = 20,
  // A panic was caught inside the library; its text is in the message.
  LEAKPOOL_PANICKED = 21,
  // This way of use is not supported; the message says what to do instead.
  LEAKPOOL_UNSUPPORTED = 22,
  // A limit of the library or of the system was reached.
  LEAKPOOL_LIMIT_REACHED = 23,
  // As many acquires wait for a connection as max_waiting allows.
  LEAKPOOL_TOO_MANY_WAITING = 24,
} leakpool_status;

// The transaction status of a session. The numbers are those of libpq's PGTransactionStatusType.
typedef enum leakpool_transaction {
  // Not in a transaction.
  LEAKPOOL_TX_IDLE = 0,
  // In a transaction.
  LEAKPOOL_TX_OPEN = 2,
  // In a transaction that has failed.
  LEAKPOOL_TX_FAILED = 3,
} leakpool_transaction;

// What the session of a checkout does now.
typedef enum leakpool_activity {
  // The server works on a statement.
  LEAKPOOL_EXECUTING = 0,
  // The server waits for its client: an open COPY FROM STDIN, or a result that is not read.
  LEAKPOOL_STALLED = 1,
  // Nothing runs, no transaction is open.
  LEAKPOOL_IDLE = 2,
  // Nothing runs, a transaction is open.
  LEAKPOOL_IDLE_IN_TRANSACTION = 3,
  // Nothing runs, a transaction is open and has failed.
  LEAKPOOL_IDLE_IN_FAILED_TRANSACTION = 4,
  // Not known (leakpool_detector_unknown): which is not unused.
  LEAKPOOL_ACTIVITY_UNKNOWN = 5,
} leakpool_activity;

// What the detector concludes about a checkout.
typedef enum leakpool_verdict {
  // Held for less than leak_threshold.
  LEAKPOOL_HEALTHY = 0,
  // Held for longer, but at work or recently used.
  LEAKPOOL_BUSY = 1,
  // Within the duration that its caller announced.
  LEAKPOOL_EXPECTED = 2,
  // Probably leaked.
  LEAKPOOL_SUSPECTED = 3,
  // Certainly leaked: the handle cannot be reached any more.
  LEAKPOOL_PROVEN = 4,
} leakpool_verdict;

// The kind of an event.
typedef enum leakpool_event_kind {
  // A connection was made.
  LEAKPOOL_EVENT_CONNECT = 0,
  // A checkout began.
  LEAKPOOL_EVENT_ACQUIRE = 1,
  // A checkout was ended by its holder.
  LEAKPOOL_EVENT_RELEASE = 2,
  // A connection left the pool.
  LEAKPOOL_EVENT_REMOVE = 3,
  // Something failed that no caller waits for.
  LEAKPOOL_EVENT_ERROR = 4,
  // A checkout is reported as leaked, once.
  LEAKPOOL_EVENT_LEAK = 5,
  // As many as max_leaks_before_alert are flagged at once.
  LEAKPOOL_EVENT_LEAKS_DETECTED = 6,
  // A checkout that had been reported was released after all.
  LEAKPOOL_EVENT_LEAK_RECOVERED = 7,
  // A statement runs on a checkout that is over the threshold; told once for each checkout.
  LEAKPOOL_EVENT_LONG_RUNNING = 8,
  // A checkout was taken away from its holder.
  LEAKPOOL_EVENT_FORCE_RELEASE = 9,
  // A holder used what had been taken away.
  LEAKPOOL_EVENT_LATE_USE = 10,
  // A holder released what had been taken away.
  LEAKPOOL_EVENT_LATE_RELEASE = 11,
  // A connection was released with something open.
  LEAKPOOL_EVENT_DIRTY_RELEASE = 12,
  // An acquire ran into its time-out.
  LEAKPOOL_EVENT_EXHAUSTED = 13,
  // The share of connections in use has reached utilization_warning.
  LEAKPOOL_EVENT_UTILIZATION = 14,
} leakpool_event_kind;

// How much a line of the log matters. See leakpool_log_set().
typedef enum leakpool_log_level {
  // Nothing is logged.
  LEAKPOOL_LOG_OFF = 0,
  // A leak, a pool that is exhausted, and a panic of the library itself.
  LEAKPOOL_LOG_ERROR = 1,
  // A force release, a dirty or late release, a cancel request that was not delivered.
  LEAKPOOL_LOG_WARN = 2,
  // A leak that has recovered, a statement that runs for long, a pooler that was found.
  LEAKPOOL_LOG_INFO = 3,
  // Notices of the server, sessions that end.
  LEAKPOOL_LOG_DEBUG = 4,
  // Every acquire and release.
  LEAKPOOL_LOG_TRACE = 5,
} leakpool_log_level;

// When force release may take what is due (leakpool_options.force_release_when).
typedef enum leakpool_force_release_when {
  // As soon as it is due.
  LEAKPOOL_WHEN_DUE = 0,
  // Only while a caller waits for a connection.
  LEAKPOOL_WHEN_EXHAUSTED = 1,
} leakpool_force_release_when;

// How much of the call stack an acquire records (leakpool_options.stack_capture). A C program tells one line.
typedef enum leakpool_stack_capture {
  // Everything that is known.
  LEAKPOOL_STACK_FULL = 0,
  // The call site alone.
  LEAKPOOL_STACK_SITE = 1,
  // Nothing.
  LEAKPOOL_STACK_OFF = 2,
} leakpool_stack_capture;

// How SQL is shown in reports, events and errors (leakpool_options.sql_text).
typedef enum leakpool_sql_text {
  // The text; never parameter values, and no passwords.
  LEAKPOOL_SQL_FULL = 0,
  // The text with every literal replaced.
  LEAKPOOL_SQL_FINGERPRINT = 1,
  // Not at all.
  LEAKPOOL_SQL_OFF = 2,
} leakpool_sql_text;

// What happens to a session when it is released (leakpool_options.reset).
typedef enum leakpool_reset {
  // An open transaction is rolled back, LISTENs are ended.
  LEAKPOOL_RESET_ROLLBACK = 0,
  // Nothing: a session with something open is closed.
  LEAKPOOL_RESET_NONE = 1,
  // Settings, temporary tables, advisory locks and LISTENs too; prepared statements are kept.
  LEAKPOOL_RESET_SESSION = 2,
} leakpool_reset;

// How values travel (leakpool_param.format, and the results of queries).
typedef enum leakpool_format {
  // As the type's text, in the session's DateStyle, TimeZone and so on.
  LEAKPOOL_TEXT = 0,
  // As the type's binary form, in network byte order.
  LEAKPOOL_BINARY = 1,
} leakpool_format;

// A list of checkouts, as they were at one moment. It does not change, depends on nothing else, and may be read from
// several threads at once.
typedef struct leakpool_checkouts leakpool_checkouts;

// Finds leaks in a pool that the program already has, of PGconn or whatever: tell it what you hand out and take back.
//
// Every function may be called from any thread and from many at once, but for leakpool_detector_free(), which must be
// the last call with this detector to begin. None of them waits, but for leakpool_detector_close() and where it says
// so.
typedef struct leakpool_detector leakpool_detector;

// What went wrong in one call. Yours: free it with leakpool_error_free(). It depends on nothing else, does not
// change, and may be read from any thread.
typedef struct leakpool_error leakpool_error;

// An event, as a callback is told it. Borrowed, and everything that is borrowed from it too: gone when the callback
// returns. Only for the thread of the callback.
typedef struct leakpool_event leakpool_event;

// A pool of connections to a PostgreSQL server that finds its leaks.
//
// Every function may be called from any thread and from many at once, but for leakpool_pool_free(), which must be
// the last call with this pool to begin. Calls block the calling thread only.
typedef struct leakpool_pool leakpool_pool;

// The answer to one statement: rows, columns, and the command tag.
//
// Yours: free it with leakpool_result_free(). It is a copy: it lives on after its checkout and its pool, does not
// change, and may be read from several threads at once. All that is borrowed from it lives until it is freed.
typedef struct leakpool_result leakpool_result;

// A prepared statement.
//
// It belongs to no connection: each prepares it when it first runs it, and keeps it prepared (with the option
// statement_cache off, it is parsed each time). So it may be used with any checkout, from several threads at once,
// and lives on after the one that it was prepared with. Yours: free it with leakpool_statement_free().
typedef struct leakpool_statement leakpool_statement;

// A subscription of a callback. Yours: end it with leakpool_subscription_free(). It may outlive its pool.
typedef struct leakpool_subscription leakpool_subscription;

// For tests: a clock that stands still until it is advanced, so that no test of a leak has to wait for one.
//
// Pools and detectors that were made with it live in its time: thresholds, time-outs and all. It may be freed
// before them, and used from any thread.
typedef struct leakpool_test_clock leakpool_test_clock;

// Why an acquire ran into its time-out. Borrowed, with its texts, from the error or event that it came from. Later
// versions may add fields at its end: never copy one by its size.
typedef struct leakpool_exhaustion {
  // "leak", "slow_queries", "pool_too_small", "database_unreachable" or "server_connection_limit".
  const char *diagnosis;
  // "wait": for a connection that others hold; "connect": while a connection was being made.
  const char *phase;
  // The last error of an attempt to connect; NULL if there was none.
  const char *last_error;
  // Who held the connections, longest idle first. Do not free it.
  const struct leakpool_checkouts *holders;
  // How long the acquire waited.
  uint64_t waited_ms;
  // The pool's limit then.
  uint64_t max_size;
  // How many other acquires waited.
  uint64_t waiting;
  // Sessions that were still ending on the server, and count against its limit.
  uint64_t ending;
} leakpool_exhaustion;

// How a checkout was taken away. Borrowed, with its texts, from the error or event that it came from. Later versions
// may add fields at its end: never copy one by its size.
typedef struct leakpool_revocation {
  // The checkout that ended.
  uint64_t checkout;
  // How long it had been held.
  uint64_t held_ms;
  // How long it had been of no use; LEAKPOOL_NONE if a statement ran.
  uint64_t idle_ms;
  // "unused", "busy", "proven", "manual" or "pool_closed".
  const char *reason;
  // The file of the line that acquired; NULL if it is not known.
  const char *file;
  // The function of that line; NULL if it is not known.
  const char *function;
  // That line; 0 if it is not known.
  uint32_t line;
  // 0.
  uint32_t reserved;
} leakpool_revocation;

// The options of a pool or of a detector. Fill it with leakpool_options_init(), then change what you like. Plain
// data: nothing in it has to be freed, and it may be gone once the call that takes it has returned. Durations are in
// milliseconds; 0 turns off what can be turned off.
typedef struct leakpool_options {
  // sizeof(leakpool_options); set by leakpool_options_init().
  size_t struct_size;
  // The most connections, 1 to 65,535. 10 unless set.
  uint64_t max_size;
  // Connections kept warm. 0 unless set.
  uint64_t min_idle;
  // A connection is closed after that many checkouts; 0 (unless set) = no limit.
  uint64_t max_uses;
  // So many acquires may wait for a connection; one more fails at once. 0 (unless set) = no limit.
  uint64_t max_waiting;
  // The longest wait of an acquire; 0 = for ever. 30,000 unless set.
  uint64_t acquire_timeout_ms;
  // An idle connection is closed after that long; 0 = never. 600,000 unless set.
  uint64_t idle_timeout_ms;
  // A connection is not handed out again after that long; 0 = no limit. 3,600,000 unless set.
  uint64_t max_lifetime_ms;
  // How long leakpool_pool_close() waits for holders that look honest; 0 = not at all. 30,000 unless set.
  uint64_t close_timeout_ms;
  // A released session that is not clean by then is closed. 5,000 unless set.
  uint64_t reset_timeout_ms;
  // Unused for that long = suspected; 0 turns detection off. 30,000 unless set.
  uint64_t leak_threshold_ms;
  // The longest time between two looks at utilization. 5,000 unless set.
  uint64_t check_interval_ms;
  // Held that long, being used now and then no longer excuses; 0 = never. LEAKPOOL_AUTO unless set.
  uint64_t max_held_ms;
  // Unused for that long = taken back; 0 = never. 300,000 unless set.
  uint64_t force_release_after_ms;
  // The event LEAKPOOL_EVENT_UTILIZATION fires at this share of max_size in use, 0.0 to 1.0; 0 = never. 0.8
  // unless set.
  double utilization_warning;
  // LEAKPOOL_EVENT_LEAKS_DETECTED fires when that many are flagged at once; 0 = never. 3 unless set.
  uint32_t max_leaks_before_alert;
  // The most stack frames that are recorded, 1 to 128. 32 unless set.
  uint32_t stack_depth;
  // 1: take back a checkout whose one statement has run for force_release_after_ms, too. 0 unless set.
  int32_t force_release_busy;
  // A leakpool_force_release_when. LEAKPOOL_WHEN_DUE unless set.
  int32_t force_release_when;
  // 1 (unless set): repeated SQL is prepared once per connection, unless a connection pooler stands between. 0: never.
  // 2: always.
  int32_t statement_cache;
  // A leakpool_reset. LEAKPOOL_RESET_ROLLBACK unless set.
  int32_t reset;
  // A leakpool_stack_capture. LEAKPOOL_STACK_FULL unless set.
  int32_t stack_capture;
  // A leakpool_sql_text. LEAKPOOL_SQL_FULL unless set.
  int32_t sql_text;
  // The pool's name, at most 63 bytes, in application_name, events and metrics. Empty (unless set): pool-1, pool-2
  // and so on.
  char name[LEAKPOOL_NAME_SIZE];
} leakpool_options;

// What one acquire may say about itself. Fill it with LEAKPOOL_ACQUIRE_OPTIONS_INIT, then change what you like. Its
// texts are copied.
typedef struct leakpool_acquire_options {
  // sizeof(leakpool_acquire_options).
  size_t struct_size;
  // The longest wait; 0 = for ever; LEAKPOOL_DEFAULT_TIMEOUT = what the pool's options say.
  uint64_t timeout_ms;
  // How long it may honestly be held: no suspicion before that. 0 = nothing announced.
  uint64_t expected_duration_ms;
  // What it is for, as reports show it. May be NULL.
  const char *label;
  // Who acquires: a thread's or a request's name. May be NULL.
  const char *owner;
} leakpool_acquire_options;

// One parameter of a statement. What it points to is yours, and only has to live for the call.
typedef struct leakpool_param {
  // The value; NULL = SQL's NULL.
  const void *data;
  // Its length in bytes; LEAKPOOL_NUL_TERMINATED for a text that ends with a NUL.
  size_t length;
  // The OID of its type; 0 = the server infers it from the statement.
  uint32_t oid;
  // A leakpool_format.
  int32_t format;
} leakpool_param;

// One column of a result. The name is borrowed from the result.
typedef struct leakpool_column {
  // Its name.
  const char *name;
  // The OID of its type.
  uint32_t type_oid;
  // The OID of the table that it comes from; 0 if it is computed.
  uint32_t table_oid;
  // The type's modifier (pg_attribute.atttypmod); -1 = none.
  int32_t type_modifier;
  // The size of its type in bytes (pg_type.typlen); negative = variable.
  int32_t type_size;
  // Its number in that table, from 1; 0 if it is computed.
  int32_t table_column;
  // How its values come: a leakpool_format.
  int32_t format;
} leakpool_column;

// One value of a result, borrowed from it.
typedef struct leakpool_value {
  // The value, with a NUL behind it that does not count; NULL for SQL's NULL.
  const void *data;
  // Its length in bytes.
  size_t length;
  // 1 for SQL's NULL, otherwise 0.
  int32_t is_null;
  // A leakpool_format.
  int32_t format;
} leakpool_value;

// How full a pool is, at one moment. Under traffic its numbers are read one after the other, not all at once.
typedef struct leakpool_pool_status {
  // The most connections that it may have; 0 = not known (a watched pool that never said).
  uint64_t max_size;
  // Open connections: held, returning and idle. For a watched pool only the held ones are known.
  uint64_t size;
  // Connections that can be checked out at once.
  uint64_t idle;
  // Connections that are checked out.
  uint64_t in_use;
  // Connections that were released and still clean up before they can be handed out again.
  uint64_t returning;
  // Connections that are being made.
  uint64_t connecting;
  // Acquires that wait for a connection that others hold.
  uint64_t waiting;
  // Sessions that have left the pool, but still end on the server and count against its limit.
  uint64_t ending;
  // Checkouts that are reported as leaks and have not ended.
  uint64_t leaked_now;
  // in_use / max_size, 0.0 to 1.0; 0.0 where max_size is not known.
  double utilization;
  // 1 once the pool was closed, otherwise 0.
  int32_t closed;
  // 0.
  int32_t reserved;
} leakpool_pool_status;

// A histogram of durations. leakpool_bucket_bound() tells the bounds of its buckets.
typedef struct leakpool_histogram {
  // How many durations were recorded.
  uint64_t count;
  // Their sum in seconds.
  double sum_seconds;
  // How many fell into each bucket, not cumulated.
  uint64_t buckets[LEAKPOOL_BUCKETS];
} leakpool_histogram;

// The status of a pool, and everything that was counted since it was made. The books balance: acquired = released +
// force_released + lost + active.
typedef struct leakpool_metrics {
  // How full the pool is.
  struct leakpool_pool_status status;
  // Checkouts that began.
  uint64_t acquired;
  // Checkouts that were released by their holder.
  uint64_t released;
  // Checkouts that were taken away from their holder.
  uint64_t force_released;
  // Checkouts whose session died while they were held.
  uint64_t lost;
  // Checkouts that have not ended.
  uint64_t active;
  // Checkouts that were reported as leaks; each counts once.
  uint64_t leaks;
  // Checkouts that were reported as leaks and released after all.
  uint64_t leaks_recovered;
  // Uses of what had been taken away.
  uint64_t late_uses;
  // Releases of what had been taken away.
  uint64_t late_releases;
  // Releases with a statement, a COPY or a transaction still open.
  uint64_t dirty_releases;
  // Acquires that ran into their time-out.
  uint64_t timeouts;
  // Connections that were made.
  uint64_t created;
  // Attempts to make one that failed.
  uint64_t create_errors;
  // Connections that left the pool.
  uint64_t removed;
  // Events that were lost because a subscriber was too slow.
  uint64_t events_dropped;
  // How long the oldest live checkout has been held; LEAKPOOL_NONE if there is none.
  uint64_t oldest_checkout_ms;
  // Connections that are kept warm.
  uint64_t min_idle;
  // Leaks per hundred acquires.
  double leak_rate;
  // How long acquires waited.
  struct leakpool_histogram wait_time;
  // How long checkouts were held, counted when they end.
  struct leakpool_histogram use_time;
  // How long it took to make a connection.
  struct leakpool_histogram create_time;
  // How long the detector's own rounds took.
  struct leakpool_histogram sweep_time;
} leakpool_metrics;

// One checkout, as it was when its list was made. Its texts are borrowed from the list. Later versions may add fields
// at its end: never copy one by its size, and never make an array of them.
typedef struct leakpool_checkout_info {
  // Its id, for leakpool_force_release() and so on.
  uint64_t checkout;
  // How long it has been held.
  uint64_t held_ms;
  // How long it has been of no use; LEAKPOOL_NONE while a statement runs.
  uint64_t idle_ms;
  // How long the statement that runs has been running; LEAKPOOL_NONE if none does.
  uint64_t executing_ms;
  // The limit that its caller announced; LEAKPOOL_NONE if there is none.
  uint64_t expected_ms;
  // How long ago the last SQL was sent; LEAKPOOL_NONE if none was.
  uint64_t last_sql_age_ms;
  // The name of its pool.
  const char *pool;
  // The file of the line that acquired; NULL if it is not known.
  const char *file;
  // The function of that line; NULL if it is not known.
  const char *function;
  // What its caller called it; NULL if nothing.
  const char *label;
  // Who acquired it, in its caller's words; NULL if nothing was said.
  const char *owner;
  // The last SQL, as the option sql_text allows; NULL if none was seen.
  const char *last_sql;
  // Why it is suspected: "unused" or "held_by_pings"; otherwise NULL.
  const char *suspicion;
  // The line that acquired; 0 if it is not known.
  uint32_t line;
  // The server's process; 0 if it is not known.
  uint32_t backend_pid;
  // What its session does.
  enum leakpool_activity activity;
  // The transaction status that the server told last.
  enum leakpool_transaction transaction;
  // What the detector concludes.
  enum leakpool_verdict verdict;
  // 1 once it was reported as a leak.
  int32_t reported;
  // 1 if the thread or task that acquired it has ended.
  int32_t owner_ended;
  // 1 if a LISTEN was seen on the session: it is reported, but not taken back.
  int32_t listening;
} leakpool_checkout_info;

// Takes one line of the log: a sentence, or a few lines, without the time and without a newline at the end, borrowed for the call. level: a
// leakpool_log_level. Called from threads of the library's and from those that call it, also from several at once. It
// must return (no exception, no longjmp), must not call the library, and must not block for long.
typedef void (*leakpool_log_fn)(int32_t level, const char *message, void *user_data);

// Is told an event, on a thread of the library's, one event at a time and in order, with no lock held.
//
// event is borrowed, and gone when the callback returns. The callback may call every function of this library. It
// must return: no exception, no longjmp. While it runs, nobody else of the process is told anything; one that is too
// slow loses events, which are counted.
typedef void (*leakpool_event_fn)(const struct leakpool_event *event, void *user_data);

// Ends the session of a checkout that is taken away. Runs at most once, on a thread of the library's.
//
// It may cancel what runs (PQcancel) and shut the socket down (shutdown(PQsocket(conn), SHUT_RDWR)), and nothing
// else with the connection, which still belongs to its holder: PQfinish is the owner's, after
// leakpool_detector_check_in(). reason: "unused", "busy", "proven" or "manual"; borrowed for the call. It must return:
// no exception, no longjmp.
typedef void (*leakpool_reclaim_fn)(uint64_t checkout, const char *reason, void *user_data);

// What a program may say about a connection that it hands out. Fill it with LEAKPOOL_CHECK_OUT_INIT, then change what you
// like. Its texts are copied.
typedef struct leakpool_check_out {
  // sizeof(leakpool_check_out).
  size_t struct_size;
  // How long it may honestly be held: no suspicion before that. 0 = nothing announced.
  uint64_t expected_duration_ms;
  // How long the acquire had waited, for the metric.
  uint64_t waited_ms;
  // What it is for, as reports show it. May be NULL.
  const char *label;
  // Who acquires: a thread's or a request's name. May be NULL.
  const char *owner;
  // What ends the session when the checkout is taken away. NULL: a force release only ends it in the books.
  leakpool_reclaim_fn reclaim;
  // Passed to reclaim; must be usable on another thread until the checkout was checked in.
  void *user_data;
} leakpool_check_out;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library that runs, "0.1.0". LEAKPOOL_VERSION is the one of the header. Lives for ever.
const char *leakpool_version(void);

// The same as a number, to be compared with LEAKPOOL_VERSION_NUMBER: 0.1.0 is 100, 1.2.3 is 10203.
uint32_t leakpool_version_number(void);

// The status that the call returned. LEAKPOOL_OK for NULL.
enum leakpool_status leakpool_error_status(const struct leakpool_error *error);

// What happened, to what, and what to do, in a sentence. Never NULL ("no error" for NULL); never holds a password.
// Borrowed: lives as long as the error.
const char *leakpool_error_message(const struct leakpool_error *error);

// The SQLSTATE, five characters, where the server gave one ("LP001" for LEAKPOOL_FORCE_RELEASED); otherwise NULL.
// Borrowed: lives as long as the error.
const char *leakpool_error_sqlstate(const struct leakpool_error *error);

// For LEAKPOOL_ACQUIRE_TIMEOUT what kept the caller waiting: "leak", "slow_queries", "pool_too_small",
// "database_unreachable" or "server_connection_limit"; otherwise NULL. Borrowed: lives as long as the error.
const char *leakpool_error_diagnosis(const struct leakpool_error *error);

// For LEAKPOOL_ACQUIRE_TIMEOUT everything about it, with those who held the connections; otherwise NULL. Borrowed:
// lives as long as the error.
const struct leakpool_exhaustion *leakpool_error_exhaustion(const struct leakpool_error *error);

// For LEAKPOOL_FORCE_RELEASED when, why and from which line it was taken away; NULL if it is not known, and for
// other errors. Borrowed: lives as long as the error.
const struct leakpool_revocation *leakpool_error_revocation(const struct leakpool_error *error);

// One field of the server's error by its letter in the protocol (PostgreSQL manual, "Error and Notice Message
// Fields"): LEAKPOOL_FIELD_DETAIL and so on. NULL if the server did not send it. Borrowed: lives as long as the
// error.
const char *leakpool_error_field(const struct leakpool_error *error,
                                 char letter);

// Where in the SQL text the error is, in characters from 1; 0 if the server did not say.
uint32_t leakpool_error_position(const struct leakpool_error *error);

// Frees an error and all texts that were borrowed from it. NULL is fine.
void leakpool_error_free(struct leakpool_error *error);

// The name of a status: "ok", "invalid_option", and so on; "unknown" for a number that is none. Lives for ever.
const char *leakpool_status_name(int32_t status);

// Fills options with their defaults. struct_size is sizeof(leakpool_options): a program that was compiled with an
// older header tells so by it.
enum leakpool_status leakpool_options_init(struct leakpool_options *options,
                                           size_t struct_size,
                                           struct leakpool_error **error);

// Sets one option by its name in the documentation, from a text as a configuration file has it: ("leak_threshold",
// "45 s"), ("max_size", "20"), ("reset", "session"), ("force_release_busy", "true"). Durations have a unit: ms, s,
// min or h. A name that does not exist is answered with the nearest that does. On failure nothing is changed.
enum leakpool_status leakpool_options_set(struct leakpool_options *options,
                                          const char *name,
                                          const char *value,
                                          struct leakpool_error **error);

// Checks every option and what they mean together, as making a pool does.
enum leakpool_status leakpool_options_validate(const struct leakpool_options *options,
                                               struct leakpool_error **error);

// For tests: makes a clock. On failure *clock is NULL. Yours: free it with leakpool_test_clock_free().
enum leakpool_status leakpool_test_clock_new(struct leakpool_test_clock **clock,
                                             struct leakpool_error **error);

// For tests: moves a clock forward and wakes whoever waits on it. What becomes due is judged by the library's own
// thread, a moment later.
enum leakpool_status leakpool_test_clock_advance(const struct leakpool_test_clock *clock,
                                                 uint64_t by_ms,
                                                 struct leakpool_error **error);

// For tests: frees a clock. Pools and detectors that live in its time keep it, standing still. NULL is fine.
void leakpool_test_clock_free(struct leakpool_test_clock *clock);

// Makes a pool. It connects when it is first asked to (or at once, for min_idle).
//
// dsn is a URL (postgres://user@host/db) or libpq's key=value text; what it leaves open comes from the PG*
// environment. options: NULL for all defaults. On failure *pool is NULL. Yours: close it with leakpool_pool_close()
// and free it with leakpool_pool_free().
enum leakpool_status leakpool_pool_new(const char *dsn,
                                       const struct leakpool_options *options,
                                       struct leakpool_pool **pool,
                                       struct leakpool_error **error);

// For tests: the same in the time of a test clock, which the pool shares.
enum leakpool_status leakpool_test_pool_new(const char *dsn,
                                            const struct leakpool_options *options,
                                            const struct leakpool_test_clock *clock,
                                            struct leakpool_pool **pool,
                                            struct leakpool_error **error);

// The pool's name. NULL for NULL. Borrowed: lives as long as the pool.
const char *leakpool_pool_name(const struct leakpool_pool *pool);

// The options in force: to be looked at, or changed and given to leakpool_pool_reconfigure(). struct_size is
// sizeof(leakpool_options).
enum leakpool_status leakpool_pool_options(const struct leakpool_pool *pool,
                                           struct leakpool_options *options,
                                           size_t struct_size,
                                           struct leakpool_error **error);

// Puts another leak policy in force (the options from leak_threshold to sql_text in the documentation's table); what
// is held is judged by it at once. All other options must be as they are. On failure nothing is changed.
enum leakpool_status leakpool_pool_reconfigure(const struct leakpool_pool *pool,
                                               const struct leakpool_options *options,
                                               struct leakpool_error **error);

// Changes one leak option by its name, from a text: leakpool_pool_set(pool, "leak_threshold", "45 s", &error). See
// leakpool_options_set(). On failure nothing is changed.
enum leakpool_status leakpool_pool_set(const struct leakpool_pool *pool,
                                       const char *name,
                                       const char *value,
                                       struct leakpool_error **error);

// Changes max_size. Made smaller, surplus idle connections are closed now, others as they are released.
enum leakpool_status leakpool_pool_resize(const struct leakpool_pool *pool,
                                          size_t max_size,
                                          struct leakpool_error **error);

// Closes a pool: turns away who waits and who comes later (LEAKPOOL_POOL_CLOSED), waits for those who hold a
// connection (not for flagged ones), takes back what is left, and ends every session and thread.
//
// timeout_ms: how long to wait for holders; 0 = not at all; LEAKPOOL_DEFAULT_TIMEOUT = close_timeout_ms. still_held:
// NULL, or where to put the list of those whose connections were taken back; yours, free it with
// leakpool_checkouts_free(). Callable from callbacks too; a pool closed before is LEAKPOOL_POOL_CLOSED.
enum leakpool_status leakpool_pool_close(const struct leakpool_pool *pool,
                                         uint64_t timeout_ms,
                                         struct leakpool_checkouts **still_held,
                                         struct leakpool_error **error);

// Frees a pool, and closes it first, without waiting for holders, if it was not closed. Calls that are under way in
// other threads end as they do when a pool is closed; no call may begin after this one. Results, errors and lists
// that came from it live on. NULL is fine.
void leakpool_pool_free(struct leakpool_pool *pool);

// Every checkout that is held now, longest held first. Yours: free the list with leakpool_checkouts_free().
enum leakpool_status leakpool_pool_checkouts(const struct leakpool_pool *pool,
                                             struct leakpool_checkouts **checkouts,
                                             struct leakpool_error **error);

// Those of them that are suspected or proven to have leaked. Yours: free the list with leakpool_checkouts_free().
enum leakpool_status leakpool_pool_leaks(const struct leakpool_pool *pool,
                                         struct leakpool_checkouts **checkouts,
                                         struct leakpool_error **error);

// Acquires a connection: an idle one at once, else one that is released or made within timeout_ms (0 = wait for
// ever; LEAKPOOL_DEFAULT_TIMEOUT = what the pool's options say).
//
// file, line and function are what reports will name: call it through LEAKPOOL_ACQUIRE(), or pass on what your own
// wrapper was given. They are copied, and may be NULL.
//
// *checkout is the name of this checkout, or 0 on failure. It is a number, not a pointer, and only means something to its
// own pool: one that has ended, or was made up, is an error wherever it is used. Give it back with
// leakpool_release(), from any thread.
//
// LEAKPOOL_ACQUIRE_TIMEOUT says who holds the connections, and why; see leakpool_error_diagnosis().
enum leakpool_status leakpool_acquire_at(const struct leakpool_pool *pool,
                                         uint64_t timeout_ms,
                                         const char *file,
                                         uint32_t line,
                                         const char *function,
                                         uint64_t *checkout,
                                         struct leakpool_error **error);

// The same with everything that an acquire may say; through LEAKPOOL_ACQUIRE_WITH(). options: NULL for nothing.
enum leakpool_status leakpool_acquire_with(const struct leakpool_pool *pool,
                                           const struct leakpool_acquire_options *options,
                                           const char *file,
                                           uint32_t line,
                                           const char *function,
                                           uint64_t *checkout,
                                           struct leakpool_error **error);

// An idle connection at once, or LEAKPOOL_NONE_IDLE; through LEAKPOOL_TRY_ACQUIRE().
enum leakpool_status leakpool_try_acquire_at(const struct leakpool_pool *pool,
                                             const char *file,
                                             uint32_t line,
                                             const char *function,
                                             uint64_t *checkout,
                                             struct leakpool_error **error);

// Releases a checkout, from any thread. Never waits: what is left open is rolled back before anybody else gets the
// connection. While another thread is inside a call on this checkout, the connection goes back when that returns.
//
// LEAKPOOL_FORCE_RELEASED: leakpool had taken the connection away before; the checkout is over all the same.
// LEAKPOOL_ALREADY_RELEASED, LEAKPOOL_UNKNOWN_CHECKOUT: there is no such checkout, and nothing happens.
enum leakpool_status leakpool_release(const struct leakpool_pool *pool,
                                      uint64_t checkout,
                                      struct leakpool_error **error);

// The same, but the session is ended instead of returning to the pool: for a connection that you know to be broken.
enum leakpool_status leakpool_release_broken(const struct leakpool_pool *pool,
                                             uint64_t checkout,
                                             struct leakpool_error **error);

// Takes a checkout away from its holder, whatever it does, from any thread: its place is free at once, and every
// later call of the holder is LEAKPOOL_FORCE_RELEASED. The holder still has to release it, to be told.
enum leakpool_status leakpool_force_release(const struct leakpool_pool *pool,
                                            uint64_t checkout,
                                            struct leakpool_error **error);

// For bindings of languages with finalizers: the handle of this checkout was shown to be unreachable. It is reported
// as leaked, whatever its age, and taken back; the id is over.
enum leakpool_status leakpool_prove_leaked(const struct leakpool_pool *pool,
                                           uint64_t checkout,
                                           struct leakpool_error **error);

// The thread or task that acquired this checkout has ended: a reason for suspicion that reports show, no proof.
enum leakpool_status leakpool_owner_ended(const struct leakpool_pool *pool,
                                          uint64_t checkout,
                                          struct leakpool_error **error);

// The server's process of a checkout, as in pg_stat_activity.pid; 0 if it is not known.
enum leakpool_status leakpool_backend_pid(const struct leakpool_pool *pool,
                                          uint64_t checkout,
                                          uint32_t *pid,
                                          struct leakpool_error **error);

// Asks the server to cancel what this checkout runs; meant to be called from another thread than the one that waits
// for the answer. Returns at once. The call that is cancelled returns LEAKPOOL_DATABASE with the SQLSTATE 57014,
// unless its answer was faster; a request that arrives late may hit the next statement of the same checkout, but never
// another checkout's. Running nothing, it does nothing.
enum leakpool_status leakpool_cancel(const struct leakpool_pool *pool,
                                     uint64_t checkout,
                                     struct leakpool_error **error);

// A parameter given as text, whose type the server infers. Borrows the text; NULL = SQL's NULL.
struct leakpool_param leakpool_param_text(const char *text);

// A parameter given in the binary form of the type with this OID. Borrows the data; NULL = SQL's NULL.
struct leakpool_param leakpool_param_binary(const void *data, size_t length, uint32_t oid);

// SQL's NULL, of the type with this OID; 0 = the server infers it.
struct leakpool_param leakpool_param_null(uint32_t oid);

// Runs one statement, with $1, $2 and so on for its parameters, and collects its result.
//
// params may be NULL if param_count is 0. result_format: a leakpool_format, for all columns. Repeated SQL is prepared
// once per connection (see the option statement_cache). On failure *result is NULL; the connection stays usable, and
// held, after an error of the server. Yours: free the result with leakpool_result_free().
enum leakpool_status leakpool_query(const struct leakpool_pool *pool,
                                    uint64_t checkout,
                                    const char *sql,
                                    const struct leakpool_param *params,
                                    size_t param_count,
                                    int32_t result_format,
                                    struct leakpool_result **result,
                                    struct leakpool_error **error);

// The same for a statement whose rows are of no interest. affected: NULL, or where to put the number of rows that
// were affected (0 where there is none, as for DDL).
enum leakpool_status leakpool_execute(const struct leakpool_pool *pool,
                                      uint64_t checkout,
                                      const char *sql,
                                      const struct leakpool_param *params,
                                      size_t param_count,
                                      uint64_t *affected,
                                      struct leakpool_error **error);

// Runs a text of any number of statements, without parameters: one transaction, unless the text says otherwise.
// Results are in text, one for each statement: see leakpool_result_next(). result may be NULL. On failure *result is
// NULL.
enum leakpool_status leakpool_script(const struct leakpool_pool *pool,
                                     uint64_t checkout,
                                     const char *sql,
                                     struct leakpool_result **result,
                                     struct leakpool_error **error);

// The name of a transaction status; "unknown" for a number that is none. Lives for ever.
const char *leakpool_transaction_name(int32_t transaction);

// How many rows there are; 0 for NULL.
size_t leakpool_result_rows(const struct leakpool_result *result);

// How many columns there are; 0 for NULL, and for a command that returns no rows.
size_t leakpool_result_columns(const struct leakpool_result *result);

// Everything about one column; LEAKPOOL_INVALID_ARGUMENT if there is no such column.
enum leakpool_status leakpool_result_column(const struct leakpool_result *result,
                                            size_t column,
                                            struct leakpool_column *description,
                                            struct leakpool_error **error);

// The name of one column; NULL if there is no such column. Borrowed.
const char *leakpool_result_column_name(const struct leakpool_result *result, size_t column);

// The OID of the type of one column; 0 if there is no such column.
uint32_t leakpool_result_column_oid(const struct leakpool_result *result, size_t column);

// One value. Rows and columns count from 0; LEAKPOOL_INVALID_ARGUMENT if there is no such row or column.
enum leakpool_status leakpool_result_value(const struct leakpool_result *result,
                                           size_t row,
                                           size_t column,
                                           struct leakpool_value *value,
                                           struct leakpool_error **error);

// One value, with a NUL behind it; NULL for SQL's NULL, and if there is no such row or column (tell them apart with
// leakpool_result_value()). In text format, it is a text. Borrowed.
const char *leakpool_result_text(const struct leakpool_result *result,
                                 size_t row,
                                 size_t column);

// 1 if the value is SQL's NULL; also if there is no such row or column.
int32_t leakpool_result_is_null(const struct leakpool_result *result, size_t row, size_t column);

// The length of a value in bytes; 0 for SQL's NULL, and if there is no such row or column.
size_t leakpool_result_length(const struct leakpool_result *result, size_t row, size_t column);

// The command tag as psql shows it, "INSERT 0 5"; empty for an empty statement; NULL for NULL. Borrowed.
const char *leakpool_result_tag(const struct leakpool_result *result);

// How many rows were affected or returned; 0 where the tag has no number, as for DDL.
uint64_t leakpool_result_affected(const struct leakpool_result *result);

// One of the notices and warnings that came with the result, counted from 0; NULL after the last one. Borrowed.
const char *leakpool_result_notice(const struct leakpool_result *result,
                                   size_t index);

// After leakpool_script(): the result of the next statement; NULL after the last one. Borrowed: it is freed together
// with the first.
const struct leakpool_result *leakpool_result_next(const struct leakpool_result *result);

// Frees a result and all that was borrowed from it. NULL is fine.
void leakpool_result_free(struct leakpool_result *result);

// Asks the server what a statement takes and gives, which also tells whether it is right. oids: the types of its
// first parameters, 0 = the server infers; may be NULL if oid_count is 0. On failure *statement is NULL.
enum leakpool_status leakpool_prepare(const struct leakpool_pool *pool,
                                      uint64_t checkout,
                                      const char *sql,
                                      const uint32_t *oids,
                                      size_t oid_count,
                                      struct leakpool_statement **statement,
                                      struct leakpool_error **error);

// Runs a prepared statement. As leakpool_query(); there must be exactly as many parameters as it takes, and an oid of
// 0 means the type that leakpool_statement_param_oid() tells.
enum leakpool_status leakpool_statement_query(const struct leakpool_pool *pool,
                                              uint64_t checkout,
                                              const struct leakpool_statement *statement,
                                              const struct leakpool_param *given,
                                              size_t param_count,
                                              int32_t result_format,
                                              struct leakpool_result **result,
                                              struct leakpool_error **error);

// How many parameters it takes; 0 for NULL.
size_t leakpool_statement_params(const struct leakpool_statement *statement);

// The OID of the type of a parameter, counted from 0 ($1); 0 if there is no such parameter.
uint32_t leakpool_statement_param_oid(const struct leakpool_statement *statement, size_t param);

// How many columns its result has; 0 for NULL, and for a command that returns no rows.
size_t leakpool_statement_columns(const struct leakpool_statement *statement);

// One column of its result; LEAKPOOL_INVALID_ARGUMENT if there is no such column. The name is borrowed from the
// statement.
enum leakpool_status leakpool_statement_column(const struct leakpool_statement *statement,
                                               size_t column,
                                               struct leakpool_column *description,
                                               struct leakpool_error **error);

// Frees a statement. Connections forget it by themselves. NULL is fine.
void leakpool_statement_free(struct leakpool_statement *statement);

// Begins a transaction. modes: NULL, or what may stand behind BEGIN: "ISOLATION LEVEL SERIALIZABLE, READ ONLY". One
// that is open already is LEAKPOOL_INVALID_ARGUMENT.
enum leakpool_status leakpool_begin(const struct leakpool_pool *pool,
                                    uint64_t checkout,
                                    const char *modes,
                                    struct leakpool_error **error);

// Commits the open transaction. LEAKPOOL_OK means committed: a transaction that had failed before is rolled back, and
// the answer is LEAKPOOL_DATABASE with the SQLSTATE 25P02. None open: LEAKPOOL_INVALID_ARGUMENT.
enum leakpool_status leakpool_commit(const struct leakpool_pool *pool,
                                     uint64_t checkout,
                                     struct leakpool_error **error);

// Rolls back the open transaction; does nothing if none is open.
enum leakpool_status leakpool_rollback(const struct leakpool_pool *pool,
                                       uint64_t checkout,
                                       struct leakpool_error **error);

// The transaction status after the last answer of the server. Asks nobody.
enum leakpool_status leakpool_transaction_status(const struct leakpool_pool *pool,
                                                 uint64_t checkout,
                                                 enum leakpool_transaction *transaction,
                                                 struct leakpool_error **error);

// How full a pool is. Cheap. struct_size is sizeof(leakpool_pool_status).
enum leakpool_status leakpool_pool_get_status(const struct leakpool_pool *pool,
                                              struct leakpool_pool_status *status,
                                              size_t struct_size,
                                              struct leakpool_error **error);

// How full a watched pool is, as far as it is known here. struct_size is sizeof(leakpool_pool_status).
enum leakpool_status leakpool_detector_get_status(const struct leakpool_detector *detector,
                                                  struct leakpool_pool_status *status,
                                                  size_t struct_size,
                                                  struct leakpool_error **error);

// The name of an activity: "executing" and so on; "unknown" for a number that is none. Lives for ever.
const char *leakpool_activity_name(int32_t activity);

// The name of a verdict: "healthy" and so on; "unknown" for a number that is none. Lives for ever.
const char *leakpool_verdict_name(int32_t verdict);

// Everything that is counted of a pool. struct_size is sizeof(leakpool_metrics).
enum leakpool_status leakpool_pool_get_metrics(const struct leakpool_pool *pool,
                                               struct leakpool_metrics *metrics,
                                               size_t struct_size,
                                               struct leakpool_error **error);

// Everything that is counted of a watched pool. struct_size is sizeof(leakpool_metrics).
enum leakpool_status leakpool_detector_get_metrics(const struct leakpool_detector *detector,
                                                   struct leakpool_metrics *metrics,
                                                   size_t struct_size,
                                                   struct leakpool_error **error);

// The upper bound of a histogram's bucket in seconds; infinity for the last one, and beyond.
double leakpool_bucket_bound(size_t bucket);

// How many checkouts are in a list; 0 for NULL.
size_t leakpool_checkouts_count(const struct leakpool_checkouts *checkouts);

// One checkout of a list, counted from 0; NULL if there is no such one. Borrowed: lives as long as the list.
const struct leakpool_checkout_info *leakpool_checkouts_get(const struct leakpool_checkouts *checkouts,
                                                            size_t index);

// Frees a list. NULL is fine. Not for a list that was borrowed from an event or an error.
void leakpool_checkouts_free(struct leakpool_checkouts *checkouts);

// The report for people: who holds connections, and who leaks them, grouped by the line that acquired. On failure
// *text is NULL. Yours: free it with leakpool_string_free().
enum leakpool_status leakpool_pool_report(const struct leakpool_pool *pool,
                                          char **text,
                                          struct leakpool_error **error);

// The metrics of one or several pools as OpenMetrics text, which Prometheus reads. pools: an array of pool_count. On
// failure *text is NULL. Yours: free it with leakpool_string_free().
enum leakpool_status leakpool_openmetrics(const struct leakpool_pool *const *pools,
                                          size_t pool_count,
                                          char **text,
                                          struct leakpool_error **error);

// The report of a watched pool. On failure *text is NULL. Yours: free it with leakpool_string_free().
enum leakpool_status leakpool_detector_report(const struct leakpool_detector *detector,
                                              char **text,
                                              struct leakpool_error **error);

// The metrics of a watched pool as OpenMetrics text. On failure *text is NULL. Yours: free it with
// leakpool_string_free().
enum leakpool_status leakpool_detector_openmetrics(const struct leakpool_detector *detector,
                                                   char **text,
                                                   struct leakpool_error **error);

// Waits until every event of before has been told to its subscribers, or timeout_ms are over. told: NULL, or where
// to put 1 if they were, otherwise 0 (always, inside a callback).
enum leakpool_status leakpool_pool_flush_events(const struct leakpool_pool *pool,
                                                uint64_t timeout_ms,
                                                int32_t *told,
                                                struct leakpool_error **error);

// Frees a text that a function of this library has given away. NULL is fine.
void leakpool_string_free(char *text);

// Where the lines of the library's log go from here on, those of every pool: warnings (a cancel request that could not be
// delivered, a file of passwords that is not used), leaks and force releases in words, and the text of a panic that was
// caught in a function without a status. callback: NULL = nowhere, as before the first call. level: how much is logged;
// each leakpool_log_level includes those before it. user_data: passed on; it must stay valid until another callback is set.
//
// Once this has returned, the callback of before runs no more, and is not called again. LEAKPOOL_UNSUPPORTED from within
// a callback of the log, if that of before does not return within 5 s, or if the lines of this process go elsewhere
// already; then everything stays as it was.
enum leakpool_status leakpool_log_set(leakpool_log_fn callback,
                                      int32_t level,
                                      void *user_data,
                                      struct leakpool_error **error);

// Its kind. LEAKPOOL_EVENT_ERROR for NULL.
enum leakpool_event_kind leakpool_event_get_kind(const struct leakpool_event *event);

// The name of a kind: "connect" and so on; "unknown" for a number that is none. Lives for ever.
const char *leakpool_event_kind_name(int32_t kind);

// The name of the pool that it happened in. Borrowed.
const char *leakpool_event_pool(const struct leakpool_event *event);

// When it happened, in milliseconds since 1970 (UTC).
uint64_t leakpool_event_time_ms(const struct leakpool_event *event);

// What happened, for a person: the whole report for a leak, a sentence otherwise. Borrowed.
const char *leakpool_event_text(const struct leakpool_event *event);

// The checkout that it is about; 0 if it is not about one.
uint64_t leakpool_event_checkout(const struct leakpool_event *event);

// Why, in one word; NULL where there is nothing to say. LEAK: "unused", "held_by_pings", "proven". FORCE_RELEASE,
// LATE_USE, LATE_RELEASE: "unused", "busy", "proven", "manual", "pool_closed". DIRTY_RELEASE, what was open:
// "executing", "stalled", "in_transaction", "in_failed_transaction". REMOVE: "idle", "lifetime", "uses", "broken",
// "lost", "reset", "revoked", "resized", "pool_closed". EXHAUSTED: the diagnosis, as leakpool_error_diagnosis(). ERROR:
// the name of a status. Borrowed.
const char *leakpool_event_reason(const struct leakpool_event *event);

// The file of the line that acquired the checkout; NULL if it is not about one, or the line is not known. Borrowed.
const char *leakpool_event_file(const struct leakpool_event *event);

// The line that acquired the checkout; 0 if it is not about one, or the line is not known.
uint32_t leakpool_event_line(const struct leakpool_event *event);

// The function that acquired the checkout; NULL if it is not about one, or it is not known. Borrowed.
const char *leakpool_event_function(const struct leakpool_event *event);

// The checkouts that it is about: one for LEAK, LEAK_RECOVERED, LONG_RUNNING and FORCE_RELEASE; all that are flagged
// for LEAKS_DETECTED; who holds the connections, longest idle first, for EXHAUSTED; otherwise none. NULL for NULL.
// Borrowed: do not free it.
const struct leakpool_checkouts *leakpool_event_checkouts(const struct leakpool_event *event);

// How long the checkout was held; LEAKPOOL_NONE where that is not told.
uint64_t leakpool_event_held_ms(const struct leakpool_event *event);

// ACQUIRE, EXHAUSTED: how long the caller waited; CONNECT: how long it took; otherwise LEAKPOOL_NONE.
uint64_t leakpool_event_waited_ms(const struct leakpool_event *event);

// UTILIZATION: how many connections are in use; otherwise 0.
size_t leakpool_event_in_use(const struct leakpool_event *event);

// UTILIZATION, EXHAUSTED: the pool's limit; otherwise 0.
size_t leakpool_event_max_size(const struct leakpool_event *event);

// EXHAUSTED: everything about it; otherwise NULL. Borrowed.
const struct leakpool_exhaustion *leakpool_event_exhaustion(const struct leakpool_event *event);

// LATE_USE, LATE_RELEASE: when, why and from which line the checkout was taken away; otherwise NULL. Borrowed.
const struct leakpool_revocation *leakpool_event_revocation(const struct leakpool_event *event);

// DIRTY_RELEASE: the last SQL of the checkout, as the option sql_text allows; NULL if it is not known. (For events with
// checkouts, see leakpool_checkout_info.) Borrowed.
const char *leakpool_event_last_sql(const struct leakpool_event *event);

// CONNECT, REMOVE: the server's process; 0 if it is not known.
uint32_t leakpool_event_backend_pid(const struct leakpool_event *event);

// Calls callback for every event of these kinds: LEAKPOOL_EVENT_BIT(kind), combined with |, or LEAKPOOL_ALL_EVENTS.
// user_data is passed through, and must be usable on another thread until the subscription has ended.
enum leakpool_status leakpool_pool_subscribe(const struct leakpool_pool *pool,
                                             uint32_t event_kinds,
                                             leakpool_event_fn callback,
                                             void *user_data,
                                             struct leakpool_subscription **subscription,
                                             struct leakpool_error **error);

// The same for the events of a watched pool.
enum leakpool_status leakpool_detector_subscribe(const struct leakpool_detector *detector,
                                                 uint32_t event_kinds,
                                                 leakpool_event_fn callback,
                                                 void *user_data,
                                                 struct leakpool_subscription **subscription,
                                                 struct leakpool_error **error);

// Ends a subscription. A barrier: once it has returned, the callback runs on no other thread and is never called
// again, so that user_data may be freed. Inside its own callback it returns at once. As it waits for a call that is
// under way, hold no lock that the callback takes. NULL is fine.
void leakpool_subscription_free(struct leakpool_subscription *subscription);

// Makes a detector. name: of the watched pool, for events and metrics. options: NULL for all defaults; of them, the
// leak options count, and max_size (how many connections the watched pool may have); another one that was changed is
// LEAKPOOL_INVALID_OPTION. On failure *detector is NULL.
// Yours: free it with leakpool_detector_free().
enum leakpool_status leakpool_detector_new(const char *name,
                                           const struct leakpool_options *options,
                                           struct leakpool_detector **detector,
                                           struct leakpool_error **error);

// For tests: the same in the time of a test clock, which the detector shares.
enum leakpool_status leakpool_test_detector_new(const char *name,
                                                const struct leakpool_options *options,
                                                const struct leakpool_test_clock *clock,
                                                struct leakpool_detector **detector,
                                                struct leakpool_error **error);

// Tells that a connection was checked out. options: NULL for nothing. file, line and function are what reports will name:
// call it through LEAKPOOL_CHECK_OUT(), or pass on what your own wrapper was given; they may be NULL.
//
// *checkout is the name of this checkout, or 0 on failure. It is a number, and only means something to its own detector.
enum leakpool_status leakpool_detector_check_out_at(const struct leakpool_detector *detector,
                                                    const struct leakpool_check_out *options,
                                                    const char *file,
                                                    uint32_t line,
                                                    const char *function,
                                                    uint64_t *checkout,
                                                    struct leakpool_error **error);

// Tells that a statement was sent on this connection. sql: its text, without the values of parameters; NULL if it is
// not known. LEAKPOOL_FORCE_RELEASED: it was taken away; stop using it, and check it in.
enum leakpool_status leakpool_detector_executing(const struct leakpool_detector *detector,
                                                 uint64_t checkout,
                                                 const char *sql,
                                                 struct leakpool_error **error);

// Tells that the answer is complete, and the transaction status after it: a leakpool_transaction, whose
// numbers are libpq's: pass PQtransactionStatus(). LEAKPOOL_FORCE_RELEASED: it was taken away; stop using it, and
// check it in.
enum leakpool_status leakpool_detector_idle(const struct leakpool_detector *detector,
                                            uint64_t checkout,
                                            int32_t transaction,
                                            struct leakpool_error **error);

// Tells that nobody knows what the connection does from now on, until the next leakpool_detector_executing or
// leakpool_detector_idle: it is listed, and neither suspected nor taken back by time. LEAKPOOL_FORCE_RELEASED: it was
// taken away; stop using it, and check it in.
enum leakpool_status leakpool_detector_unknown(const struct leakpool_detector *detector,
                                               uint64_t checkout,
                                               struct leakpool_error **error);

// Tells that a connection was given back.
//
// A barrier for its reclaim callback: when it has returned, with whatever status, the callback has returned too, or
// will never be called; so the connection is the caller's alone. (Inside that callback it returns at once.)
//
// LEAKPOOL_FORCE_RELEASED: it had been taken away before. Close the connection, and do not hand it out again.
enum leakpool_status leakpool_detector_check_in(const struct leakpool_detector *detector,
                                                uint64_t checkout,
                                                struct leakpool_error **error);

// Takes a checkout away from its holder, whatever it does: its reclaim callback is called, a moment later.
enum leakpool_status leakpool_detector_force_release(const struct leakpool_detector *detector,
                                                     uint64_t checkout,
                                                     struct leakpool_error **error);

// The thread or task that acquired this checkout has ended: a reason for suspicion that reports show, no proof.
enum leakpool_status leakpool_detector_owner_ended(const struct leakpool_detector *detector,
                                                   uint64_t checkout,
                                                   struct leakpool_error **error);

// The name of the watched pool. NULL for NULL. Borrowed: lives as long as the detector.
const char *leakpool_detector_name(const struct leakpool_detector *detector);

// Puts another leak policy in force; what is held is judged by it at once. Of the options, the leak options count,
// and max_size. On failure nothing is changed.
enum leakpool_status leakpool_detector_reconfigure(const struct leakpool_detector *detector,
                                                   const struct leakpool_options *options,
                                                   struct leakpool_error **error);

// Waits until every event of before has been told to its subscribers, or timeout_ms are over. told: NULL, or where
// to put 1 if they were, otherwise 0 (always, inside a callback).
enum leakpool_status leakpool_detector_flush_events(const struct leakpool_detector *detector,
                                                    uint64_t timeout_ms,
                                                    int32_t *told,
                                                    struct leakpool_error **error);

// Stops watching: nothing is judged any more, and check-outs are LEAKPOOL_POOL_CLOSED. The connections stay
// untouched, and may still be checked in. Waits for at most timeout_ms (LEAKPOOL_DEFAULT_TIMEOUT: 30 s) until
// everything has been told. still_held: NULL, or where to put the list of what is still out; yours, free it with
// leakpool_checkouts_free().
enum leakpool_status leakpool_detector_close(const struct leakpool_detector *detector,
                                             uint64_t timeout_ms,
                                             struct leakpool_checkouts **still_held,
                                             struct leakpool_error **error);

// Frees a detector, and stops watching. When it has returned, no reclaim callback of it runs on another thread or will
// be called. Errors and lists that came from it live on. NULL is fine.
void leakpool_detector_free(struct leakpool_detector *detector);

// Every checkout of a watched pool that is held now, longest held first. Yours: free the list with
// leakpool_checkouts_free().
enum leakpool_status leakpool_detector_checkouts(const struct leakpool_detector *detector,
                                                 struct leakpool_checkouts **checkouts,
                                                 struct leakpool_error **error);

// Those of them that are reported as leaks. Yours: free the list with leakpool_checkouts_free().
enum leakpool_status leakpool_detector_leaks(const struct leakpool_detector *detector,
                                             struct leakpool_checkouts **checkouts,
                                             struct leakpool_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LEAKPOOL_H */


/* The conveniences that record the line they stand on. */

/* leakpool_acquire_at() with the line that calls it. */
#define LEAKPOOL_ACQUIRE(pool, timeout_ms, checkout, error) \
  leakpool_acquire_at((pool), (timeout_ms), __FILE__, __LINE__, __func__, (checkout), (error))

/* leakpool_acquire_with() with the line that calls it. */
#define LEAKPOOL_ACQUIRE_WITH(pool, options, checkout, error) \
  leakpool_acquire_with((pool), (options), __FILE__, __LINE__, __func__, (checkout), (error))

/* leakpool_try_acquire_at() with the line that calls it. */
#define LEAKPOOL_TRY_ACQUIRE(pool, checkout, error) \
  leakpool_try_acquire_at((pool), __FILE__, __LINE__, __func__, (checkout), (error))

/* leakpool_detector_check_out_at() with the line that calls it. */
#define LEAKPOOL_CHECK_OUT(detector, options, checkout, error) \
  leakpool_detector_check_out_at((detector), (options), __FILE__, __LINE__, __func__, (checkout), (error))

/* What structs of options hold before anything was set in them. */
#define LEAKPOOL_ACQUIRE_OPTIONS_INIT { sizeof(leakpool_acquire_options), LEAKPOOL_DEFAULT_TIMEOUT, 0, NULL, NULL }
#define LEAKPOOL_CHECK_OUT_INIT { sizeof(leakpool_check_out), 0, 0, NULL, NULL, NULL, NULL }

/* For leakpool_param.length: the text ends with a NUL. */
#define LEAKPOOL_NUL_TERMINATED SIZE_MAX

/* For subscriptions: the bit of one kind of events. */
#define LEAKPOOL_EVENT_BIT(kind) ((uint32_t)1 << (kind))

/* Letters for leakpool_error_field(). */
#define LEAKPOOL_FIELD_SEVERITY 'S'
#define LEAKPOOL_FIELD_SQLSTATE 'C'
#define LEAKPOOL_FIELD_MESSAGE 'M'
#define LEAKPOOL_FIELD_DETAIL 'D'
#define LEAKPOOL_FIELD_HINT 'H'
#define LEAKPOOL_FIELD_CONTEXT 'W'
#define LEAKPOOL_FIELD_SCHEMA 's'
#define LEAKPOOL_FIELD_TABLE 't'
#define LEAKPOOL_FIELD_COLUMN 'c'
#define LEAKPOOL_FIELD_DATATYPE 'd'
#define LEAKPOOL_FIELD_CONSTRAINT 'n'
