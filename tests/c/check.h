/* What the C tests share: checks that name their line, the server's address, waiting for a condition. */
#ifndef CHECK_H
#define CHECK_H

#include <leakpool.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int checks_made;

#define CHECK(condition)                                                       \
  do {                                                                         \
    checks_made++;                                                             \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
      exit(1);                                                                 \
    }                                                                          \
  } while (0)

/* The call, whose last argument is &error, succeeds. */
#define OK(call)                                                                                        \
  do {                                                                                                  \
    leakpool_error *error = NULL;                                                                       \
    leakpool_status got_ = (call);                                                                    \
    checks_made++;                                                                                      \
    if (got_ != LEAKPOOL_OK || error != NULL) {                                                       \
      fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, leakpool_status_name((int)got_), \
              leakpool_error_message(error));                                                           \
      exit(1);                                                                                          \
    }                                                                                                   \
  } while (0)

/* The call, whose last argument is &error, fails like that, and its message says so. */
#define FAILS(expected, text, call)                                                                        \
  do {                                                                                                     \
    leakpool_error *error = NULL;                                                                          \
    leakpool_status got_ = (call);                                                                       \
    checks_made++;                                                                                         \
    if (got_ != (expected) || leakpool_error_status(error) != (expected) ||                              \
        strstr(leakpool_error_message(error), (text)) == NULL) {                                           \
      fprintf(stderr, "%s:%d: %s: expected %s (%s), got %s: %s\n", __FILE__, __LINE__, #call,              \
              leakpool_status_name((int)(expected)), (text), leakpool_status_name((int)got_),            \
              leakpool_error_message(error));                                                              \
      exit(1);                                                                                             \
    }                                                                                                      \
    leakpool_error_free(error);                                                                            \
  } while (0)

/* Waits until the condition holds, generously: valgrind is slow. */
#define AWAIT(condition)                             \
  do {                                               \
    int tries_left = 6000;                           \
    while (!(condition) && tries_left-- > 0) nap(10); \
    CHECK(condition);                                \
  } while (0)

static inline void nap(long ms) {
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&time, NULL);
}

static inline const char *dsn(void) {
  const char *url = getenv("DATABASE_URL");
  if (url == NULL) {
    fprintf(stderr, "no DATABASE_URL: run it under tests/with-postgres\n");
    exit(1);
  }
  return url;
}

/* Default options, and some of them set by name: options_of("max_size", "2", NULL). */
static inline leakpool_options options_of(const char *const *names_and_values) {
  leakpool_options options;
  OK(leakpool_options_init(&options, sizeof options, &error));
  for (; *names_and_values != NULL; names_and_values += 2)
    OK(leakpool_options_set(&options, names_and_values[0], names_and_values[1], &error));
  return options;
}

static inline int done(const char *name) {
  /* The library's threads end when their last pool is gone, a moment later than the call returns. */
  nap(300);
  printf("%s: %d checks passed\n", name, checks_made);
  return 0;
}

#endif
