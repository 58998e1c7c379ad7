/* Through PgBouncer in transaction mode, with default options: every answer is the right one, and nothing is deleted. */
#include "check.h"

#include <pthread.h>
#include <stdint.h>

#define THREADS 6
#define ROUNDS 60

static leakpool_pool *pool;

/* What was wrong; NULL if nothing was. */
static void *asks(void *given) {
  int n = (int)(intptr_t)given;
  for (int round = 0; round < ROUNDS; round++) {
    leakpool_result *result = NULL;
    uint64_t checkout = 0;
    char key[16], right[16];
    int id = 1 + (round + n) % 100;
    snprintf(key, sizeof key, "%d", n % 2 ? id : 999);
    snprintf(right, sizeof right, "%d", id * 10);
    leakpool_param params[1];
    params[0] = leakpool_param_text(key);
    if (LEAKPOOL_ACQUIRE(pool, LEAKPOOL_DEFAULT_TIMEOUT, &checkout, NULL) != LEAKPOOL_OK) return "no connection";
    const char *sql = n % 2 ? "SELECT v FROM c_safe WHERE id = $1" : "DELETE FROM c_safe WHERE id = $1";
    if (leakpool_query(pool, checkout, sql, params, 1, LEAKPOOL_TEXT, &result, NULL) != LEAKPOOL_OK)
      return "an error of the server";
    if (n % 2 && (leakpool_result_rows(result) != 1 || strcmp(leakpool_result_text(result, 0, 0), right) != 0))
      return "another statement's answer";
    if (n % 2 == 0 && leakpool_result_affected(result) != 0) return "a row was deleted";
    leakpool_result_free(result);
    if (leakpool_release(pool, checkout, NULL) != LEAKPOOL_OK) return "it was not released";
  }
  return NULL;
}

int main(void) {
  leakpool_result *result = NULL;
  uint64_t checkout = 0;
  const char *url = getenv("PGBOUNCER_URL");
  if (url == NULL) {
    fprintf(stderr, "no PGBOUNCER_URL: run it under tests/with-pgbouncer\n");
    return 1;
  }
  OK(leakpool_pool_new(url, NULL, &pool, &error));
  OK(LEAKPOOL_ACQUIRE(pool, LEAKPOOL_DEFAULT_TIMEOUT, &checkout, &error));
  OK(leakpool_script(pool, checkout,
                     "DROP TABLE IF EXISTS c_safe; CREATE TABLE c_safe (id int PRIMARY KEY, v int);"
                     "INSERT INTO c_safe SELECT g, g * 10 FROM generate_series(1, 100) g",
                     &result, &error));
  leakpool_result_free(result);
  OK(leakpool_release(pool, checkout, &error));
  pthread_t threads[THREADS];
  for (int n = 0; n < THREADS; n++) CHECK(pthread_create(&threads[n], NULL, asks, (void *)(intptr_t)n) == 0);
  for (int n = 0; n < THREADS; n++) {
    void *wrong = NULL;
    CHECK(pthread_join(threads[n], &wrong) == 0);
    if (wrong != NULL) fprintf(stderr, "thread %d: %s\n", n, (const char *)wrong);
    CHECK(wrong == NULL);
  }
  OK(LEAKPOOL_ACQUIRE(pool, LEAKPOOL_DEFAULT_TIMEOUT, &checkout, &error));
  OK(leakpool_query(pool, checkout, "SELECT count(*) FROM c_safe", NULL, 0, LEAKPOOL_TEXT, &result, &error));
  CHECK(strcmp(leakpool_result_text(result, 0, 0), "100") == 0);
  leakpool_result_free(result);
  OK(leakpool_release(pool, checkout, &error));
  leakpool_pool_free(pool);
  return done("pooler");
}
