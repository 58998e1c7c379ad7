/* A program that is wrong on purpose: it reads a result that it has freed. A sanitizer that is on must say so. */
#include "check.h"

int main(void) {
  leakpool_pool *pool = NULL;
  uint64_t checkout = 0;
  leakpool_result *result = NULL;
  OK(leakpool_pool_new(dsn(), NULL, &pool, &error));
  OK(LEAKPOOL_ACQUIRE(pool, LEAKPOOL_DEFAULT_TIMEOUT, &checkout, &error));
  OK(leakpool_query(pool, checkout, "SELECT 'gone'", NULL, 0, LEAKPOOL_TEXT, &result, &error));
  const char *text = leakpool_result_text(result, 0, 0);
  leakpool_result_free(result);
  return text[0] == 'g';
}
