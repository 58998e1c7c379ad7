/* The story of a leak, in C: five connections, and a function that forgets to release on one path.
 *
 * `make demo-c` runs it against a throw-away server. As a test it checks what it tells. */
#include "check.h"

#include <pthread.h>

enum { CONNECTIONS = 5 };

/* In a test (any argument), time is moved by hand, so that a slow machine tells the same story. */
static leakpool_test_clock *by_hand;

static void pass(uint64_t ms) {
  if (by_hand == NULL)
    nap((long)ms);
  else
    OK(leakpool_test_clock_advance(by_hand, ms, &error));
}

/* Lets the time-out of whoever waits for a connection pass. */
static void *pass_once_somebody_waits(void *pool) {
  leakpool_pool_status status;
  do {
    nap(5);
    OK(leakpool_pool_get_status(pool, &status, sizeof status, &error));
  } while (status.waiting == 0);
  pass(1000);
  return NULL;
}

static void told(const leakpool_event *event, void *user_data) {
  (void)user_data;
  printf("\n[%s] %s\n", leakpool_event_kind_name((int)leakpool_event_get_kind(event)), leakpool_event_text(event));
}

/* Finds the user. There is a way out that does not pass the release. */
static int get_user_data(leakpool_pool *pool, int user) {
  leakpool_error *error = NULL;
  uint64_t checkout;
  if (LEAKPOOL_ACQUIRE(pool, 1000, &checkout, &error) != LEAKPOOL_OK) {
    printf("\nget_user_data(%d) gets no connection:\n%s\n", user, leakpool_error_message(error));
    CHECK(strcmp(leakpool_error_diagnosis(error), "leak") == 0);
    leakpool_error_free(error);
    return -1;
  }
  leakpool_param params[] = {leakpool_param_text(user % 2 ? "ann" : "bob")};
  leakpool_result *result = NULL;
  OK(leakpool_query(pool, checkout, "SELECT length($1::text) AS id", params, 1, LEAKPOOL_TEXT, &result, &error));
  int id = atoi(leakpool_result_text(result, 0, 0));
  leakpool_result_free(result);
  if (id == 3) return id; /* The leak: an early return. */
  OK(leakpool_release(pool, checkout, &error));
  return id;
}

int main(int argc, char **argv) {
  (void)argv;
  const char *const set[] = {"name", "orders", "max_size", "5", "leak_threshold", "1 s", "force_release_after", "3 s",
                             "max_leaks_before_alert", "5", NULL};
  leakpool_options options = options_of(set);
  leakpool_pool *pool = NULL;
  if (argc == 1) {
    OK(leakpool_pool_new(dsn(), &options, &pool, &error));
  } else {
    OK(leakpool_test_clock_new(&by_hand, &error));
    OK(leakpool_test_pool_new(dsn(), &options, by_hand, &pool, &error));
  }
  leakpool_subscription *subscription = NULL;
  uint32_t kinds = LEAKPOOL_EVENT_BIT(LEAKPOOL_EVENT_LEAKS_DETECTED) | LEAKPOOL_EVENT_BIT(LEAKPOOL_EVENT_FORCE_RELEASE);
  OK(leakpool_pool_subscribe(pool, kinds, told, NULL, &subscription, &error));

  printf("A pool of %d connections, libleakpool %s. Every call of get_user_data() forgets its connection.\n",
         CONNECTIONS, leakpool_version());
  for (int user = 0; user < CONNECTIONS; user++) CHECK(get_user_data(pool, user) == 3);

  printf("\nThe sixth call finds the pool empty. No query runs; the connections are just gone:\n");
  pass(1200);
  pthread_t helper;
  if (by_hand != NULL) CHECK(pthread_create(&helper, NULL, pass_once_somebody_waits, pool) == 0);
  CHECK(get_user_data(pool, 5) == -1);
  if (by_hand != NULL) pthread_join(helper, NULL);

  char *report = NULL;
  OK(leakpool_pool_report(pool, &report, &error));
  printf("\nThe report says who has them:\n\n%s\n", report);
  CHECK(strstr(report, "get_user_data") != NULL && strstr(report, "story.c:") != NULL);
  leakpool_string_free(report);

  printf("After force_release_after, they are taken back, and the pool serves again:\n");
  leakpool_metrics metrics;
  memset(&metrics, 0, sizeof metrics);
  if (by_hand != NULL) pass(3000);
  for (int i = 0; i < 1000 && metrics.force_released < CONNECTIONS; i++) {
    nap(20);
    OK(leakpool_pool_get_metrics(pool, &metrics, sizeof metrics, &error));
  }
  CHECK(metrics.force_released == CONNECTIONS && metrics.leaks == CONNECTIONS);
  uint64_t checkout;
  OK(LEAKPOOL_ACQUIRE(pool, 5000, &checkout, &error));
  OK(leakpool_execute(pool, checkout, "SELECT 1", NULL, 0, NULL, &error));
  OK(leakpool_release(pool, checkout, &error));
  leakpool_pool_status status;
  OK(leakpool_pool_get_status(pool, &status, sizeof status, &error));
  printf("\n%d of %d connections are in use; %d leaks, %d taken back. The end.\n", (int)status.in_use,
         (int)status.max_size, (int)metrics.leaks, (int)metrics.force_released);
  CHECK(status.in_use == 0);

  OK(leakpool_pool_close(pool, LEAKPOOL_DEFAULT_TIMEOUT, NULL, &error));
  leakpool_subscription_free(subscription);
  leakpool_pool_free(pool);
  leakpool_test_clock_free(by_hand);
  return done("story");
}
