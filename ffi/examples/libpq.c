/* A program with a pool of its own, of libpq's PGconn: leakpool watches it, names the line that leaks, and takes the
 * connection back. DATABASE_URL says where the server is.
 *
 *   cc libpq.c $(pkg-config --cflags --libs leakpool libpq) -o libpq && DATABASE_URL=postgres://app@localhost/shop ./libpq
 */
#include <leakpool.h>
#include <libpq-fe.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static leakpool_detector *detector;

static void must(leakpool_status status, leakpool_error *error) {
  if (status == LEAKPOOL_OK) return;
  fprintf(stderr, "%s\n", leakpool_error_message(error));
  exit(1);
}

/* Ends a session that is taken away: whatever runs is cancelled, the socket is shut down. PQfinish stays the owner's. */
static void reclaim(uint64_t checkout, const char *reason, void *connection) {
  (void)checkout, (void)reason;
  PGcancel *cancel = PQgetCancel(connection);
  char why[256];
  if (cancel != NULL) PQcancel(cancel, why, sizeof why);
  PQfreeCancel(cancel);
  shutdown(PQsocket(connection), SHUT_RDWR);
}

/* This program's acquire, at the line of its caller. (A real one has a list of idle connections here.) */
#define ACQUIRE(checkout) acquire_at(__FILE__, __LINE__, __func__, checkout)

static PGconn *acquire_at(const char *file, uint32_t line, const char *function, uint64_t *checkout) {
  leakpool_error *error = NULL;
  PGconn *connection = PQconnectdb(getenv("DATABASE_URL"));
  if (PQstatus(connection) != CONNECTION_OK) {
    fprintf(stderr, "%s", PQerrorMessage(connection));
    exit(1);
  }
  leakpool_check_out options = LEAKPOOL_CHECK_OUT_INIT;
  options.reclaim = reclaim;
  options.user_data = connection;
  must(leakpool_detector_check_out_at(detector, &options, file, line, function, checkout, &error), error);
  return connection;
}

static void run(PGconn *connection, uint64_t checkout, const char *sql) {
  leakpool_error *error = NULL;
  must(leakpool_detector_executing(detector, checkout, sql, &error), error);
  PQclear(PQexec(connection, sql));
  must(leakpool_detector_idle(detector, checkout, (int32_t)PQtransactionStatus(connection), &error), error);
}

int main(void) {
  leakpool_error *error = NULL;
  leakpool_options options;
  must(leakpool_options_init(&options, sizeof options, &error), error);
  options.leak_threshold_ms = 30000;
  must(leakpool_detector_new("libpq", &options, &detector, &error), error);

  uint64_t honest = 0, leaked = 0;
  PGconn *first = ACQUIRE(&honest), *second = ACQUIRE(&leaked);
  run(first, honest, "SELECT 1");
  run(second, leaked, "SELECT 'nobody gives this one back'");
  must(leakpool_detector_check_in(detector, honest, &error), error);
  PQfinish(first);

  /* Who still holds what, and since when: the line of the second ACQUIRE. */
  char *report = NULL;
  must(leakpool_detector_report(detector, &report, &error), error);
  puts(report);
  leakpool_string_free(report);

  /* Here by hand; in a service it is done after force_release_after_ms. */
  must(leakpool_detector_force_release(detector, leaked, &error), error);
  if (leakpool_detector_check_in(detector, leaked, NULL) == LEAKPOOL_FORCE_RELEASED) puts("it had been taken back");
  must(leakpool_detector_close(detector, 0, NULL, &error), error);
  PQfinish(second);
  leakpool_detector_free(detector);
  return 0;
}
