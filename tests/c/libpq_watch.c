/* A program with a pool of its own, of libpq's PGconn, finds its leak through the detector, and gets it back. */
#include "check.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <sys/socket.h>

enum { SIZE = 3 };

struct slot {
  PGconn *connection;
  uint64_t checkout; /* 0: in the pool */
  int reclaimed;
};

static struct slot slots[SIZE];
static leakpool_detector *detector;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* What ends a session that is taken away: cancel, then shut the socket down. PQfinish stays the owner's. */
static void reclaim(uint64_t checkout, const char *reason, void *user_data) {
  struct slot *slot = user_data;
  CHECK(checkout != 0 && (strcmp(reason, "unused") == 0 || strcmp(reason, "manual") == 0));
  PGcancel *cancel = PQgetCancel(slot->connection);
  if (cancel != NULL) {
    char why[256];
    PQcancel(cancel, why, sizeof why);
    PQfreeCancel(cancel);
  }
  shutdown(PQsocket(slot->connection), SHUT_RDWR);
  pthread_mutex_lock(&lock);
  slot->reclaimed++;
  pthread_mutex_unlock(&lock);
}

static int reclaimed(struct slot *slot) {
  pthread_mutex_lock(&lock);
  int times = slot->reclaimed;
  pthread_mutex_unlock(&lock);
  return times;
}

/* The program's own acquire: it passes its caller's line on. */
static struct slot *take_at(const char *file, uint32_t line, const char *function) {
  for (int i = 0; i < SIZE; i++) {
    struct slot *slot = &slots[i];
    if (slot->checkout != 0) continue;
    if (slot->connection == NULL) slot->connection = PQconnectdb(dsn());
    CHECK(PQstatus(slot->connection) == CONNECTION_OK);
    leakpool_check_out options = LEAKPOOL_CHECK_OUT_INIT;
    options.reclaim = reclaim;
    options.user_data = slot;
    options.label = "mine";
    OK(leakpool_detector_check_out_at(detector, &options, file, line, function, &slot->checkout, &error));
    return slot;
  }
  return NULL;
}
#define TAKE() take_at(__FILE__, __LINE__, __func__)

static int run(struct slot *slot, const char *sql) {
  OK(leakpool_detector_executing(detector, slot->checkout, sql, &error));
  PGresult *result = PQexec(slot->connection, sql);
  int ok = PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;
  PQclear(result);
  OK(leakpool_detector_idle(detector, slot->checkout, (int32_t)PQtransactionStatus(slot->connection), &error));
  return ok;
}

static leakpool_status give_back(struct slot *slot) {
  leakpool_status status = leakpool_detector_check_in(detector, slot->checkout, NULL);
  if (status == LEAKPOOL_FORCE_RELEASED) {
    PQfinish(slot->connection);
    slot->connection = NULL;
  }
  slot->checkout = 0;
  return status;
}

static struct slot *forgets(void) {
  struct slot *slot = TAKE();
  CHECK(run(slot, "BEGIN") && run(slot, "SELECT 'forgotten'"));
  return slot;
}

int main(void) {
  leakpool_test_clock *clock = NULL;
  OK(leakpool_test_clock_new(&clock, &error));
  leakpool_options options = options_of((const char *[]){"max_size", "3", "leak_threshold", "5 s",
                                                         "force_release_after", "20 s", NULL});
  OK(leakpool_test_detector_new("mine", &options, clock, &detector, &error));
  CHECK(strcmp(leakpool_detector_name(detector), "mine") == 0);

  struct slot *honest = TAKE();
  CHECK(run(honest, "SELECT 1") && give_back(honest) == LEAKPOOL_OK);

  struct slot *leaked = forgets();
  OK(leakpool_test_clock_advance(clock, 6000, &error));
  leakpool_checkouts *list = NULL;
  size_t found = 0;
  for (int i = 0; i < 3000 && found == 0; i++) {
    nap(10);
    OK(leakpool_detector_leaks(detector, &list, &error));
    found = leakpool_checkouts_count(list);
    if (found == 0) leakpool_checkouts_free(list);
  }
  CHECK(found == 1);
  const leakpool_checkout_info *info = leakpool_checkouts_get(list, 0);
  CHECK(info->checkout == leaked->checkout && strcmp(info->function, "forgets") == 0);
  CHECK(info->activity == LEAKPOOL_IDLE_IN_TRANSACTION && strcmp(info->last_sql, "SELECT 'forgotten'") == 0);
  CHECK(strcmp(info->label, "mine") == 0 && info->line > 0 && info->transaction == LEAKPOOL_TX_OPEN);
  leakpool_checkouts_free(list);
  OK(leakpool_detector_checkouts(detector, &list, &error));
  CHECK(leakpool_checkouts_count(list) == 1);
  leakpool_checkouts_free(list);
  char *report = NULL;
  OK(leakpool_detector_report(detector, &report, &error));
  CHECK(strstr(report, "forgets (") != NULL && strstr(report, "libpq_watch.c:") != NULL);
  leakpool_string_free(report);
  OK(leakpool_detector_openmetrics(detector, &report, &error));
  CHECK(strstr(report, "leakpool_leaks_total") != NULL);
  leakpool_string_free(report);

  /* Taken away: the session ends on the server, the holder is told, and PQfinish is the owner's. */
  OK(leakpool_test_clock_advance(clock, 20000, &error));
  AWAIT(reclaimed(leaked) == 1);
  CHECK(PQstatus(leaked->connection) == CONNECTION_OK);
  PGresult *result = PQexec(leaked->connection, "SELECT 1");
  CHECK(PQresultStatus(result) == PGRES_FATAL_ERROR);
  PQclear(result);
  FAILS(LEAKPOOL_FORCE_RELEASED, "unused",
        leakpool_detector_executing(detector, leaked->checkout, "SELECT 1", &error));
  CHECK(give_back(leaked) == LEAKPOOL_FORCE_RELEASED);

  /* Checked in at the very moment of being taken away: the callback has run, or never will; PQfinish is safe. */
  for (int i = 0; i < 20; i++) {
    struct slot *slot = TAKE();
    CHECK(run(slot, "SELECT 1"));
    int before = reclaimed(slot);
    OK(leakpool_detector_force_release(detector, slot->checkout, &error));
    CHECK(give_back(slot) == LEAKPOOL_FORCE_RELEASED && slot->connection == NULL);
    int after = reclaimed(slot);
    CHECK(after == before || after == before + 1);
    OK(leakpool_detector_flush_events(detector, 10000, NULL, &error));
    CHECK(reclaimed(slot) == after);
  }

  struct slot *again = TAKE();
  uint64_t checkout = again->checkout, none = 0;
  OK(leakpool_detector_owner_ended(detector, checkout, &error));
  FAILS(LEAKPOOL_INVALID_ARGUMENT, "transaction", leakpool_detector_idle(detector, checkout, PQTRANS_ACTIVE, &error));
  FAILS(LEAKPOOL_UNKNOWN_CHECKOUT, "", leakpool_detector_executing(detector, 42, NULL, &error));
  options.leak_threshold_ms = 10000;
  OK(leakpool_detector_reconfigure(detector, &options, &error));
  leakpool_pool_status status;
  OK(leakpool_detector_get_status(detector, &status, sizeof status, &error));
  CHECK(status.max_size == 3 && status.in_use == 1);
  leakpool_metrics metrics;
  OK(leakpool_detector_get_metrics(detector, &metrics, sizeof metrics, &error));
  CHECK(metrics.force_released == 21 && metrics.released == 1 && metrics.active == 1 && metrics.leaks == 1);
  OK(leakpool_detector_close(detector, LEAKPOOL_DEFAULT_TIMEOUT, &list, &error));
  CHECK(leakpool_checkouts_count(list) == 1);
  leakpool_checkouts_free(list);
  FAILS(LEAKPOOL_POOL_CLOSED, "", LEAKPOOL_CHECK_OUT(detector, NULL, &none, &error));
  CHECK(give_back(again) == LEAKPOOL_OK);
  FAILS(LEAKPOOL_ALREADY_RELEASED, "", leakpool_detector_check_in(detector, checkout, &error));
  leakpool_detector_free(detector);
  leakpool_test_clock_free(clock);
  for (int i = 0; i < SIZE; i++) PQfinish(slots[i].connection);
  return done("libpq_watch");
}
