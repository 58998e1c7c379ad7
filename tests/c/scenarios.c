/* The C runner of tests/scenarios. What the files mean is said there, in README.md.
 *
 *   scenarios [DIRECTORY [WORD]]    all of them, or those whose name has this word in it */
#include "scenario_facts.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 64, LIMIT_MS = 60000 };

/* The steps that C cannot do, and why. A scenario with such a step is skipped, by the step's name. */
static const char *const unsupported[][2] = {
    {"copy_in_open", "the C interface has no COPY"},
    {"read_nothing", "a result is collected as a whole: none can be left unread"},
    {"collect", "C has no collector, and so no handle that it could find unreachable"},
    {"cancel_acquire", "a blocking call cannot be given up by its caller"},
};

struct holder {
  char name[64];
  uint64_t checkout;
  uint32_t pid;
  int holding;
};

struct told {
  leakpool_event_kind kind;
  uint64_t checkout;
  cJSON *facts;
  int matched;
};

struct job {
  char name[64], who[64], place[64], *sql;
  enum { ACQUIRES, QUERIES, CLOSES } what;
  leakpool_acquire_options wanted;
  char *label;
  uint64_t checkout, limit_ms;
  pthread_t thread;
  int done;
  cJSON *seen;
};

static struct {
  leakpool_pool *pool;
  leakpool_test_clock *clock;
  char unique[64], pool_name[80], why[8192];
  struct holder holders[MOST];
  struct job *jobs[MOST];
  struct told *log;
  size_t holder_count, told_count;
} now;

/* Held around the log and the ends of jobs. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static leakpool_pool *admin_pool;
static uint64_t admin;

/* Says why, and is 0. */
static int fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(now.why, sizeof now.why, format, arguments);
  va_end(arguments);
  return 0;
}

static const char *text_of(const cJSON *step, const char *field) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(step, field);
  return cJSON_IsString(item) ? item->valuestring : NULL;
}

static struct holder *holder(const char *name) {
  for (size_t i = 0; i < now.holder_count; i++)
    if (strcmp(now.holders[i].name, name) == 0) return &now.holders[i];
  return NULL;
}

static const char *name_of(uint64_t checkout) {
  for (size_t i = 0; i < now.holder_count; i++)
    if (now.holders[i].checkout == checkout) return now.holders[i].name;
  return "a checkout without a name";
}

/* ---- places: each on a line of its own ------------------------------------------------------------------------------ */

static struct { const char *name; int line; } lines[4];

#define PLACE(number, place)                                                                                       \
  static leakpool_status place(leakpool_pool *pool, leakpool_acquire_options *wanted, uint64_t *checkout,            \
                               leakpool_error **error) {                                                           \
    lines[number].name = #place, lines[number].line = __LINE__;                                                    \
    return LEAKPOOL_ACQUIRE_WITH(pool, wanted, checkout, error);                                                     \
  }
PLACE(0, elsewhere)
PLACE(1, get_user_data)
PLACE(2, process_order)
PLACE(3, complex_operation)

static leakpool_status acquire_in(const char *place, leakpool_acquire_options *wanted, uint64_t *checkout,
                                  leakpool_error **error) {
  if (strcmp(place, "get_user_data") == 0) return get_user_data(now.pool, wanted, checkout, error);
  if (strcmp(place, "process_order") == 0) return process_order(now.pool, wanted, checkout, error);
  if (strcmp(place, "complex_operation") == 0) return complex_operation(now.pool, wanted, checkout, error);
  CHECK(strcmp(place, "elsewhere") == 0);
  return elsewhere(now.pool, wanted, checkout, error);
}

/* ---- events -------------------------------------------------------------------------------------------------------------- */

static void hear(const leakpool_event *event, void *user_data) {
  (void)user_data;
  struct told told = {leakpool_event_get_kind(event), leakpool_event_checkout(event), event_facts(event), 0};
  pthread_mutex_lock(&lock);
  now.log = realloc(now.log, (now.told_count + 1) * sizeof *now.log);
  now.log[now.told_count++] = told;
  pthread_mutex_unlock(&lock);
}

static int look_for(const cJSON *step) {
  const char *kind = text_of(step, "kind"), *of = text_of(step, "of");
  const cJSON *fields = cJSON_GetObjectItemCaseSensitive(step, "fields");
  const struct holder *who = of ? holder(of) : NULL;
  if (of != NULL && who == NULL) return fail("%s has not acquired yet", of);
  int found = fail("it never came");
  pthread_mutex_lock(&lock);
  size_t first = 0;
  for (size_t i = 0; who != NULL && i < now.told_count; i++)
    if (now.log[i].matched && now.log[i].checkout == who->checkout) first = i + 1;
  for (size_t i = 0; i < now.told_count && !found; i++) {
    struct told *told = &now.log[i];
    if (told->matched || strcmp(leakpool_event_kind_name((int32_t)told->kind), kind) != 0) continue;
    if (who != NULL && told->checkout != who->checkout) continue;
    if (i < first) {
      fail("it came before what was expected before it");
    } else if (matches(fields, told->facts, now.why, sizeof now.why)) {
      told->matched = found = 1;
    }
  }
  pthread_mutex_unlock(&lock);
  return found;
}

/* ---- SQL through the extra connection ------------------------------------------------------------------------------- */

static cJSON *run_sql(leakpool_pool *pool, uint64_t checkout, const char *sql) {
  leakpool_result *result = NULL;
  leakpool_error *error = NULL;
  leakpool_status status = leakpool_script(pool, checkout, sql, &result, &error);
  cJSON *facts = outcome_facts(status, error);
  if (status == LEAKPOOL_OK) put_rows(facts, result);
  leakpool_result_free(result);
  return facts;
}

static double admin_rows(const char *sql) {
  cJSON *facts = run_sql(admin_pool, admin, sql);
  const cJSON *rows = cJSON_GetObjectItem(facts, "rows");
  CHECK(rows != NULL);
  double count = rows->valuedouble;
  cJSON_Delete(facts);
  return count;
}

static int has_session(uint32_t pid) {
  char sql[256];
  int length = snprintf(sql, sizeof sql, "SELECT 1 FROM pg_stat_activity WHERE application_name = '%s'", now.pool_name);
  if (pid != 0) snprintf(sql + length, sizeof sql - (size_t)length, " AND pid = %" PRIu32, pid);
  return admin_rows(sql) > 0;
}

/* {unique} and {pid:name} */
static char *fill_in(const char *sql) {
  size_t room = strlen(sql) + 4096, used = 0;
  char *filled = calloc(1, room);
  while (*sql != '\0') {
    char name[64];
    CHECK(used + 128 < room);
    if (strncmp(sql, "{unique}", 8) == 0) {
      used += (size_t)snprintf(filled + used, room - used, "%s", now.unique), sql += 8;
    } else if (sscanf(sql, "{pid:%63[a-z0-9_]}", name) == 1) {
      CHECK(holder(name) != NULL);
      used += (size_t)snprintf(filled + used, room - used, "%" PRIu32, holder(name)->pid), sql = strchr(sql, '}') + 1;
    } else {
      filled[used++] = *sql++;
    }
  }
  return filled;
}

/* ---- polling ---------------------------------------------------------------------------------------------------------------- */

static int eventually(int (*look)(const cJSON *step), const cJSON *step) {
  for (int left = LIMIT_MS / 2; left > 0; left--) {
    if (look(step)) return 1;
    nap(2);
  }
  return 0;
}

static double number_in(cJSON *(*facts_of)(leakpool_pool *), const char *name) {
  cJSON *facts = facts_of(now.pool);
  const cJSON *item = cJSON_GetObjectItem(facts, name);
  double number = cJSON_IsBool(item) ? cJSON_IsTrue(item) : item->valuedouble;
  cJSON_Delete(facts);
  return number;
}

static uint64_t rounds(void) {
  leakpool_metrics metrics;
  OK(leakpool_pool_get_metrics(now.pool, &metrics, sizeof metrics, &error));
  return metrics.sweep_time.count;
}

/* The sweeper has judged every checkout at the time that the clock shows, and everything told was received. */
static int settle(void) {
  for (int i = 0; i < 2; i++) {
    if (number_in(status_facts, "closed") != 0 || number_in(status_facts, "in_use") == 0) break;
    uint64_t before = rounds();
    leakpool_options options;
    OK(leakpool_pool_options(now.pool, &options, sizeof options, &error));
    OK(leakpool_pool_reconfigure(now.pool, &options, &error));
    AWAIT(rounds() > before || number_in(status_facts, "in_use") == 0);
  }
  int told = 0;
  OK(leakpool_pool_flush_events(now.pool, LIMIT_MS, &told, &error));
  return told || fail("events are queued and not told");
}

static const leakpool_checkout_info *find(const leakpool_checkouts *list, uint64_t checkout) {
  for (size_t i = 0; i < leakpool_checkouts_count(list); i++)
    if (leakpool_checkouts_get(list, i)->checkout == checkout) return leakpool_checkouts_get(list, i);
  return NULL;
}

#include "scenario_jobs.h"

/* ---- the steps ---------------------------------------------------------------------------------------------------------------- */

#include "scenario_expect.h"

/* An option as its text: durations are in milliseconds. */
static void set_option(leakpool_options *options, const cJSON *value) {
  static const char *const plain[] = {"max_size", "min_idle", "max_uses", "max_waiting", "max_leaks_before_alert", "stack_depth",
                                      "utilization_warning", NULL};
  char text[64];
  int is_plain = 0;
  for (int i = 0; plain[i] != NULL; i++) is_plain |= strcmp(plain[i], value->string) == 0;
  if (cJSON_IsString(value))
    snprintf(text, sizeof text, "%s", value->valuestring);
  else if (cJSON_IsBool(value))
    snprintf(text, sizeof text, "%s", cJSON_IsTrue(value) ? "true" : "false");
  else
    snprintf(text, sizeof text, is_plain ? "%.10g" : "%.10g ms", value->valuedouble);
  OK(leakpool_options_set(options, value->string, text, &error));
}

static int simple(const cJSON *step, leakpool_status (*call)(const leakpool_pool *, uint64_t, leakpool_error **),
                  const char *name) {
  leakpool_error *error = NULL;
  const struct holder *who = holder(name);
  if (who == NULL) return fail("%s has not acquired yet", name);
  leakpool_status status = call(now.pool, who->checkout, &error);
  return check_outcome(cJSON_GetObjectItem(step, "expect"), outcome_facts(status, error));
}

static int acquire_step(const cJSON *step) {
  struct job *job = calloc(1, sizeof *job);
  const leakpool_acquire_options wanted = LEAKPOOL_ACQUIRE_OPTIONS_INIT;
  const cJSON *ms;
  job->what = ACQUIRES, job->wanted = wanted;
  snprintf(job->who, sizeof job->who, "%s", text_of(step, "as"));
  snprintf(job->place, sizeof job->place, "%s", text_of(step, "in") ? text_of(step, "in") : "elsewhere");
  if (text_of(step, "label") != NULL) {
    job->label = strdup(text_of(step, "label"));
    job->wanted.label = job->label;
  }
  if ((ms = cJSON_GetObjectItem(step, "timeout_ms")) != NULL) job->wanted.timeout_ms = (uint64_t)ms->valuedouble;
  if ((ms = cJSON_GetObjectItem(step, "expected_ms")) != NULL)
    job->wanted.expected_duration_ms = (uint64_t)ms->valuedouble;
  return run_job(job, step);
}

/* What a released holder releases again: over already, or taken away before. */
static int released(const cJSON *step, leakpool_status (*call)(const leakpool_pool *, uint64_t, leakpool_error **)) {
  struct holder *who = holder(text_of(step, "name"));
  if (who == NULL || !who->holding) return fail("it holds no connection");
  who->holding = 0;
  leakpool_status status = call(now.pool, who->checkout, NULL);
  return status == LEAKPOOL_OK || status == LEAKPOOL_FORCE_RELEASED || fail("%s", leakpool_status_name((int32_t)status));
}

static int step_does(const cJSON *step) {
  const char *what = text_of(step, "do");
  const cJSON *expect = cJSON_GetObjectItem(step, "expect");
#define IS(name) (strcmp(what, name) == 0)
  if (IS("acquire")) return acquire_step(step);
  if (IS("try_acquire")) {
    uint64_t checkout = 0;
    leakpool_error *error = NULL;
    leakpool_status status = LEAKPOOL_TRY_ACQUIRE(now.pool, &checkout, &error);
    return acquired(text_of(step, "as"), checkout, expect, outcome_facts(status, error));
  }
  if (IS("release")) return released(step, leakpool_release);
  if (IS("release_broken")) return released(step, leakpool_release_broken);
  if (IS("release_again")) return simple(step, leakpool_release, text_of(step, "name"));
  if (IS("forget")) return holder(text_of(step, "name"))->holding = 0, 1;
  if (IS("query") || IS("query_released")) {
    const struct holder *on = holder(text_of(step, "on"));
    if (on == NULL) return fail("it has not acquired yet");
    struct job *job = calloc(1, sizeof *job);
    job->what = QUERIES, job->checkout = on->checkout, job->sql = fill_in(text_of(step, "sql"));
    snprintf(job->who, sizeof job->who, "%s", on->name);
    return run_job(job, step);
  }
  if (IS("close")) {
    const cJSON *within = cJSON_GetObjectItem(step, "within_ms");
    struct job *job = calloc(1, sizeof *job);
    job->what = CLOSES, job->limit_ms = within ? (uint64_t)within->valuedouble : LEAKPOOL_DEFAULT_TIMEOUT;
    return run_job(job, step);
  }
  if (IS("cancel")) return simple(step, leakpool_cancel, text_of(step, "on"));
  if (IS("prove")) return simple(step, leakpool_prove_leaked, text_of(step, "name"));
  if (IS("owner_ended")) return simple(step, leakpool_owner_ended, text_of(step, "name"));
  if (IS("force_release")) return simple(step, leakpool_force_release, text_of(step, "name"));
  if (IS("advance"))
    return leakpool_test_clock_advance(now.clock, (uint64_t)cJSON_GetObjectItem(step, "ms")->valuedouble, NULL) == 0;
  if (IS("await")) {
    struct job **job = job_named(text_of(step, "background")), *ended;
    if (job == NULL) return fail("nothing runs under that name");
    ended = *job, *job = NULL;
    return end_job(ended, expect);
  }
  if (IS("reconfigure")) {
    leakpool_options options;
    const cJSON *option;
    leakpool_error *error = NULL;
    OK(leakpool_pool_options(now.pool, &options, sizeof options, &error));
    cJSON_ArrayForEach(option, cJSON_GetObjectItem(step, "options")) set_option(&options, option);
    leakpool_status status = leakpool_pool_reconfigure(now.pool, &options, &error);
    return check_outcome(expect, outcome_facts(status, error));
  }
  if (IS("resize")) {
    leakpool_error *error = NULL;
    size_t size = (size_t)cJSON_GetObjectItem(step, "max_size")->valuedouble;
    leakpool_status status = leakpool_pool_resize(now.pool, size, &error);
    return check_outcome(expect, outcome_facts(status, error));
  }
  if (IS("sql_admin")) {
    char *sql = fill_in(text_of(step, "sql"));
    cJSON *seen = run_sql(admin_pool, admin, sql);
    free(sql);
    return check_outcome(expect, seen);
  }
  if (IS("expect_event")) return eventually(look_for, step);
  if (IS("expect_no_event")) return nothing_came(step);
  if (IS("expect_pending")) {
    struct job **job = job_named(text_of(step, "background"));
    if (job == NULL) return fail("nothing runs under that name");
    return settle() && (!is_done(*job) || fail("it has come to an end"));
  }
  if (IS("expect_status")) return eventually(status_is, step);
  if (IS("expect_metrics")) return eventually(metrics_are, step);
  if (IS("expect_checkout")) return eventually(checkout_is, step);
  if (IS("expect_holders")) return eventually(holders_are, step);
  if (IS("expect_report")) return eventually(report_says, step);
  if (IS("server_session_waits")) return eventually(session_waits, step);
  if (IS("server_session_gone")) return eventually(session_is_gone, step);
  if (IS("expect_session")) {
    uint32_t pid = holder(text_of(step, "of"))->pid;
    const char *same_as = text_of(step, "same_as"), *other_than = text_of(step, "other_than");
    if (same_as != NULL && holder(same_as)->pid != pid) return fail("they have different sessions");
    return other_than == NULL || holder(other_than)->pid != pid || fail("they have the same session");
  }
  return fail("this runner does not know the step %s", what);
}

/* ---- a scenario ------------------------------------------------------------------------------------------------------------------ */

/* A step that C cannot do, and why; NULL if it can do all. */
static const char *cannot(const cJSON *steps, const char **why) {
  const cJSON *step, *later;
  cJSON_ArrayForEach(step, steps) {
    const char *what = text_of(step, "do"), *background = text_of(step, "background");
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
      if (strcmp(what, unsupported[i][0]) == 0) return *why = unsupported[i][1], what;
    if (strcmp(what, "query") != 0 || background == NULL) continue;
    for (later = step->next; later != NULL; later = later->next) {
      const char *does = text_of(later, "do"), *name = text_of(later, "name"), *awaited = text_of(later, "background");
      if (strcmp(does, "await") == 0 && strcmp(awaited, background) == 0) break;
      if (name != NULL && strncmp(does, "release", 7) == 0 && strcmp(name, text_of(step, "on")) == 0) {
        *why = "while a call waits for a statement, a release is put off until it has returned";
        return does;
      }
    }
  }
  return NULL;
}

/* Where the pool connects to. *listener is kept open until the end. */
static void target(const char *kind, char *url, size_t room, int *listener) {
  *listener = -1;
  if (kind == NULL || strcmp(kind, "default") == 0) {
    snprintf(url, room, "%s", dsn());
  } else if (strcmp(kind, "limited") == 0) {
    char sql[256];
    snprintf(sql, sizeof sql, "CREATE ROLE %s LOGIN PASSWORD '%s' CONNECTION LIMIT 1", now.unique, now.unique);
    admin_rows(sql);
    const char *host = strrchr(dsn(), '@');
    CHECK(host != NULL);
    snprintf(url, room, "postgres://%s:%s%s", now.unique, now.unique, host);
  } else {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    *listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(*listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(*listener, 16) == 0);
    CHECK(getsockname(*listener, (struct sockaddr *)&address, &length) == 0);
    snprintf(url, room, "host=127.0.0.1 port=%d user=nobody sslmode=disable", ntohs(address.sin_port));
    if (strcmp(kind, "refused") == 0) close(*listener), *listener = -1;
  }
}

/* Gives everything back, closes the pool, and checks what is true of every pool that was closed. */
static int ends_well(void) {
  if (number_in(status_facts, "closed") == 0) leakpool_pool_close(now.pool, 0, NULL, NULL);
  for (int i = 0; i < MOST; i++) {
    if (now.jobs[i] == NULL) continue;
    /* A close with honest holders lasts as long as they hold. */
    for (size_t h = 0; h < now.holder_count; h++) leakpool_force_release(now.pool, now.holders[h].checkout, NULL);
    pthread_join(now.jobs[i]->thread, NULL);
    cJSON_Delete(now.jobs[i]->seen);
    free_job(now.jobs[i]);
    now.jobs[i] = NULL;
  }
  for (size_t i = 0; i < now.holder_count; i++)
    if (now.holders[i].holding) leakpool_release(now.pool, now.holders[i].checkout, NULL);
  leakpool_metrics m;
  OK(leakpool_pool_get_metrics(now.pool, &m, sizeof m, &error));
  if (m.active != 0 || m.acquired != m.released + m.force_released + m.lost) return fail("the books do not balance");
  if (m.status.leaked_now != 0 || m.events_dropped != 0) return fail("flagged or dropped after the end");
  for (int left = LIMIT_MS / 5; left > 0 && has_session(0); left--) nap(5);
  return !has_session(0) || fail("the server still has sessions of the pool");
}

static int play(const cJSON *scenario) {
  static int count;
  char url[512];
  int listener, fits = 1, number = 0;
  snprintf(now.unique, sizeof now.unique, "c%d_%d", (int)getpid(), count++);
  snprintf(now.pool_name, sizeof now.pool_name, "scenario-%s", now.unique);
  target(text_of(scenario, "server"), url, sizeof url, &listener);
  leakpool_options options;
  OK(leakpool_options_init(&options, sizeof options, &error));
  OK(leakpool_options_set(&options, "name", now.pool_name, &error));
  const cJSON *item;
  cJSON_ArrayForEach(item, cJSON_GetObjectItem(scenario, "pool")) set_option(&options, item);
  OK(leakpool_test_clock_new(&now.clock, &error));
  OK(leakpool_test_pool_new(url, &options, now.clock, &now.pool, &error));
  leakpool_subscription *subscription = NULL;
  OK(leakpool_pool_subscribe(now.pool, LEAKPOOL_ALL_EVENTS, hear, NULL, &subscription, &error));

  char first[9000] = "";
  cJSON_ArrayForEach(item, cJSON_GetObjectItem(scenario, "steps")) {
    number++;
    if (fits && !step_does(item)) {
      char *step = cJSON_PrintUnformatted(item);
      snprintf(first, sizeof first, "step %d %.600s\n  %s", number, step, now.why);
      cJSON_free(step);
      fits = 0;
    }
  }
  if (!ends_well() && fits) fits = 0, snprintf(first, sizeof first, "at the end: %.8000s", now.why);
  leakpool_subscription_free(subscription);
  leakpool_pool_free(now.pool);
  leakpool_test_clock_free(now.clock);
  cJSON_ArrayForEach(item, cJSON_GetObjectItem(scenario, "cleanup")) {
    char *sql = fill_in(item->valuestring);
    cJSON_Delete(run_sql(admin_pool, admin, sql));
    free(sql);
  }
  if (text_of(scenario, "server") && strcmp(text_of(scenario, "server"), "limited") == 0) {
    char sql[128];
    snprintf(sql, sizeof sql, "DROP ROLE %s", now.unique);
    admin_rows(sql);
  }
  if (listener >= 0) close(listener);
  for (size_t i = 0; i < now.told_count; i++) cJSON_Delete(now.log[i].facts);
  free(now.log);
  memset(&now, 0, sizeof now);
  memcpy(now.why, first, sizeof now.why - 1);
  return fits;
}

static char *read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
  long size = ftell(file);
  char *text = calloc(1, (size_t)size + 1);
  rewind(file);
  CHECK(fread(text, 1, (size_t)size, file) == (size_t)size);
  fclose(file);
  return text;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

int main(int argc, char **argv) {
  const char *directory = argc > 1 ? argv[1] : "tests/scenarios";
  leakpool_options options = options_of((const char *[]){"max_size", "1", "leak_threshold", "0", "force_release_after", "0",
                                                         "name", "scenarios-admin", NULL});
  OK(leakpool_pool_new(dsn(), &options, &admin_pool, &error));
  OK(LEAKPOOL_ACQUIRE(admin_pool, LEAKPOOL_DEFAULT_TIMEOUT, &admin, &error));
  struct dirent **files = NULL;
  int found = scandir(directory, &files, NULL, by_name), passed = 0, failed = 0, skipped = 0;
  CHECK(found > 0);
  for (int i = 0; i < found; i++) {
    char *name = files[i]->d_name, *dot = strrchr(name, '.'), path[1024];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (dot != NULL && strcmp(dot, ".json") == 0 && strcmp(name, "schema.json") != 0 &&
        (argc < 3 || strstr(name, argv[2]) != NULL)) {
      char *text = read_file(path);
      cJSON *scenario = cJSON_Parse(text);
      CHECK(scenario != NULL);
      const char *why = NULL, *step = cannot(cJSON_GetObjectItem(scenario, "steps"), &why);
      if (step != NULL) {
        printf("skipped %.*s: %s: %s\n", (int)(dot - name), name, step, why);
        skipped++;
      } else if (play(scenario)) {
        passed++;
      } else {
        printf("FAILED %.*s: %s\n", (int)(dot - name), name, now.why);
        failed++;
      }
      cJSON_Delete(scenario);
      free(text);
    }
    free(files[i]);
  }
  free(files);
  OK(leakpool_release(admin_pool, admin, &error));
  leakpool_pool_free(admin_pool);
  printf("scenarios: %d passed, %d failed, %d skipped\n", passed, failed, skipped);
  return done("scenarios"), failed != 0 || passed == 0;
}
