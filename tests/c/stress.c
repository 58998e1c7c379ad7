/* Many threads on one pool, and somebody who takes connections away from them: no two callers ever hold one session,
 * and the books balance. */
#include "check.h"

#include <pthread.h>

enum { THREADS = 8, ROUNDS = 40, MOST_TAKEN = 20 };

static leakpool_pool *pool;
static int served, revoked, late;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int stop;

/* Not without end: each connection that is taken away has to be made again, which is slow under valgrind. */
static int stopped(void) {
  pthread_mutex_lock(&lock);
  int now = stop || revoked >= MOST_TAKEN;
  pthread_mutex_unlock(&lock);
  return now;
}

static void *works(void *argument) {
  uintptr_t me = (uintptr_t)argument;
  for (int round = 0; round < ROUNDS; round++) {
    uint64_t checkout = 0;
    OK(LEAKPOOL_ACQUIRE(pool, 0, &checkout, &error));
    char sql[128], expected[32];
    snprintf(expected, sizeof expected, "%d-%d", (int)me, round);
    snprintf(sql, sizeof sql, "SELECT '%s', repeat('x', %d)", expected, round * 100);
    leakpool_result *result = NULL;
    leakpool_status status = leakpool_query(pool, checkout, sql, NULL, 0, LEAKPOOL_TEXT, &result, NULL);
    if (status == LEAKPOOL_OK) {
      CHECK(strcmp(leakpool_result_text(result, 0, 0), expected) == 0);
      CHECK(leakpool_result_length(result, 0, 1) == (size_t)round * 100);
    } else {
      CHECK(status == LEAKPOOL_FORCE_RELEASED && result == NULL);
    }
    leakpool_result_free(result);
    leakpool_status end = round % 20 == 19 ? leakpool_release_broken(pool, checkout, NULL)
                                          : leakpool_release(pool, checkout, NULL);
    CHECK(end == LEAKPOOL_OK || end == LEAKPOOL_FORCE_RELEASED);
    pthread_mutex_lock(&lock);
    served += status == LEAKPOOL_OK;
    late += end == LEAKPOOL_FORCE_RELEASED;
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

static void *takes_away(void *argument) {
  (void)argument;
  while (!stopped()) {
    nap(15);
    leakpool_checkouts *list = NULL;
    OK(leakpool_pool_checkouts(pool, &list, &error));
    const leakpool_checkout_info *first = leakpool_checkouts_get(list, 0);
    if (first != NULL) {
      leakpool_status status = leakpool_force_release(pool, first->checkout, NULL);
      CHECK(status == LEAKPOOL_OK || status == LEAKPOOL_UNKNOWN_CHECKOUT);
      pthread_mutex_lock(&lock);
      revoked += status == LEAKPOOL_OK;
      pthread_mutex_unlock(&lock);
    }
    leakpool_checkouts_free(list);
    char *text = NULL;
    OK(leakpool_pool_report(pool, &text, &error));
    leakpool_string_free(text);
  }
  return NULL;
}

static void count(const leakpool_event *event, void *user_data) {
  CHECK(leakpool_event_text(event) != NULL);
  ++*(int *)user_data;
}

int main(void) {
  leakpool_options options = options_of((const char *[]){"max_size", "4", NULL});
  OK(leakpool_pool_new(dsn(), &options, &pool, &error));
  int events = 0;
  leakpool_subscription *subscription = NULL;
  OK(leakpool_pool_subscribe(pool, LEAKPOOL_ALL_EVENTS, count, &events, &subscription, &error));
  pthread_t threads[THREADS], taker;
  for (uintptr_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, works, (void *)i) == 0);
  CHECK(pthread_create(&taker, NULL, takes_away, NULL) == 0);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  pthread_mutex_lock(&lock);
  stop = 1;
  pthread_mutex_unlock(&lock);
  pthread_join(taker, NULL);
  OK(leakpool_pool_close(pool, LEAKPOOL_DEFAULT_TIMEOUT, NULL, &error));
  leakpool_metrics metrics;
  OK(leakpool_pool_get_metrics(pool, &metrics, sizeof metrics, &error));
  CHECK(metrics.acquired == THREADS * ROUNDS && metrics.active == 0);
  CHECK(metrics.acquired == metrics.released + metrics.force_released + metrics.lost);
  CHECK(metrics.force_released == (uint64_t)revoked && metrics.late_releases == (uint64_t)late && late == revoked);
  leakpool_subscription_free(subscription);
  CHECK(events > 0);
  leakpool_pool_free(pool);
  printf("stress: %d served, %d taken away, %d events\n", served, revoked, events);
  return done("stress");
}
