/* What no program should do, and some do: a status each time, never a crash. */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define BAD LEAKPOOL_INVALID_ARGUMENT

static leakpool_pool *small_pool(void) {
  leakpool_options options = options_of((const char *[]){"max_size", "2", NULL});
  leakpool_pool *pool = NULL;
  OK(leakpool_pool_new(dsn(), &options, &pool, &error));
  return pool;
}

static uint64_t acquire(leakpool_pool *pool) {
  uint64_t checkout = 0;
  OK(LEAKPOOL_ACQUIRE(pool, LEAKPOOL_DEFAULT_TIMEOUT, &checkout, &error));
  return checkout;
}

static void ignore(const leakpool_event *event, void *user_data) {
  (void)event, (void)user_data;
}

static void null_for_every_pointer(leakpool_pool *pool, uint64_t held) {
  leakpool_options options;
  leakpool_pool *none = NULL;
  leakpool_result *result = NULL;
  leakpool_statement *statement = NULL;
  leakpool_checkouts *list = NULL;
  leakpool_subscription *subscription = NULL;
  leakpool_detector *detector = NULL;
  leakpool_pool_status status;
  leakpool_metrics metrics;
  leakpool_column column;
  leakpool_value value;
  leakpool_transaction transaction;
  leakpool_test_clock *clock = NULL;
  char *text = NULL;
  uint64_t checkout = 0;
  uint32_t pid = 0;

  /* An error that nobody asks for. */
  CHECK(leakpool_pool_new(NULL, NULL, NULL, NULL) == BAD);
  CHECK(leakpool_options_init(NULL, 0, NULL) == BAD);

  FAILS(BAD, "options", leakpool_options_init(NULL, sizeof options, &error));
  OK(leakpool_options_init(&options, sizeof options, &error));
  FAILS(BAD, "options", leakpool_options_set(NULL, "max_size", "1", &error));
  FAILS(BAD, "name", leakpool_options_set(&options, NULL, "1", &error));
  FAILS(BAD, "value", leakpool_options_set(&options, "max_size", NULL, &error));
  FAILS(BAD, "options", leakpool_options_validate(NULL, &error));
  FAILS(BAD, "dsn", leakpool_pool_new(NULL, &options, &none, &error));
  FAILS(BAD, "pool", leakpool_pool_new(dsn(), &options, NULL, &error));
  FAILS(BAD, "clock", leakpool_test_pool_new(dsn(), &options, NULL, &none, &error));
  FAILS(BAD, "pool", leakpool_test_pool_new(dsn(), &options, NULL, NULL, &error));
  FAILS(BAD, "pool", leakpool_pool_options(NULL, &options, sizeof options, &error));
  FAILS(BAD, "options", leakpool_pool_options(pool, NULL, sizeof options, &error));
  FAILS(BAD, "pool", leakpool_pool_reconfigure(NULL, &options, &error));
  FAILS(BAD, "options", leakpool_pool_reconfigure(pool, NULL, &error));
  FAILS(BAD, "pool", leakpool_pool_set(NULL, "leak_threshold", "1 s", &error));
  FAILS(BAD, "name", leakpool_pool_set(pool, NULL, "1 s", &error));
  FAILS(BAD, "value", leakpool_pool_set(pool, "leak_threshold", NULL, &error));
  FAILS(BAD, "pool", leakpool_pool_resize(NULL, 3, &error));
  FAILS(BAD, "pool", leakpool_pool_close(NULL, 0, NULL, &error));
  CHECK(leakpool_pool_name(NULL) == NULL);

  FAILS(BAD, "pool", LEAKPOOL_ACQUIRE(NULL, 1, &checkout, &error));
  FAILS(BAD, "checkout", LEAKPOOL_ACQUIRE(pool, 1, NULL, &error));
  FAILS(BAD, "pool", LEAKPOOL_ACQUIRE_WITH(NULL, NULL, &checkout, &error));
  FAILS(BAD, "pool", LEAKPOOL_TRY_ACQUIRE(NULL, &checkout, &error));
  FAILS(BAD, "checkout", LEAKPOOL_TRY_ACQUIRE(pool, NULL, &error));
  OK(leakpool_acquire_at(pool, LEAKPOOL_DEFAULT_TIMEOUT, NULL, 0, NULL, &checkout, &error));
  OK(leakpool_release(pool, checkout, &error));
  FAILS(BAD, "pool", leakpool_release(NULL, held, &error));
  FAILS(BAD, "pool", leakpool_release_broken(NULL, held, &error));
  FAILS(BAD, "pool", leakpool_force_release(NULL, held, &error));
  FAILS(BAD, "pool", leakpool_prove_leaked(NULL, held, &error));
  FAILS(BAD, "pool", leakpool_owner_ended(NULL, held, &error));
  FAILS(BAD, "pool", leakpool_cancel(NULL, held, &error));
  FAILS(BAD, "pool", leakpool_backend_pid(NULL, held, &pid, &error));
  FAILS(BAD, "pid", leakpool_backend_pid(pool, held, NULL, &error));

  FAILS(BAD, "pool", leakpool_query(NULL, held, "SELECT 1", NULL, 0, 0, &result, &error));
  FAILS(BAD, "sql", leakpool_query(pool, held, NULL, NULL, 0, 0, &result, &error));
  FAILS(BAD, "params", leakpool_query(pool, held, "SELECT $1", NULL, 1, 0, &result, &error));
  FAILS(BAD, "result", leakpool_query(pool, held, "SELECT 1", NULL, 0, 0, NULL, &error));
  FAILS(BAD, "pool", leakpool_execute(NULL, held, "SELECT 1", NULL, 0, NULL, &error));
  FAILS(BAD, "sql", leakpool_execute(pool, held, NULL, NULL, 0, NULL, &error));
  FAILS(BAD, "pool", leakpool_script(NULL, held, "SELECT 1", NULL, &error));
  FAILS(BAD, "sql", leakpool_script(pool, held, NULL, NULL, &error));
  FAILS(BAD, "pool", leakpool_prepare(NULL, held, "SELECT 1", NULL, 0, &statement, &error));
  FAILS(BAD, "sql", leakpool_prepare(pool, held, NULL, NULL, 0, &statement, &error));
  FAILS(BAD, "oids", leakpool_prepare(pool, held, "SELECT 1", NULL, 3, &statement, &error));
  FAILS(BAD, "statement", leakpool_prepare(pool, held, "SELECT 1", NULL, 0, NULL, &error));
  FAILS(BAD, "statement", leakpool_statement_query(pool, held, NULL, NULL, 0, 0, &result, &error));
  FAILS(BAD, "result", leakpool_statement_query(pool, held, NULL, NULL, 0, 0, NULL, &error));
  FAILS(BAD, "statement", leakpool_statement_column(NULL, 0, &column, &error));
  CHECK(leakpool_statement_params(NULL) == 0 && leakpool_statement_columns(NULL) == 0);
  CHECK(leakpool_statement_param_oid(NULL, 0) == 0);
  FAILS(BAD, "pool", leakpool_begin(NULL, held, NULL, &error));
  FAILS(BAD, "pool", leakpool_commit(NULL, held, &error));
  FAILS(BAD, "pool", leakpool_rollback(NULL, held, &error));
  FAILS(BAD, "pool", leakpool_transaction_status(NULL, held, &transaction, &error));
  FAILS(BAD, "transaction", leakpool_transaction_status(pool, held, NULL, &error));

  FAILS(BAD, "result", leakpool_result_value(NULL, 0, 0, &value, &error));
  FAILS(BAD, "result", leakpool_result_column(NULL, 0, &column, &error));
  CHECK(leakpool_result_rows(NULL) == 0 && leakpool_result_columns(NULL) == 0);
  CHECK(leakpool_result_text(NULL, 0, 0) == NULL && leakpool_result_is_null(NULL, 0, 0) == 1);
  CHECK(leakpool_result_length(NULL, 0, 0) == 0 && leakpool_result_tag(NULL) == NULL);
  CHECK(leakpool_result_affected(NULL) == 0 && leakpool_result_notice(NULL, 0) == NULL);
  CHECK(leakpool_result_next(NULL) == NULL && leakpool_result_column_name(NULL, 0) == NULL);
  CHECK(leakpool_result_column_oid(NULL, 0) == 0);

  FAILS(BAD, "pool", leakpool_pool_get_status(NULL, &status, sizeof status, &error));
  FAILS(BAD, "status", leakpool_pool_get_status(pool, NULL, sizeof status, &error));
  FAILS(BAD, "pool", leakpool_pool_get_metrics(NULL, &metrics, sizeof metrics, &error));
  FAILS(BAD, "metrics", leakpool_pool_get_metrics(pool, NULL, sizeof metrics, &error));
  FAILS(BAD, "pool", leakpool_pool_checkouts(NULL, &list, &error));
  FAILS(BAD, "checkouts", leakpool_pool_checkouts(pool, NULL, &error));
  FAILS(BAD, "pool", leakpool_pool_leaks(NULL, &list, &error));
  FAILS(BAD, "checkouts", leakpool_pool_leaks(pool, NULL, &error));
  CHECK(leakpool_checkouts_count(NULL) == 0 && leakpool_checkouts_get(NULL, 0) == NULL);
  FAILS(BAD, "pool", leakpool_pool_report(NULL, &text, &error));
  FAILS(BAD, "text", leakpool_pool_report(pool, NULL, &error));
  const leakpool_pool *const pools[] = {pool, NULL};
  FAILS(BAD, "pools", leakpool_openmetrics(NULL, 1, &text, &error));
  FAILS(BAD, "pools", leakpool_openmetrics(pools, 2, &text, &error));
  FAILS(BAD, "text", leakpool_openmetrics(pools, 1, NULL, &error));
  FAILS(BAD, "pool", leakpool_pool_flush_events(NULL, 0, NULL, &error));

  FAILS(BAD, "pool", leakpool_pool_subscribe(NULL, 1, ignore, NULL, &subscription, &error));
  FAILS(BAD, "callback", leakpool_pool_subscribe(pool, 1, NULL, NULL, &subscription, &error));
  FAILS(BAD, "subscription", leakpool_pool_subscribe(pool, 1, ignore, NULL, NULL, &error));
  FAILS(BAD, "kinds", leakpool_pool_subscribe(pool, 0, ignore, NULL, &subscription, &error));
  FAILS(BAD, "kinds", leakpool_pool_subscribe(pool, 1u << 31, ignore, NULL, &subscription, &error));
  CHECK(leakpool_event_checkout(NULL) == 0 && leakpool_event_text(NULL) == NULL && leakpool_event_pool(NULL) == NULL);
  CHECK(leakpool_event_reason(NULL) == NULL && leakpool_event_file(NULL) == NULL && leakpool_event_line(NULL) == 0);
  CHECK(leakpool_event_function(NULL) == NULL && leakpool_event_checkouts(NULL) == NULL);
  CHECK(leakpool_event_held_ms(NULL) == LEAKPOOL_NONE && leakpool_event_waited_ms(NULL) == LEAKPOOL_NONE);
  CHECK(leakpool_event_last_sql(NULL) == NULL && leakpool_event_backend_pid(NULL) == 0);
  CHECK(leakpool_event_in_use(NULL) + leakpool_event_max_size(NULL) == 0 && leakpool_event_time_ms(NULL) == 0);
  CHECK(leakpool_event_exhaustion(NULL) == NULL && leakpool_event_revocation(NULL) == NULL);
  CHECK(leakpool_event_get_kind(NULL) == LEAKPOOL_EVENT_ERROR);

  FAILS(BAD, "name", leakpool_detector_new(NULL, NULL, &detector, &error));
  FAILS(BAD, "detector", leakpool_detector_new("x", NULL, NULL, &error));
  FAILS(BAD, "clock", leakpool_test_detector_new("x", NULL, NULL, &detector, &error));
  FAILS(BAD, "detector", LEAKPOOL_CHECK_OUT(NULL, NULL, &checkout, &error));
  FAILS(BAD, "detector", leakpool_detector_executing(NULL, 1, "SELECT 1", &error));
  FAILS(BAD, "detector", leakpool_detector_idle(NULL, 1, 0, &error));
  FAILS(BAD, "detector", leakpool_detector_check_in(NULL, 1, &error));
  FAILS(BAD, "detector", leakpool_detector_force_release(NULL, 1, &error));
  FAILS(BAD, "detector", leakpool_detector_owner_ended(NULL, 1, &error));
  FAILS(BAD, "detector", leakpool_detector_reconfigure(NULL, &options, &error));
  FAILS(BAD, "detector", leakpool_detector_flush_events(NULL, 0, NULL, &error));
  FAILS(BAD, "detector", leakpool_detector_close(NULL, 0, NULL, &error));
  FAILS(BAD, "detector", leakpool_detector_get_status(NULL, &status, sizeof status, &error));
  FAILS(BAD, "detector", leakpool_detector_get_metrics(NULL, &metrics, sizeof metrics, &error));
  FAILS(BAD, "detector", leakpool_detector_checkouts(NULL, &list, &error));
  FAILS(BAD, "detector", leakpool_detector_leaks(NULL, &list, &error));
  FAILS(BAD, "detector", leakpool_detector_report(NULL, &text, &error));
  FAILS(BAD, "detector", leakpool_detector_openmetrics(NULL, &text, &error));
  FAILS(BAD, "detector", leakpool_detector_subscribe(NULL, 1, ignore, NULL, &subscription, &error));
  CHECK(leakpool_detector_name(NULL) == NULL);

  FAILS(BAD, "clock", leakpool_test_clock_new(NULL, &error));
  FAILS(BAD, "clock", leakpool_test_clock_advance(NULL, 1, &error));
  CHECK(none == NULL && result == NULL && statement == NULL && list == NULL && subscription == NULL);
  CHECK(detector == NULL && clock == NULL && text == NULL);

  CHECK(leakpool_error_status(NULL) == LEAKPOOL_OK && strcmp(leakpool_error_message(NULL), "no error") == 0);
  CHECK(leakpool_error_sqlstate(NULL) == NULL && leakpool_error_diagnosis(NULL) == NULL);
  CHECK(leakpool_error_revocation(NULL) == NULL && leakpool_error_field(NULL, 'D') == NULL);
  CHECK(leakpool_error_position(NULL) == 0 && leakpool_error_exhaustion(NULL) == NULL);

  leakpool_error_free(NULL);
  leakpool_pool_free(NULL);
  leakpool_result_free(NULL);
  leakpool_statement_free(NULL);
  leakpool_checkouts_free(NULL);
  leakpool_string_free(NULL);
  leakpool_subscription_free(NULL);
  leakpool_detector_free(NULL);
  leakpool_test_clock_free(NULL);
}

static void wrong_sizes(leakpool_pool *pool) {
  leakpool_options options;
  leakpool_pool *none = NULL;
  leakpool_pool_status status;
  leakpool_metrics metrics;
  uint64_t checkout = 0;
  FAILS(BAD, "sizeof", leakpool_options_init(&options, sizeof options - 8, &error));
  FAILS(BAD, "sizeof", leakpool_options_init(&options, 0, &error));
  OK(leakpool_options_init(&options, sizeof options, &error));
  const size_t sizes[] = {0, 1, sizeof options - 1, sizeof options + 8, SIZE_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    options.struct_size = sizes[i];
    FAILS(BAD, "sizeof", leakpool_pool_new(dsn(), &options, &none, &error));
    FAILS(BAD, "sizeof", leakpool_pool_reconfigure(pool, &options, &error));
    FAILS(BAD, "sizeof", leakpool_options_validate(&options, &error));
    FAILS(BAD, "sizeof", leakpool_pool_get_status(pool, &status, sizes[i], &error));
    FAILS(BAD, "sizeof", leakpool_pool_get_metrics(pool, &metrics, sizes[i], &error));
    leakpool_acquire_options wanted = LEAKPOOL_ACQUIRE_OPTIONS_INIT;
    wanted.struct_size = sizes[i];
    FAILS(BAD, "sizeof", LEAKPOOL_ACQUIRE_WITH(pool, &wanted, &checkout, &error));
  }
  OK(leakpool_options_init(&options, sizeof options, &error));
  options.reset = 4711;
  FAILS(LEAKPOOL_INVALID_OPTION, "reset (4711)", leakpool_pool_new(dsn(), &options, &none, &error));
  options.reset = 0;
  memset(options.name, 'x', sizeof options.name);
  FAILS(BAD, "name", leakpool_pool_new(dsn(), &options, &none, &error));
  options.name[0] = '\xff', options.name[1] = '\0';
  FAILS(BAD, "UTF-8", leakpool_pool_new(dsn(), &options, &none, &error));
  options.name[0] = '\0';
  options.max_size = UINT64_MAX;
  FAILS(LEAKPOOL_INVALID_OPTION, "max_size", leakpool_pool_new(dsn(), &options, &none, &error));
  options.max_size = 1;
  options.leak_threshold_ms = UINT64_MAX;
  FAILS(LEAKPOOL_INVALID_OPTION, "leak_threshold", leakpool_pool_new(dsn(), &options, &none, &error));
  FAILS(LEAKPOOL_INVALID_DSN, "", leakpool_pool_new("postgres://[", NULL, &none, &error));
  FAILS(BAD, "UTF-8", leakpool_pool_new("host=\xff", NULL, &none, &error));
  char longest[65];
  memset(longest, 'n', 64), longest[64] = '\0';
  OK(leakpool_options_init(&options, sizeof options, &error));
  FAILS(LEAKPOOL_INVALID_OPTION, "63 bytes", leakpool_options_set(&options, "name", longest, &error));
  longest[63] = '\0';
  OK(leakpool_options_set(&options, "name", longest, &error));
}

static void stale_and_forged(leakpool_pool *pool, uint64_t held) {
  leakpool_pool *other = small_pool();
  uint64_t stale = acquire(pool), foreign = acquire(other);
  OK(leakpool_release(pool, stale, &error));
  FAILS(LEAKPOOL_ALREADY_RELEASED, "", leakpool_release(pool, stale, &error));
  FAILS(LEAKPOOL_ALREADY_RELEASED, "", leakpool_execute(pool, stale, "SELECT 1", NULL, 0, NULL, &error));
  FAILS(LEAKPOOL_ALREADY_RELEASED, "", leakpool_cancel(pool, stale, &error));
  FAILS(LEAKPOOL_ALREADY_RELEASED, "", leakpool_begin(pool, stale, NULL, &error));
  FAILS(LEAKPOOL_UNKNOWN_CHECKOUT, "", leakpool_force_release(pool, stale, &error));
  const uint64_t forged[] = {0, 1, 42, foreign, held ^ (1u << 20), held + ((uint64_t)1 << 40), UINT64_MAX, 0xdeadbeef};
  for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
    FAILS(LEAKPOOL_UNKNOWN_CHECKOUT, "", leakpool_release(pool, forged[i], &error));
    FAILS(LEAKPOOL_UNKNOWN_CHECKOUT, "", leakpool_release_broken(pool, forged[i], &error));
    FAILS(LEAKPOOL_UNKNOWN_CHECKOUT, "", leakpool_execute(pool, forged[i], "SELECT 1", NULL, 0, NULL, &error));
    FAILS(LEAKPOOL_UNKNOWN_CHECKOUT, "", leakpool_force_release(pool, forged[i], &error));
    FAILS(LEAKPOOL_UNKNOWN_CHECKOUT, "", leakpool_owner_ended(pool, forged[i], &error));
    FAILS(LEAKPOOL_UNKNOWN_CHECKOUT, "", leakpool_cancel(pool, forged[i], &error));
  }
  OK(leakpool_release(other, foreign, &error));
  leakpool_pool_free(other);
}

static void out_of_range(leakpool_pool *pool, uint64_t held) {
  leakpool_result *result = NULL;
  leakpool_value value;
  leakpool_column column;
  OK(leakpool_query(pool, held, "SELECT 1, 2 UNION ALL SELECT 3, 4", NULL, 0, LEAKPOOL_TEXT, &result, &error));
  const size_t bad[][2] = {{2, 0}, {0, 2}, {SIZE_MAX, 0}, {0, SIZE_MAX}, {SIZE_MAX, SIZE_MAX}, {SIZE_MAX / 2 + 1, 0}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    FAILS(BAD, "out of range", leakpool_result_value(result, bad[i][0], bad[i][1], &value, &error));
    CHECK(leakpool_result_text(result, bad[i][0], bad[i][1]) == NULL);
    CHECK(leakpool_result_length(result, bad[i][0], bad[i][1]) == 0);
    CHECK(leakpool_result_is_null(result, bad[i][0], bad[i][1]) == 1);
  }
  FAILS(BAD, "value", leakpool_result_value(result, 0, 0, NULL, &error));
  FAILS(BAD, "out of range", leakpool_result_column(result, 2, &column, &error));
  FAILS(BAD, "description", leakpool_result_column(result, 0, NULL, &error));
  CHECK(leakpool_result_column_name(result, SIZE_MAX) == NULL && leakpool_result_notice(result, SIZE_MAX) == NULL);
  leakpool_result_free(result);

  FAILS(BAD, "result_format", leakpool_query(pool, held, "SELECT 1", NULL, 0, 2, &result, &error));
  leakpool_param param = leakpool_param_text("1");
  param.format = -1;
  FAILS(BAD, "format", leakpool_query(pool, held, "SELECT $1", &param, 1, 0, &result, &error));
  param = leakpool_param_binary("1", SIZE_MAX - 1, 0);
  FAILS(BAD, "longer than memory", leakpool_query(pool, held, "SELECT $1", &param, 1, 0, &result, &error));
  FAILS(BAD, "longer than memory", leakpool_query(pool, held, "SELECT $1", &param, SIZE_MAX, 0, &result, &error));
  FAILS(BAD, "UTF-8", leakpool_query(pool, held, "SELECT '\xff'", NULL, 0, 0, &result, &error));
  FAILS(LEAKPOOL_DATABASE, "", leakpool_query(pool, held, "SELECT $1::int", NULL, 0, 0, &result, &error));
  FAILS(LEAKPOOL_UNSUPPORTED, "COPY", leakpool_execute(pool, held, "COPY pg_class FROM STDIN", NULL, 0, NULL, &error));
  leakpool_statement *statement = NULL;
  OK(leakpool_prepare(pool, held, "SELECT $1::int", NULL, 0, &statement, &error));
  FAILS(BAD, "as many as", leakpool_statement_query(pool, held, statement, NULL, 0, 0, &result, &error));
  FAILS(BAD, "out of range", leakpool_statement_column(statement, 1, &column, &error));
  leakpool_statement_free(statement);
  CHECK(result == NULL);
}

/* ---- callbacks that call back ---------------------------------------------------------------------------------- */

struct inside {
  leakpool_pool *pool;
  leakpool_subscription *subscription;
  pthread_mutex_t lock;
  int calls, done;
};

static void calls_back(const leakpool_event *event, void *user_data) {
  struct inside *inside = user_data;
  (void)event;
  pthread_mutex_lock(&inside->lock);
  int first = inside->calls++ == 0;
  pthread_mutex_unlock(&inside->lock);
  if (!first) return;
  uint64_t checkout = acquire(inside->pool);
  OK(leakpool_execute(inside->pool, checkout, "SELECT 'from a callback'", NULL, 0, NULL, &error));
  OK(leakpool_release(inside->pool, checkout, &error));
  int told = 1;
  OK(leakpool_pool_flush_events(inside->pool, 10, &told, &error));
  CHECK(told == 0);
  char *report = NULL;
  OK(leakpool_pool_report(inside->pool, &report, &error));
  leakpool_string_free(report);
  leakpool_subscription *second = NULL;
  OK(leakpool_pool_subscribe(inside->pool, LEAKPOOL_ALL_EVENTS, ignore, NULL, &second, &error));
  leakpool_subscription_free(second);
  leakpool_subscription_free(inside->subscription); /* inside its own callback: returns at once */
  pthread_mutex_lock(&inside->lock);
  inside->done = 1;
  pthread_mutex_unlock(&inside->lock);
}

static void closes(const leakpool_event *event, void *user_data) {
  struct inside *inside = user_data;
  (void)event;
  OK(leakpool_pool_close(inside->pool, 0, NULL, &error));
  leakpool_pool_free(inside->pool);
  pthread_mutex_lock(&inside->lock);
  inside->done = 1;
  pthread_mutex_unlock(&inside->lock);
}

static int is_done(struct inside *inside) {
  pthread_mutex_lock(&inside->lock);
  int done = inside->done;
  pthread_mutex_unlock(&inside->lock);
  return done;
}

static void callbacks_that_call_back(leakpool_pool *pool) {
  struct inside inside = {pool, NULL, PTHREAD_MUTEX_INITIALIZER, 0, 0};
  uint32_t acquires = LEAKPOOL_EVENT_BIT(LEAKPOOL_EVENT_ACQUIRE);
  OK(leakpool_pool_subscribe(pool, acquires, calls_back, &inside, &inside.subscription, &error));
  OK(leakpool_release(pool, acquire(pool), &error));
  AWAIT(is_done(&inside));
  int calls = inside.calls;
  OK(leakpool_release(pool, acquire(pool), &error));
  OK(leakpool_pool_flush_events(pool, 10000, NULL, &error));
  CHECK(inside.calls == calls);

  struct inside last = {small_pool(), NULL, PTHREAD_MUTEX_INITIALIZER, 0, 0};
  OK(leakpool_pool_subscribe(last.pool, LEAKPOOL_EVENT_BIT(LEAKPOOL_EVENT_CONNECT), closes, &last, &last.subscription,
                             &error));
  uint64_t checkout = 0;
  leakpool_status status = LEAKPOOL_ACQUIRE(last.pool, LEAKPOOL_DEFAULT_TIMEOUT, &checkout, NULL);
  CHECK(status == LEAKPOOL_OK || status == LEAKPOOL_POOL_CLOSED);
  AWAIT(is_done(&last));
  leakpool_subscription_free(last.subscription);
}

/* ---- a barrier ---------------------------------------------------------------------------------------------------- */

static pthread_mutex_t slow_lock = PTHREAD_MUTEX_INITIALIZER;
static int slow_running;

static void slow(const leakpool_event *event, void *user_data) {
  (void)event;
  pthread_mutex_lock(&slow_lock);
  slow_running = 1;
  pthread_mutex_unlock(&slow_lock);
  nap(200);
  *(int *)user_data += 1; /* freed by then, if the barrier does not hold */
  pthread_mutex_lock(&slow_lock);
  slow_running = 2;
  pthread_mutex_unlock(&slow_lock);
}

static int slow_state(void) {
  pthread_mutex_lock(&slow_lock);
  int state = slow_running;
  pthread_mutex_unlock(&slow_lock);
  return state;
}

static void unregister_is_a_barrier(leakpool_pool *pool) {
  int *data = calloc(1, sizeof *data);
  leakpool_subscription *subscription = NULL;
  uint32_t acquires = LEAKPOOL_EVENT_BIT(LEAKPOOL_EVENT_ACQUIRE);
  OK(leakpool_pool_subscribe(pool, acquires, slow, data, &subscription, &error));
  OK(leakpool_release(pool, acquire(pool), &error));
  AWAIT(slow_state() == 1);
  leakpool_subscription_free(subscription);
  CHECK(slow_state() == 2);
  free(data);
  OK(leakpool_release(pool, acquire(pool), &error));
  OK(leakpool_pool_flush_events(pool, 10000, NULL, &error));
}

/* ---- close while others wait ------------------------------------------------------------------------------------ */

struct waiter {
  leakpool_pool *pool;
  leakpool_status status;
};

static void *waits(void *argument) {
  struct waiter *waiter = argument;
  uint64_t checkout = 0;
  waiter->status = LEAKPOOL_ACQUIRE(waiter->pool, 0, &checkout, NULL);
  return NULL;
}

static void close_while_others_wait(int by_free) {
  leakpool_pool *pool = small_pool();
  uint64_t one = acquire(pool), two = acquire(pool);
  pthread_t threads[3];
  struct waiter waiters[3];
  for (int i = 0; i < 3; i++) {
    waiters[i] = (struct waiter){pool, LEAKPOOL_OK};
    CHECK(pthread_create(&threads[i], NULL, waits, &waiters[i]) == 0);
  }
  leakpool_pool_status status;
  do {
    nap(5);
    OK(leakpool_pool_get_status(pool, &status, sizeof status, &error));
  } while (status.waiting < 3);
  if (!by_free) {
    leakpool_checkouts *held = NULL;
    OK(leakpool_pool_close(pool, 50, &held, &error));
    CHECK(leakpool_checkouts_count(held) == 2);
    leakpool_checkouts_free(held);
    FAILS(LEAKPOOL_FORCE_RELEASED, "closed", leakpool_release(pool, one, &error));
    FAILS(LEAKPOOL_FORCE_RELEASED, "closed", leakpool_execute(pool, two, "SELECT 1", NULL, 0, NULL, &error));
  }
  leakpool_pool_free(pool);
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], NULL);
    CHECK(waiters[i].status == LEAKPOOL_POOL_CLOSED);
  }
}

/* ---- fork --------------------------------------------------------------------------------------------------------- */

static void forked(leakpool_pool *pool, uint64_t held) {
  leakpool_detector *detector = NULL;
  OK(leakpool_detector_new("forked", NULL, &detector, &error));
  uint64_t checkout = 0;
  OK(LEAKPOOL_CHECK_OUT(detector, NULL, &checkout, &error));
  leakpool_subscription *subscription = NULL;
  OK(leakpool_pool_subscribe(pool, LEAKPOOL_ALL_EVENTS, ignore, NULL, &subscription, &error));
  int told[2];
  char well = 0;
  CHECK(pipe(told) == 0);
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(100);
    uint64_t checkout = 0;
    leakpool_pool_status status;
    leakpool_checkouts *list = NULL;
    char *text = NULL;
    FAILS(LEAKPOOL_FORKED, "fork", LEAKPOOL_ACQUIRE(pool, 0, &checkout, &error));
    FAILS(LEAKPOOL_FORKED, "fork", LEAKPOOL_TRY_ACQUIRE(pool, &checkout, &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_execute(pool, held, "SELECT 1", NULL, 0, NULL, &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_cancel(pool, held, &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_begin(pool, held, NULL, &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_force_release(pool, held, &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_release(pool, held, &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_pool_get_status(pool, &status, sizeof status, &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_pool_checkouts(pool, &list, &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_pool_report(pool, &text, &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_pool_set(pool, "leak_threshold", "1 s", &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_pool_resize(pool, 1, &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_pool_close(pool, 0, NULL, &error));
    FAILS(LEAKPOOL_FORKED, "fork", leakpool_detector_check_in(detector, checkout, &error));
    FAILS(LEAKPOOL_FORKED, "fork", LEAKPOOL_CHECK_OUT(detector, NULL, &checkout, &error));
    leakpool_subscription_free(subscription);
    leakpool_pool_free(pool);
    leakpool_detector_free(detector);
    /* A pool of its own works. */
    leakpool_pool *own = small_pool();
    checkout = acquire(own);
    OK(leakpool_execute(own, checkout, "SELECT 1", NULL, 0, NULL, &error));
    OK(leakpool_release(own, checkout, &error));
    leakpool_pool_free(own);
    CHECK(write(told[1], "w", 1) == 1);
    /* Not by an exit, at which valgrind would look for leaks: what is the parent's stays where it is. */
    kill(getpid(), SIGKILL);
  }
  close(told[1]);
  CHECK(read(told[0], &well, 1) == 1 && well == 'w');
  close(told[0]);
  CHECK(waitpid(child, NULL, 0) == child);
  /* The parent's session is as it was. */
  OK(leakpool_execute(pool, held, "SELECT 1", NULL, 0, NULL, &error));
  leakpool_subscription_free(subscription);
  OK(leakpool_detector_check_in(detector, checkout, &error));
  leakpool_detector_free(detector);
}

/* ---- a panic --------------------------------------------------------------------------------------------------------- */

#ifdef LEAKPOOL_TEST_PANIC
leakpool_status leakpool_test_panic(const char *message, leakpool_error **error);
size_t leakpool_test_panic_plain(void);

static void panics(void) {
  FAILS(LEAKPOOL_PANICKED, "the sky is falling", leakpool_test_panic("the sky is falling", &error));
  CHECK(leakpool_test_panic("nobody looks", NULL) == LEAKPOOL_PANICKED);
  CHECK(leakpool_test_panic_plain() == 0);
}
#else
static void panics(void) {}
#endif

int main(void) {
  leakpool_pool *pool = small_pool();
  uint64_t held = acquire(pool);
  null_for_every_pointer(pool, held);
  wrong_sizes(pool);
  stale_and_forged(pool, held);
  out_of_range(pool, held);
  callbacks_that_call_back(pool);
  unregister_is_a_barrier(pool);
  close_while_others_wait(0);
  close_while_others_wait(1);
  forked(pool, held);
  panics();
  OK(leakpool_release(pool, held, &error));
  leakpool_pool_free(pool);
  return done("bad_input");
}
