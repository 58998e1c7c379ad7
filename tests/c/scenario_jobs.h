/* Outcomes of steps, and what goes on in the background. A part of scenarios.c. */
/* ---- outcomes and jobs ------------------------------------------------------------------------------------------------------ */

/* Checks and frees an outcome; one about which nothing is expected has to be a success. */
static int check_outcome(const cJSON *expect, cJSON *seen) {
  cJSON *all = expect ? cJSON_Duplicate(expect, 1) : cJSON_CreateObject();
  if (cJSON_GetObjectItem(all, "error") == NULL) cJSON_AddNullToObject(all, "error");
  int fits = matches(all, seen, now.why, sizeof now.why);
  cJSON_Delete(all);
  cJSON_Delete(seen);
  return fits;
}

static int acquired(const char *name, uint64_t checkout, const cJSON *expect, cJSON *seen) {
  if (checkout != 0) {
    struct holder *who = holder(name);
    if (who == NULL) {
      CHECK(now.holder_count < MOST);
      who = &now.holders[now.holder_count++];
    }
    snprintf(who->name, sizeof who->name, "%s", name);
    pthread_mutex_lock(&lock);
    who->checkout = checkout, who->holding = 1;
    pthread_mutex_unlock(&lock);
    leakpool_backend_pid(now.pool, checkout, &who->pid, NULL);
  }
  return check_outcome(expect, seen);
}

static int is_ready_again(const cJSON *step) {
  const char *on = text_of(step, "on");
  leakpool_checkouts *list = NULL;
  OK(leakpool_pool_checkouts(now.pool, &list, &error));
  const leakpool_checkout_info *info = find(list, holder(on)->checkout);
  int ready = info == NULL || info->executing_ms == LEAKPOOL_NONE || fail("the session is not ready again");
  leakpool_checkouts_free(list);
  return ready;
}

static void *work(void *argument) {
  struct job *job = argument;
  cJSON *seen = NULL;
  leakpool_error *error = NULL;
  if (job->what == ACQUIRES) {
    leakpool_status status = acquire_in(job->place, &job->wanted, &job->checkout, &error);
    seen = outcome_facts(status, error);
  } else if (job->what == QUERIES) {
    seen = run_sql(now.pool, job->checkout, job->sql);
  } else {
    leakpool_checkouts *held = NULL;
    leakpool_status status = leakpool_pool_close(now.pool, job->limit_ms, &held, &error);
    seen = outcome_facts(status, error);
    put_ids(seen, "holders", held);
    leakpool_checkouts_free(held);
  }
  pthread_mutex_lock(&lock);
  job->seen = seen, job->done = 1;
  pthread_mutex_unlock(&lock);
  return NULL;
}

static int is_done(const struct job *job) {
  pthread_mutex_lock(&lock);
  int done = job->done;
  pthread_mutex_unlock(&lock);
  return done;
}

static void free_job(struct job *job) {
  free(job->sql), free(job->label), free(job);
}

/* Runs a job on a thread, and waits for its end unless it has a name. */
static int run_job(struct job *job, const cJSON *step);

static int end_job(struct job *job, const cJSON *expect) {
  for (int left = LIMIT_MS; left > 0 && !is_done(job); left--) nap(1);
  if (!is_done(job)) return fail("it did not come to an end");
  pthread_join(job->thread, NULL);
  int failed = !cJSON_IsNull(cJSON_GetObjectItem(job->seen, "error")), fits;
  if (job->what == ACQUIRES)
    fits = acquired(job->who, job->checkout, expect, job->seen);
  else
    fits = check_outcome(expect, job->seen);
  if (fits && failed && job->what == QUERIES) {
    /* An error reaches its caller before the session is ready again, and time must not pass in between. */
    cJSON *on = cJSON_CreateObject();
    cJSON_AddStringToObject(on, "on", job->who);
    fits = eventually(is_ready_again, on);
    cJSON_Delete(on);
  }
  free_job(job);
  return fits;
}

static int run_job(struct job *job, const cJSON *step) {
  const char *background = text_of(step, "background");
  CHECK(pthread_create(&job->thread, NULL, work, job) == 0);
  if (background == NULL) return end_job(job, cJSON_GetObjectItem(step, "expect"));
  snprintf(job->name, sizeof job->name, "%s", background);
  for (int i = 0; i < MOST; i++)
    if (now.jobs[i] == NULL) return now.jobs[i] = job, 1;
  return fail("too many jobs");
}

static struct job **job_named(const char *name) {
  for (int i = 0; i < MOST; i++)
    if (now.jobs[i] != NULL && strcmp(now.jobs[i]->name, name) == 0) return &now.jobs[i];
  return NULL;
}
