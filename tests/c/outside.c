/* What another caller's program looks like: built outside the repository, with what pkg-config says. Also C++. */
#include <leakpool.h>

#include <stdio.h>
#include <stdlib.h>

int main(void) {
  leakpool_error *error = NULL;
  leakpool_pool *pool = NULL;
  leakpool_result *result = NULL;
  uint64_t checkout = 0;

  leakpool_options options;
  if (leakpool_options_init(&options, sizeof options, &error) == LEAKPOOL_OK &&
      leakpool_options_set(&options, "leak_threshold", "45 s", &error) == LEAKPOOL_OK &&
      leakpool_pool_new(getenv("DATABASE_URL"), &options, &pool, &error) == LEAKPOOL_OK &&
      LEAKPOOL_ACQUIRE(pool, LEAKPOOL_DEFAULT_TIMEOUT, &checkout, &error) == LEAKPOOL_OK) {
    leakpool_param params[1];
    params[0] = leakpool_param_text("world");
    if (leakpool_query(pool, checkout, "SELECT 'hello ' || $1", params, 1, LEAKPOOL_TEXT, &result, &error) == LEAKPOOL_OK)
      printf("%s, from libleakpool %s\n", leakpool_result_text(result, 0, 0), leakpool_version());
  }
  int failed = error != NULL;
  if (failed) fprintf(stderr, "%s\n", leakpool_error_message(error));
  leakpool_error_free(error);
  leakpool_result_free(result);
  if (checkout != 0 && leakpool_release(pool, checkout, NULL) != LEAKPOOL_OK) failed = 1;
  leakpool_pool_free(pool);
  return failed;
}
