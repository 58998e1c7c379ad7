/* What a scenario expects to see. A part of scenarios.c. */
static int status_is(const cJSON *step) {
  cJSON *seen = status_facts(now.pool);
  int fits = matches(cJSON_GetObjectItem(step, "fields"), seen, now.why, sizeof now.why);
  cJSON_Delete(seen);
  return fits;
}

static int metrics_are(const cJSON *step) {
  cJSON *seen = metrics_facts(now.pool);
  int fits = matches(cJSON_GetObjectItem(step, "fields"), seen, now.why, sizeof now.why);
  cJSON_Delete(seen);
  return fits;
}

static int checkout_is(const cJSON *step) {
  leakpool_checkouts *list = NULL;
  OK(leakpool_pool_checkouts(now.pool, &list, &error));
  const leakpool_checkout_info *info = find(list, holder(text_of(step, "of"))->checkout);
  int fits = 0;
  if (info == NULL) {
    fail("it is not live");
  } else {
    cJSON *seen = cJSON_CreateObject();
    put_checkout(seen, info);
    fits = matches(cJSON_GetObjectItem(step, "fields"), seen, now.why, sizeof now.why);
    cJSON_Delete(seen);
  }
  leakpool_checkouts_free(list);
  return fits;
}

static int holders_are(const cJSON *step) {
  leakpool_checkouts *list = NULL;
  OK(leakpool_pool_checkouts(now.pool, &list, &error));
  cJSON *seen = cJSON_CreateObject();
  put_ids(seen, "names", list);
  leakpool_checkouts_free(list);
  int fits = same(cJSON_GetObjectItem(step, "names"), cJSON_GetObjectItem(seen, "names")) || fail("others hold");
  cJSON_Delete(seen);
  return fits;
}

static int session_waits(const cJSON *step) {
  char sql[256];
  snprintf(sql, sizeof sql, "SELECT 1 FROM pg_stat_activity WHERE pid = %" PRIu32 " AND wait_event = '%s'",
           holder(text_of(step, "of"))->pid, text_of(step, "event"));
  return admin_rows(sql) > 0 || fail("the server's process does not wait for that");
}

static int session_is_gone(const cJSON *step) {
  return !has_session(holder(text_of(step, "of"))->pid) || fail("the server still has the session");
}

static int report_says(const cJSON *step) {
  char *report = NULL;
  OK(leakpool_pool_report(now.pool, &report, &error));
  int fits = 1;
  const cJSON *part;
  cJSON_ArrayForEach(part, cJSON_GetObjectItem(step, "contains"))
    if (strstr(report, part->valuestring) == NULL) fits = fail("the report lacks %s:\n%s", part->valuestring, report);
  cJSON_ArrayForEach(part, cJSON_GetObjectItem(step, "lacks"))
    if (strstr(report, part->valuestring) != NULL) fits = fail("the report has %s:\n%s", part->valuestring, report);
  cJSON_ArrayForEach(part, cJSON_GetObjectItem(step, "places")) {
    for (int i = 0; i < 4; i++) {
      char place[64];
      snprintf(place, sizeof place, "scenarios.c:%d", lines[i].line);
      if (lines[i].name != NULL && strcmp(lines[i].name, part->valuestring) == 0 && strstr(report, place) == NULL)
        fits = fail("the report lacks %s:\n%s", place, report);
    }
  }
  leakpool_string_free(report);
  return fits;
}

static int nothing_came(const cJSON *step) {
  const char *of = text_of(step, "of");
  if (!settle()) return 0;
  int fits = 1;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < now.told_count; i++) {
    const struct told *told = &now.log[i];
    const cJSON *kind;
    if (told->matched || (of != NULL && told->checkout != holder(of)->checkout)) continue;
    cJSON_ArrayForEach(kind, cJSON_GetObjectItem(step, "kinds"))
      if (strcmp(kind->valuestring, leakpool_event_kind_name((int32_t)told->kind)) == 0)
        fits = fail("it came: %s", kind->valuestring);
  }
  pthread_mutex_unlock(&lock);
  return fits;
}
