/* Every function of libleakpool, used as it is meant to be. */
#include "check.h"

#include <pthread.h>
#include <unistd.h>

static leakpool_pool *pool_with(const char *const *names_and_values) {
  leakpool_options options = options_of(names_and_values);
  leakpool_pool *pool = NULL;
  OK(leakpool_pool_new(dsn(), &options, &pool, &error));
  CHECK(pool != NULL);
  return pool;
}

static uint64_t acquire(leakpool_pool *pool) {
  uint64_t checkout = 0;
  OK(LEAKPOOL_ACQUIRE(pool, LEAKPOOL_DEFAULT_TIMEOUT, &checkout, &error));
  CHECK(checkout != 0);
  return checkout;
}

static void versions_and_names(void) {
  CHECK(strcmp(leakpool_version(), LEAKPOOL_VERSION) == 0);
  CHECK(leakpool_version_number() == LEAKPOOL_VERSION_NUMBER);
  CHECK(strcmp(leakpool_status_name(LEAKPOOL_OK), "ok") == 0);
  CHECK(strcmp(leakpool_status_name(LEAKPOOL_FORKED), "forked") == 0);
  CHECK(strcmp(leakpool_status_name(4711), "unknown") == 0);
  CHECK(strcmp(leakpool_activity_name(LEAKPOOL_IDLE_IN_TRANSACTION), "idle_in_transaction") == 0);
  CHECK(strcmp(leakpool_verdict_name(LEAKPOOL_SUSPECTED), "suspected") == 0);
  CHECK(strcmp(leakpool_event_kind_name(LEAKPOOL_EVENT_FORCE_RELEASE), "force_release") == 0);
  CHECK(strcmp(leakpool_transaction_name(LEAKPOOL_TX_OPEN), "in_transaction") == 0);
}

static void options(void) {
  leakpool_options options;
  OK(leakpool_options_init(&options, sizeof options, &error));
  CHECK(options.struct_size == sizeof options && options.max_size == 10 && options.leak_threshold_ms == 30000);
  CHECK(options.max_held_ms == LEAKPOOL_AUTO && options.statement_cache == 1 && options.name[0] == '\0');
  OK(leakpool_options_set(&options, "leak_threshold", "45 s", &error));
  OK(leakpool_options_set(&options, "max_size", "20", &error));
  OK(leakpool_options_set(&options, "reset", "session", &error));
  OK(leakpool_options_set(&options, "force_release_busy", "true", &error));
  OK(leakpool_options_set(&options, "name", "orders", &error));
  CHECK(options.leak_threshold_ms == 45000 && options.max_size == 20 && options.reset == LEAKPOOL_RESET_SESSION);
  CHECK(options.force_release_busy == 1 && strcmp(options.name, "orders") == 0);
  OK(leakpool_options_validate(&options, &error));
  options.force_release_after_ms = 10000;
  FAILS(LEAKPOOL_INVALID_OPTION, "force_release_after (10 s) must be longer than leak_threshold (45 s)",
        leakpool_options_validate(&options, &error));
  FAILS(LEAKPOOL_INVALID_OPTION, "did you mean leak_threshold?",
        leakpool_options_set(&options, "leak_treshold", "1 s", &error));
  FAILS(LEAKPOOL_INVALID_OPTION, "max_size", leakpool_options_set(&options, "max_size", "many", &error));
  leakpool_pool *pool = (leakpool_pool *)&options;
  FAILS(LEAKPOOL_INVALID_OPTION, "force_release_after", leakpool_pool_new(dsn(), &options, &pool, &error));
  CHECK(pool == NULL);
}

static void queries(leakpool_pool *pool) {
  uint64_t checkout = acquire(pool);
  uint32_t pid = 0;
  OK(leakpool_backend_pid(pool, checkout, &pid, &error));
  CHECK(pid > 0);

  unsigned char four[] = {0, 0, 0, 42};
  leakpool_param params[] = {leakpool_param_text("42"), leakpool_param_binary(four, sizeof four, 23),
                             leakpool_param_null(0), leakpool_param_text("")};
  leakpool_result *result = NULL;
  OK(leakpool_query(pool, checkout, "SELECT $1::int4 AS a, $2 + 1 AS b, $3::text AS c, $4::text AS \"d d\"", params,
                    4, LEAKPOOL_TEXT, &result, &error));
  CHECK(leakpool_result_rows(result) == 1 && leakpool_result_columns(result) == 4);
  CHECK(strcmp(leakpool_result_text(result, 0, 0), "42") == 0);
  CHECK(strcmp(leakpool_result_text(result, 0, 1), "43") == 0);
  CHECK(leakpool_result_text(result, 0, 2) == NULL && leakpool_result_is_null(result, 0, 2));
  CHECK(strcmp(leakpool_result_text(result, 0, 3), "") == 0 && !leakpool_result_is_null(result, 0, 3));
  CHECK(leakpool_result_length(result, 0, 0) == 2 && leakpool_result_length(result, 0, 3) == 0);
  CHECK(strcmp(leakpool_result_column_name(result, 3), "d d") == 0);
  CHECK(leakpool_result_column_oid(result, 0) == 23 && leakpool_result_column_oid(result, 2) == 25);
  CHECK(strcmp(leakpool_result_tag(result), "SELECT 1") == 0 && leakpool_result_affected(result) == 1);
  leakpool_column column;
  OK(leakpool_result_column(result, 0, &column, &error));
  CHECK(strcmp(column.name, "a") == 0 && column.type_oid == 23 && column.type_size == 4);
  leakpool_value value;
  OK(leakpool_result_value(result, 0, 2, &value, &error));
  CHECK(value.is_null && value.data == NULL && value.length == 0);
  leakpool_result_free(result);

  OK(leakpool_query(pool, checkout, "SELECT 258::int4, 'x\xc3\xa4'::bytea", NULL, 0, LEAKPOOL_BINARY, &result, &error));
  OK(leakpool_result_value(result, 0, 0, &value, &error));
  CHECK(value.length == 4 && memcmp(value.data, "\0\0\1\2", 4) == 0 && value.format == LEAKPOOL_BINARY);
  CHECK(leakpool_result_length(result, 0, 1) == 3);
  leakpool_result_free(result);

  uint64_t affected = 99;
  OK(leakpool_execute(pool, checkout, "CREATE TEMP TABLE things (id int PRIMARY KEY, name text)", NULL, 0, &affected,
                      &error));
  CHECK(affected == 0);
  OK(leakpool_execute(pool, checkout, "INSERT INTO things SELECT n, 'n' || n FROM generate_series(1, 1000) n", NULL, 0,
                      &affected, &error));
  CHECK(affected == 1000);
  OK(leakpool_query(pool, checkout, "SELECT * FROM things ORDER BY id", NULL, 0, LEAKPOOL_TEXT, &result, &error));
  CHECK(leakpool_result_rows(result) == 1000 && strcmp(leakpool_result_text(result, 999, 1), "n1000") == 0);
  CHECK(leakpool_result_column(result, 0, &column, NULL) == LEAKPOOL_OK && column.table_oid != 0);
  CHECK(column.table_column == 1);
  leakpool_result_free(result);

  /* An error of the server: its fields are there, and the connection stays usable. */
  leakpool_error *error = NULL;
  CHECK(leakpool_execute(pool, checkout, "INSERT INTO things VALUES (1, 'again')", NULL, 0, NULL, &error) ==
        LEAKPOOL_DATABASE);
  CHECK(strcmp(leakpool_error_sqlstate(error), "23505") == 0);
  CHECK(strstr(leakpool_error_field(error, LEAKPOOL_FIELD_DETAIL), "already exists") != NULL);
  CHECK(strcmp(leakpool_error_field(error, LEAKPOOL_FIELD_TABLE), "things") == 0);
  CHECK(strcmp(leakpool_error_field(error, LEAKPOOL_FIELD_CONSTRAINT), "things_pkey") == 0);
  CHECK(leakpool_error_field(error, LEAKPOOL_FIELD_HINT) == NULL && leakpool_error_diagnosis(error) == NULL);
  leakpool_error_free(error);
  CHECK(leakpool_execute(pool, checkout, "SELECT nonsense", NULL, 0, NULL, &error) == LEAKPOOL_DATABASE);
  CHECK(leakpool_error_position(error) == 8);
  leakpool_error_free(error);

  /* Several statements, and notices. */
  OK(leakpool_script(pool, checkout, "SELECT 1; DROP TABLE IF EXISTS nothing; SELECT 2, 3", &result, &error));
  const leakpool_result *next = leakpool_result_next(result);
  CHECK(strcmp(leakpool_result_text(result, 0, 0), "1") == 0 && next != NULL);
  CHECK(strcmp(leakpool_result_tag(next), "DROP TABLE") == 0);
  const leakpool_result *last = leakpool_result_next(next);
  CHECK(leakpool_result_columns(last) == 2 && leakpool_result_next(last) == NULL);
  int notices = 0;
  for (const leakpool_result *each = result; each != NULL; each = leakpool_result_next(each))
    while (leakpool_result_notice(each, (size_t)notices) != NULL) notices++;
  CHECK(notices == 1);
  leakpool_result_free(result);
  OK(leakpool_script(pool, checkout, "", NULL, &error));

  OK(leakpool_release(pool, checkout, &error));
  FAILS(LEAKPOOL_ALREADY_RELEASED, "ended", leakpool_release(pool, checkout, &error));
  FAILS(LEAKPOOL_ALREADY_RELEASED, "ended", leakpool_execute(pool, checkout, "SELECT 1", NULL, 0, NULL, &error));
}

static void statements(leakpool_pool *pool) {
  uint64_t checkout = acquire(pool);
  leakpool_statement *statement = NULL;
  OK(leakpool_prepare(pool, checkout, "SELECT $1::int4 * 2 AS twice, $2::text", NULL, 0, &statement, &error));
  CHECK(leakpool_statement_params(statement) == 2 && leakpool_statement_columns(statement) == 2);
  CHECK(leakpool_statement_param_oid(statement, 0) == 23 && leakpool_statement_param_oid(statement, 1) == 25);
  CHECK(leakpool_statement_param_oid(statement, 2) == 0);
  leakpool_column column;
  OK(leakpool_statement_column(statement, 0, &column, &error));
  CHECK(strcmp(column.name, "twice") == 0 && column.type_oid == 23);
  OK(leakpool_release(pool, checkout, &error));

  checkout = acquire(pool);
  for (int i = 0; i < 3; i++) {
    char text[16];
    snprintf(text, sizeof text, "%d", i);
    leakpool_param params[] = {leakpool_param_text(text), leakpool_param_null(0)};
    leakpool_result *result = NULL;
    OK(leakpool_statement_query(pool, checkout, statement, params, 2, LEAKPOOL_TEXT, &result, &error));
    CHECK(atoi(leakpool_result_text(result, 0, 0)) == 2 * i);
    leakpool_result_free(result);
  }
  leakpool_statement *none = NULL;
  FAILS(LEAKPOOL_DATABASE, "", leakpool_prepare(pool, checkout, "SELECT * FROM nowhere", NULL, 0, &none, &error));
  CHECK(none == NULL);
  OK(leakpool_release(pool, checkout, &error));
  leakpool_statement_free(statement);
}

static void transactions(leakpool_pool *pool) {
  uint64_t checkout = acquire(pool);
  leakpool_transaction transaction;
  OK(leakpool_execute(pool, checkout, "CREATE TEMP TABLE t (x int)", NULL, 0, NULL, &error));
  OK(leakpool_begin(pool, checkout, "ISOLATION LEVEL SERIALIZABLE", &error));
  OK(leakpool_transaction_status(pool, checkout, &transaction, &error));
  CHECK(transaction == LEAKPOOL_TX_OPEN);
  FAILS(LEAKPOOL_INVALID_ARGUMENT, "open already", leakpool_begin(pool, checkout, NULL, &error));
  OK(leakpool_execute(pool, checkout, "INSERT INTO t VALUES (1)", NULL, 0, NULL, &error));
  OK(leakpool_commit(pool, checkout, &error));
  OK(leakpool_begin(pool, checkout, NULL, &error));
  OK(leakpool_execute(pool, checkout, "INSERT INTO t VALUES (2)", NULL, 0, NULL, &error));
  OK(leakpool_rollback(pool, checkout, &error));
  OK(leakpool_rollback(pool, checkout, &error));
  leakpool_result *result = NULL;
  OK(leakpool_query(pool, checkout, "SELECT sum(x) FROM t", NULL, 0, LEAKPOOL_TEXT, &result, &error));
  CHECK(strcmp(leakpool_result_text(result, 0, 0), "1") == 0);
  leakpool_result_free(result);

  /* A commit that did not commit is no success. */
  OK(leakpool_begin(pool, checkout, NULL, &error));
  FAILS(LEAKPOOL_DATABASE, "division by zero", leakpool_execute(pool, checkout, "SELECT 1/0", NULL, 0, NULL, &error));
  OK(leakpool_transaction_status(pool, checkout, &transaction, &error));
  CHECK(transaction == LEAKPOOL_TX_FAILED);
  FAILS(LEAKPOOL_DATABASE, "rolled back instead", leakpool_commit(pool, checkout, &error));
  FAILS(LEAKPOOL_INVALID_ARGUMENT, "no transaction", leakpool_commit(pool, checkout, &error));
  OK(leakpool_release_broken(pool, checkout, &error));
}

struct sleeper {
  leakpool_pool *pool;
  uint64_t checkout;
  leakpool_status status;
  char sqlstate[6];
};

static void *sleeps(void *argument) {
  struct sleeper *sleeper = argument;
  leakpool_error *error = NULL;
  sleeper->status = leakpool_execute(sleeper->pool, sleeper->checkout, "SELECT pg_sleep(60)", NULL, 0, NULL, &error);
  const char *sqlstate = leakpool_error_sqlstate(error);
  snprintf(sleeper->sqlstate, sizeof sleeper->sqlstate, "%s", sqlstate ? sqlstate : "");
  leakpool_error_free(error);
  return NULL;
}

static leakpool_activity activity_of(leakpool_pool *pool, uint64_t checkout) {
  leakpool_checkouts *list = NULL;
  leakpool_activity activity = LEAKPOOL_IDLE;
  OK(leakpool_pool_checkouts(pool, &list, &error));
  for (size_t i = 0; i < leakpool_checkouts_count(list); i++)
    if (leakpool_checkouts_get(list, i)->checkout == checkout) activity = leakpool_checkouts_get(list, i)->activity;
  leakpool_checkouts_free(list);
  return activity;
}

static void cancelling(leakpool_pool *pool) {
  uint64_t idle = acquire(pool);
  OK(leakpool_cancel(pool, idle, &error));
  OK(leakpool_release(pool, idle, &error));
  struct sleeper sleeper = {pool, acquire(pool), LEAKPOOL_OK, ""};
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, sleeps, &sleeper) == 0);
  AWAIT(activity_of(pool, sleeper.checkout) == LEAKPOOL_EXECUTING);
  OK(leakpool_cancel(pool, sleeper.checkout, &error));
  pthread_join(thread, NULL);
  CHECK(sleeper.status == LEAKPOOL_DATABASE && strcmp(sleeper.sqlstate, "57014") == 0);

  /* Released by another thread while a statement runs: over at once, given back when the statement has ended. */
  CHECK(pthread_create(&thread, NULL, sleeps, &sleeper) == 0);
  AWAIT(activity_of(pool, sleeper.checkout) == LEAKPOOL_EXECUTING);
  OK(leakpool_cancel(pool, sleeper.checkout, &error));
  OK(leakpool_release(pool, sleeper.checkout, &error));
  FAILS(LEAKPOOL_UNKNOWN_CHECKOUT, "", leakpool_cancel(pool, sleeper.checkout ^ 0xabcdef, &error));
  pthread_join(thread, NULL);
  CHECK(sleeper.status == LEAKPOOL_DATABASE);
  FAILS(LEAKPOOL_ALREADY_RELEASED, "", leakpool_cancel(pool, sleeper.checkout, &error));

  /* Taken away in the middle of a statement. */
  sleeper.checkout = acquire(pool);
  CHECK(pthread_create(&thread, NULL, sleeps, &sleeper) == 0);
  AWAIT(activity_of(pool, sleeper.checkout) == LEAKPOOL_EXECUTING);
  OK(leakpool_force_release(pool, sleeper.checkout, &error));
  pthread_join(thread, NULL);
  CHECK(sleeper.status == LEAKPOOL_FORCE_RELEASED && strcmp(sleeper.sqlstate, "LP001") == 0);
  leakpool_error *error = NULL;
  CHECK(leakpool_execute(pool, sleeper.checkout, "SELECT 1", NULL, 0, NULL, &error) == LEAKPOOL_FORCE_RELEASED);
  CHECK(strstr(leakpool_error_message(error), "api.c:") != NULL);
  const leakpool_revocation *revocation = leakpool_error_revocation(error);
  CHECK(revocation->checkout == sleeper.checkout && strcmp(revocation->reason, "manual") == 0);
  CHECK(strcmp(revocation->function, "acquire") == 0 && revocation->idle_ms == LEAKPOOL_NONE);
  leakpool_error_free(error);
  FAILS(LEAKPOOL_FORCE_RELEASED, "on request", leakpool_release(pool, sleeper.checkout, &error));
  FAILS(LEAKPOOL_ALREADY_RELEASED, "", leakpool_release(pool, sleeper.checkout, &error));
  FAILS(LEAKPOOL_UNKNOWN_CHECKOUT, "", leakpool_force_release(pool, sleeper.checkout, &error));
}

struct seen {
  pthread_mutex_t lock;
  int counts[LEAKPOOL_EVENT_UTILIZATION + 1];
  char leak[4096];
  char file[256], function[64], reason[64];
  uint32_t line;
  uint64_t checkout;
  size_t flagged, holders;
};

static void see(const leakpool_event *event, void *user_data) {
  struct seen *seen = user_data;
  pthread_mutex_lock(&seen->lock);
  leakpool_event_kind kind = leakpool_event_get_kind(event);
  seen->counts[kind]++;
  const leakpool_checkouts *list = leakpool_event_checkouts(event);
  if (kind == LEAKPOOL_EVENT_LEAK) {
    snprintf(seen->leak, sizeof seen->leak, "%s", leakpool_event_text(event));
    snprintf(seen->file, sizeof seen->file, "%s", leakpool_event_file(event));
    snprintf(seen->function, sizeof seen->function, "%s", leakpool_event_function(event));
    snprintf(seen->reason, sizeof seen->reason, "%s", leakpool_event_reason(event));
    seen->line = leakpool_event_line(event);
    seen->checkout = leakpool_event_checkout(event);
    CHECK(leakpool_checkouts_count(list) == 1 && leakpool_checkouts_get(list, 0)->checkout == seen->checkout);
  }
  if (kind == LEAKPOOL_EVENT_LEAKS_DETECTED) seen->flagged = leakpool_checkouts_count(list);
  if (kind == LEAKPOOL_EVENT_EXHAUSTED) {
    seen->holders = leakpool_checkouts_count(list);
    CHECK(leakpool_event_max_size(event) == 2 && leakpool_event_waited_ms(event) != LEAKPOOL_NONE);
    const leakpool_exhaustion *exhaustion = leakpool_event_exhaustion(event);
    CHECK(strcmp(exhaustion->phase, "wait") == 0 && exhaustion->last_error == NULL && exhaustion->waiting == 0);
  }
  if (kind == LEAKPOOL_EVENT_UTILIZATION)
    CHECK(leakpool_event_in_use(event) == 2 && leakpool_event_max_size(event) == 2);
  if (kind == LEAKPOOL_EVENT_CONNECT) CHECK(leakpool_event_backend_pid(event) != 0);
  if (kind == LEAKPOOL_EVENT_RELEASE) CHECK(leakpool_event_held_ms(event) != LEAKPOOL_NONE);
  CHECK(strcmp(leakpool_event_pool(event), "watched") == 0 && leakpool_event_time_ms(event) > 1700000000000u);
  CHECK(leakpool_event_text(event)[0] != '\0');
  pthread_mutex_unlock(&seen->lock);
}

static int count(struct seen *seen, leakpool_event_kind kind) {
  pthread_mutex_lock(&seen->lock);
  int n = seen->counts[kind];
  pthread_mutex_unlock(&seen->lock);
  return n;
}

static void leaks(void) {
  leakpool_test_clock *clock = NULL;
  OK(leakpool_test_clock_new(&clock, &error));
  leakpool_options options = options_of((const char *[]){"name", "watched", "max_size", "2", "leak_threshold", "10 s",
                                                         "force_release_after", "60 s", "max_leaks_before_alert", "2",
                                                         "utilization_warning", "1", NULL});
  leakpool_pool *pool = NULL;
  OK(leakpool_test_pool_new(dsn(), &options, clock, &pool, &error));
  CHECK(strcmp(leakpool_pool_name(pool), "watched") == 0);
  static struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
  leakpool_subscription *subscription = NULL;
  OK(leakpool_pool_subscribe(pool, LEAKPOOL_ALL_EVENTS, see, &seen, &subscription, &error));

  uint32_t line = __LINE__ + 1;
  uint64_t first = acquire(pool);
  (void)line;
  OK(leakpool_execute(pool, first, "SELECT 'leaked here'", NULL, 0, NULL, &error));
  leakpool_acquire_options wanted = LEAKPOOL_ACQUIRE_OPTIONS_INIT;
  wanted.label = "nightly import";
  wanted.owner = "worker 7";
  uint64_t second = 0;
  OK(LEAKPOOL_ACQUIRE_WITH(pool, &wanted, &second, &error));

  leakpool_pool_status status;
  OK(leakpool_pool_get_status(pool, &status, sizeof status, &error));
  CHECK(status.in_use == 2 && status.max_size == 2 && status.utilization == 1.0 && !status.closed);
  uint64_t none = 77;
  FAILS(LEAKPOOL_NONE_IDLE, "no idle", LEAKPOOL_TRY_ACQUIRE(pool, &none, &error));
  CHECK(none == 0);

  OK(leakpool_test_clock_advance(clock, 11000, &error));
  AWAIT(count(&seen, LEAKPOOL_EVENT_LEAK) == 2 && count(&seen, LEAKPOOL_EVENT_LEAKS_DETECTED) == 1);
  CHECK(strstr(seen.file, "api.c") != NULL && strcmp(seen.reason, "unused") == 0 && seen.flagged == 2);
  CHECK(strstr(seen.leak, "api.c:") != NULL && (seen.checkout == first || seen.checkout == second));

  leakpool_checkouts *list = NULL;
  OK(leakpool_pool_leaks(pool, &list, &error));
  CHECK(leakpool_checkouts_count(list) == 2);
  for (size_t i = 0; i < 2; i++) {
    const leakpool_checkout_info *info = leakpool_checkouts_get(list, i);
    CHECK(info->held_ms == 11000 && info->verdict == LEAKPOOL_SUSPECTED && info->reported && info->line > 0);
    CHECK(strcmp(info->suspicion, "unused") == 0 && info->backend_pid > 0 && info->executing_ms == LEAKPOOL_NONE);
    if (info->checkout == first) {
      CHECK(strcmp(info->function, "acquire") == 0 && strcmp(info->last_sql, "SELECT 'leaked here'") == 0);
      CHECK(info->label == NULL && info->last_sql_age_ms == 11000);
    } else {
      CHECK(info->checkout == second && strcmp(info->function, "leaks") == 0 && info->last_sql == NULL);
      CHECK(strcmp(info->label, "nightly import") == 0 && strcmp(info->owner, "worker 7") == 0);
    }
  }
  CHECK(leakpool_checkouts_get(list, 2) == NULL);
  leakpool_checkouts_free(list);

  char *text = NULL;
  OK(leakpool_pool_report(pool, &text, &error));
  CHECK(strstr(text, "acquire (") != NULL && strstr(text, "nightly import") != NULL);
  leakpool_string_free(text);
  const leakpool_pool *pools[] = {pool};
  OK(leakpool_openmetrics(pools, 1, &text, &error));
  CHECK(strstr(text, "leakpool_leaks_total{") != NULL && strstr(text, "# EOF") != NULL);
  leakpool_string_free(text);

  OK(leakpool_owner_ended(pool, second, &error));
  OK(leakpool_release(pool, second, &error));
  AWAIT(count(&seen, LEAKPOOL_EVENT_LEAK_RECOVERED) == 1);
  OK(leakpool_test_clock_advance(clock, 60000, &error));
  AWAIT(count(&seen, LEAKPOOL_EVENT_FORCE_RELEASE) == 1);
  FAILS(LEAKPOOL_FORCE_RELEASED, "unused", leakpool_execute(pool, first, "SELECT 1", NULL, 0, NULL, &error));
  FAILS(LEAKPOOL_FORCE_RELEASED, "unused", leakpool_release(pool, first, &error));
  AWAIT(count(&seen, LEAKPOOL_EVENT_LATE_USE) == 1 && count(&seen, LEAKPOOL_EVENT_LATE_RELEASE) == 1);

  uint64_t proven = acquire(pool);
  OK(leakpool_prove_leaked(pool, proven, &error));
  FAILS(LEAKPOOL_FORCE_RELEASED, "", leakpool_release(pool, proven, &error));

  /* A time-out tells who holds the connections. Its time is the clock's, so another thread has to move it. */
  first = acquire(pool);
  second = acquire(pool);
  OK(leakpool_pool_set(pool, "leak_threshold", "20 s", &error));
  leakpool_options now;
  OK(leakpool_pool_options(pool, &now, sizeof now, &error));
  CHECK(now.leak_threshold_ms == 20000 && now.max_size == 2);
  now.leak_threshold_ms = 30000;
  OK(leakpool_pool_reconfigure(pool, &now, &error));
  now.max_size = 3;
  FAILS(LEAKPOOL_INVALID_OPTION, "resize it instead", leakpool_pool_reconfigure(pool, &now, &error));
  OK(leakpool_pool_resize(pool, 3, &error));
  uint64_t third = acquire(pool);
  OK(leakpool_release(pool, third, &error));
  OK(leakpool_pool_resize(pool, 2, &error));

  leakpool_metrics metrics;
  OK(leakpool_pool_get_metrics(pool, &metrics, sizeof metrics, &error));
  CHECK(metrics.acquired == metrics.released + metrics.force_released + metrics.lost + metrics.active);
  CHECK(metrics.leaks == 3 && metrics.leaks_recovered == 1 && metrics.force_released == 2 && metrics.active == 2);
  CHECK(metrics.use_time.count == metrics.acquired - metrics.active && leakpool_bucket_bound(0) > 0);

  int told = 0;
  OK(leakpool_pool_flush_events(pool, 10000, &told, &error));
  CHECK(told == 1);
  OK(leakpool_pool_close(pool, 0, &list, &error));
  CHECK(leakpool_checkouts_count(list) == 2 && strcmp(leakpool_checkouts_get(list, 0)->function, "acquire") == 0);
  leakpool_checkouts_free(list);
  FAILS(LEAKPOOL_POOL_CLOSED, "", leakpool_pool_close(pool, 0, NULL, &error));
  FAILS(LEAKPOOL_POOL_CLOSED, "", LEAKPOOL_ACQUIRE(pool, 0, &third, &error));
  FAILS(LEAKPOOL_FORCE_RELEASED, "closed", leakpool_release(pool, first, &error));
  leakpool_subscription_free(subscription);
  leakpool_pool_free(pool);
  leakpool_test_clock_free(clock);
}

static void timing_out(void) {
  leakpool_pool *pool = pool_with((const char *[]){"max_size", "1", NULL});
  uint64_t held = acquire(pool), none = 1;
  leakpool_error *error = NULL;
  CHECK(LEAKPOOL_ACQUIRE(pool, 50, &none, &error) == LEAKPOOL_ACQUIRE_TIMEOUT && none == 0);
  CHECK(leakpool_error_diagnosis(error) != NULL && strstr(leakpool_error_message(error), "api.c:") != NULL);
  const leakpool_exhaustion *why = leakpool_error_exhaustion(error);
  CHECK(why->max_size == 1 && why->waited_ms >= 50 && leakpool_checkouts_count(why->holders) == 1);
  CHECK(leakpool_checkouts_get(why->holders, 0)->checkout == held && leakpool_error_revocation(error) == NULL);
  leakpool_error_free(error);
  OK(leakpool_release(pool, held, &error));
  /* Results outlive everything. */
  held = acquire(pool);
  leakpool_result *result = NULL;
  OK(leakpool_query(pool, held, "SELECT 'still here'", NULL, 0, LEAKPOOL_TEXT, &result, &error));
  leakpool_pool_free(pool);
  CHECK(strcmp(leakpool_result_text(result, 0, 0), "still here") == 0);
  leakpool_result_free(result);
}

int main(void) {
  versions_and_names();
  options();
  leakpool_pool *pool = pool_with((const char *[]){"max_size", "4", NULL});
  queries(pool);
  statements(pool);
  transactions(pool);
  cancelling(pool);
  OK(leakpool_pool_close(pool, LEAKPOOL_DEFAULT_TIMEOUT, NULL, &error));
  leakpool_pool_free(pool);
  leaks();
  timing_out();
  return done("api");
}
