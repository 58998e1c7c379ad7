/* leakpool_log_set: what no status and no event says reaches a callback of C. A leak in words, a force release, a warning,
 * and the text of a panic behind a function without a status. */
#include "check.h"

#include <pthread.h>

#define MOST 64

struct seen {
  pthread_mutex_t lock;
  int count, from_within;
  int levels[MOST];
  char lines[MOST][512];
};

static void take(int level, const char *message, void *user_data) {
  struct seen *seen = user_data;
  pthread_mutex_lock(&seen->lock);
  if (seen->count < MOST) {
    seen->levels[seen->count] = level;
    snprintf(seen->lines[seen->count], sizeof seen->lines[0], "%s", message);
    seen->count++;
  }
  seen->from_within = (int)leakpool_log_set(NULL, LEAKPOOL_LOG_OFF, NULL, NULL);
  pthread_mutex_unlock(&seen->lock);
}

/* The level of the first line that holds both texts; -1 if there is none yet. */
static int level_of(struct seen *seen, const char *one, const char *other) {
  int level = -1;
  pthread_mutex_lock(&seen->lock);
  for (int i = 0; i < seen->count && level < 0; i++)
    if (strstr(seen->lines[i], one) != NULL && strstr(seen->lines[i], other) != NULL) level = seen->levels[i];
  pthread_mutex_unlock(&seen->lock);
  return level;
}

static int count(struct seen *seen) {
  pthread_mutex_lock(&seen->lock);
  int count = seen->count;
  pthread_mutex_unlock(&seen->lock);
  return count;
}

#ifdef LEAKPOOL_TEST_PANIC
size_t leakpool_test_panic_plain(void);

static void panics(struct seen *seen) {
  CHECK(leakpool_test_panic_plain() == 0);
  CHECK(level_of(seen, "leakpool panicked", "behind a function without a status") == LEAKPOOL_LOG_ERROR);
}
#else
static void panics(struct seen *seen) { (void)seen; }
#endif

int main(void) {
  static struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
  FAILS(LEAKPOOL_INVALID_ARGUMENT, "level must be a leakpool_log_level", leakpool_log_set(take, 6, &seen, &error));
  FAILS(LEAKPOOL_INVALID_ARGUMENT, "level must be a leakpool_log_level", leakpool_log_set(take, -1, &seen, &error));
  OK(leakpool_log_set(take, LEAKPOOL_LOG_WARN, &seen, &error));

  leakpool_test_clock *clock = NULL;
  OK(leakpool_test_clock_new(&clock, &error));
  leakpool_options options = options_of((const char *[]){"name", "logged", "max_size", "2", "leak_threshold", "10 s",
                                                         "force_release_after", "60 s", NULL});
  leakpool_pool *pool = NULL;
  OK(leakpool_test_pool_new(dsn(), &options, clock, &pool, &error));
  uint64_t leaked = 0, held = 0;
  OK(LEAKPOOL_ACQUIRE(pool, LEAKPOOL_DEFAULT_TIMEOUT, &leaked, &error));
  OK(leakpool_test_clock_advance(clock, 11000, &error));
  AWAIT(level_of(&seen, "connection leak", "log.c:") == LEAKPOOL_LOG_ERROR);
  OK(leakpool_test_clock_advance(clock, 50000, &error));
  AWAIT(level_of(&seen, "a connection was taken back", "log.c:") == LEAKPOOL_LOG_WARN);
  panics(&seen);

  CHECK(seen.from_within == LEAKPOOL_UNSUPPORTED);

  /* A warning that no event says. */
  OK(LEAKPOOL_ACQUIRE(pool, LEAKPOOL_DEFAULT_TIMEOUT, &held, &error));
  OK(leakpool_pool_close(pool, 0, NULL, &error));
  AWAIT(level_of(&seen, "closed while a checkout was held", "") == LEAKPOOL_LOG_WARN);

  /* Another callback, and then none: the first one hears no more. */
  static struct seen other = {.lock = PTHREAD_MUTEX_INITIALIZER};
  OK(leakpool_log_set(take, LEAKPOOL_LOG_TRACE, &other, &error));
  int before = count(&seen);
  leakpool_pool_free(pool);
  pool = NULL;
  OK(leakpool_test_pool_new(dsn(), &options, clock, &pool, &error));
  OK(LEAKPOOL_ACQUIRE(pool, LEAKPOOL_DEFAULT_TIMEOUT, &held, &error));
  OK(leakpool_release(pool, held, &error));
  OK(leakpool_pool_close(pool, 0, NULL, &error));
  CHECK(level_of(&other, "", "") != -1 && count(&seen) == before);
  OK(leakpool_log_set(NULL, LEAKPOOL_LOG_OFF, NULL, &error));
  before = count(&other);
#ifdef LEAKPOOL_TEST_PANIC
  CHECK(leakpool_test_panic_plain() == 0);
#endif
  CHECK(count(&other) == before);
  leakpool_pool_free(pool);
  leakpool_test_clock_free(clock);
  return done("log");
}
