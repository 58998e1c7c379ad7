/* Facts of the scenarios: what the library tells, as JSON, and whether it is what a scenario expects.
 *
 * Ids of checkouts stand in facts as "#id"; names_of() makes names of them when they are compared, since an event may
 * come before its checkout has a name. */
#ifndef SCENARIO_FACTS_H
#define SCENARIO_FACTS_H

#include "check.h"

#include <cjson/cJSON.h>
#include <inttypes.h>

static const char *name_of(uint64_t checkout);

static void put_ms(cJSON *facts, const char *name, uint64_t ms) {
  if (ms == LEAKPOOL_NONE)
    cJSON_AddNullToObject(facts, name);
  else
    cJSON_AddNumberToObject(facts, name, (double)ms);
}

static void put_text(cJSON *facts, const char *name, const char *text) {
  if (text == NULL)
    cJSON_AddNullToObject(facts, name);
  else
    cJSON_AddStringToObject(facts, name, text);
}

static void put_ids(cJSON *facts, const char *name, const leakpool_checkouts *list) {
  cJSON *ids = cJSON_AddArrayToObject(facts, name);
  for (size_t i = 0; i < leakpool_checkouts_count(list); i++) {
    char id[32];
    snprintf(id, sizeof id, "#%" PRIu64, leakpool_checkouts_get(list, i)->checkout);
    cJSON_AddItemToArray(ids, cJSON_CreateString(id));
  }
}

static void put_checkout(cJSON *facts, const leakpool_checkout_info *c) {
  put_ms(facts, "held_ms", c->held_ms);
  put_ms(facts, "idle_for_ms", c->idle_ms);
  put_ms(facts, "executing_for_ms", c->executing_ms);
  put_text(facts, "activity", leakpool_activity_name((int32_t)c->activity));
  put_text(facts, "transaction", leakpool_transaction_name((int32_t)c->transaction));
  put_text(facts, "verdict", leakpool_verdict_name((int32_t)c->verdict));
  put_text(facts, "suspicion", c->suspicion);
  cJSON_AddBoolToObject(facts, "reported", c->reported);
  cJSON_AddBoolToObject(facts, "owner_ended", c->owner_ended);
  cJSON_AddBoolToObject(facts, "listening", c->listening);
  put_ms(facts, "expected_ms", c->expected_ms);
  put_text(facts, "label", c->label);
  put_text(facts, "last_sql", c->last_sql);
  put_ms(facts, "last_sql_age_ms", c->last_sql_age_ms);
  put_text(facts, "place", c->function);
}

static void put_exhaustion(cJSON *facts, const leakpool_exhaustion *e) {
  put_text(facts, "diagnosis", e->diagnosis);
  put_text(facts, "phase", e->phase);
  put_ms(facts, "waited_ms", e->waited_ms);
  cJSON_AddNumberToObject(facts, "max_size", (double)e->max_size);
  cJSON_AddNumberToObject(facts, "waiting", (double)e->waiting);
  put_ids(facts, "holders", e->holders);
  put_text(facts, "last_error", e->last_error);
}

static void put_revocation(cJSON *facts, const leakpool_revocation *r) {
  put_text(facts, "reason", r->reason);
  put_ms(facts, "held_ms", r->held_ms);
  put_ms(facts, "idle_for_ms", r->idle_ms);
  put_text(facts, "place", r->function);
}

static cJSON *event_facts(const leakpool_event *event) {
  cJSON *facts = cJSON_CreateObject();
  const leakpool_checkouts *list = leakpool_event_checkouts(event);
  const leakpool_checkout_info *about = leakpool_checkouts_get(list, 0);
  const char *reason = leakpool_event_reason(event);
  switch (leakpool_event_get_kind(event)) {
    case LEAKPOOL_EVENT_CONNECT: break;
    case LEAKPOOL_EVENT_ACQUIRE:
      put_ms(facts, "waited_ms", leakpool_event_waited_ms(event));
      put_text(facts, "place", leakpool_event_function(event));
      break;
    case LEAKPOOL_EVENT_RELEASE: put_ms(facts, "held_ms", leakpool_event_held_ms(event)); break;
    case LEAKPOOL_EVENT_REMOVE: put_text(facts, "reason", reason); break;
    case LEAKPOOL_EVENT_ERROR:
      put_text(facts, "error", reason);
      put_text(facts, "message", leakpool_event_text(event));
      break;
    case LEAKPOOL_EVENT_LEAK:
      put_checkout(facts, about);
      cJSON_DeleteItemFromObject(facts, "suspicion");
      put_text(facts, "suspicion", strcmp(reason, "proven") == 0 ? NULL : reason);
      break;
    case LEAKPOOL_EVENT_LEAK_RECOVERED:
    case LEAKPOOL_EVENT_LONG_RUNNING: put_checkout(facts, about); break;
    case LEAKPOOL_EVENT_LEAKS_DETECTED:
      cJSON_AddNumberToObject(facts, "count", (double)leakpool_checkouts_count(list));
      put_ids(facts, "leaks", list);
      break;
    case LEAKPOOL_EVENT_FORCE_RELEASE:
      put_checkout(facts, about);
      put_text(facts, "reason", reason);
      break;
    case LEAKPOOL_EVENT_LATE_USE:
    case LEAKPOOL_EVENT_LATE_RELEASE: put_revocation(facts, leakpool_event_revocation(event)); break;
    case LEAKPOOL_EVENT_DIRTY_RELEASE:
      put_text(facts, "found", reason);
      put_text(facts, "last_sql", leakpool_event_last_sql(event));
      put_text(facts, "place", leakpool_event_function(event));
      break;
    case LEAKPOOL_EVENT_EXHAUSTED: put_exhaustion(facts, leakpool_event_exhaustion(event)); break;
    case LEAKPOOL_EVENT_UTILIZATION:
      cJSON_AddNumberToObject(facts, "in_use", (double)leakpool_event_in_use(event));
      cJSON_AddNumberToObject(facts, "max_size", (double)leakpool_event_max_size(event));
      break;
  }
  return facts;
}

/* The outcome of a call; takes the error. */
static cJSON *outcome_facts(leakpool_status status, leakpool_error *error) {
  cJSON *facts = cJSON_CreateObject();
  CHECK(leakpool_error_status(error) == status);
  put_text(facts, "error", status == LEAKPOOL_OK ? NULL : leakpool_status_name((int32_t)status));
  if (error != NULL) {
    put_text(facts, "sqlstate", leakpool_error_sqlstate(error));
    put_text(facts, "message", leakpool_error_message(error));
    if (leakpool_error_exhaustion(error) != NULL) put_exhaustion(facts, leakpool_error_exhaustion(error));
    if (leakpool_error_revocation(error) != NULL) put_revocation(facts, leakpool_error_revocation(error));
  }
  leakpool_error_free(error);
  return facts;
}

/* How many rows came, and the first value of the first one. */
static void put_rows(cJSON *facts, const leakpool_result *result) {
  double rows = 0;
  const char *value = NULL;
  for (; result != NULL; result = leakpool_result_next(result)) {
    if (rows == 0) value = leakpool_result_text(result, 0, 0);
    rows += (double)leakpool_result_rows(result);
  }
  cJSON_AddNumberToObject(facts, "rows", rows);
  put_text(facts, "value", value);
}

static cJSON *status_facts(leakpool_pool *pool) {
  leakpool_pool_status s;
  OK(leakpool_pool_get_status(pool, &s, sizeof s, &error));
  cJSON *facts = cJSON_CreateObject();
  const struct { const char *name; uint64_t value; } numbers[] = {
      {"max_size", s.max_size}, {"size", s.size}, {"idle", s.idle}, {"in_use", s.in_use}, {"returning", s.returning},
      {"connecting", s.connecting}, {"waiting", s.waiting}, {"ending", s.ending}, {"leaked_now", s.leaked_now}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    cJSON_AddNumberToObject(facts, numbers[i].name, (double)numbers[i].value);
  cJSON_AddBoolToObject(facts, "closed", s.closed);
  cJSON_AddNumberToObject(facts, "utilization", s.utilization);
  return facts;
}

static cJSON *metrics_facts(leakpool_pool *pool) {
  leakpool_metrics m;
  OK(leakpool_pool_get_metrics(pool, &m, sizeof m, &error));
  cJSON *facts = cJSON_CreateObject();
  const struct { const char *name; uint64_t value; } numbers[] = {
      {"acquired", m.acquired}, {"released", m.released}, {"force_released", m.force_released}, {"lost", m.lost},
      {"active", m.active}, {"leaks", m.leaks}, {"leaks_recovered", m.leaks_recovered}, {"late_uses", m.late_uses},
      {"late_releases", m.late_releases}, {"dirty_releases", m.dirty_releases}, {"timeouts", m.timeouts},
      {"created", m.created}, {"create_errors", m.create_errors}, {"removed", m.removed},
      {"events_dropped", m.events_dropped}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    cJSON_AddNumberToObject(facts, numbers[i].name, (double)numbers[i].value);
  put_ms(facts, "oldest_checkout_ms", m.oldest_checkout_ms);
  cJSON_AddNumberToObject(facts, "leak_rate", m.leak_rate);
  return facts;
}

/* ---- matching ---------------------------------------------------------------------------------------------------- */

/* A value, or one of {"at_least": n}, {"at_most": n}, {"contains": text}. */
static int same(const cJSON *expected, const cJSON *seen) {
  if (cJSON_IsObject(expected)) {
    const cJSON *bound;
    cJSON_ArrayForEach(bound, expected) {
      int fits = 0;
      if (strcmp(bound->string, "at_least") == 0)
        fits = cJSON_IsNumber(seen) && seen->valuedouble >= bound->valuedouble;
      else if (strcmp(bound->string, "at_most") == 0)
        fits = cJSON_IsNumber(seen) && seen->valuedouble <= bound->valuedouble;
      else if (strcmp(bound->string, "contains") == 0)
        fits = cJSON_IsString(seen) && strstr(seen->valuestring, bound->valuestring) != NULL;
      if (!fits) return 0;
    }
    return 1;
  }
  if (cJSON_IsArray(expected)) {
    int size = cJSON_GetArraySize(expected);
    if (!cJSON_IsArray(seen) || cJSON_GetArraySize(seen) != size) return 0;
    for (int i = 0; i < size; i++)
      if (!same(cJSON_GetArrayItem(expected, i), cJSON_GetArrayItem(seen, i))) return 0;
    return 1;
  }
  if (cJSON_IsString(expected) && cJSON_IsString(seen)) {
    const char *text = seen->valuestring;
    if (text[0] == '#') text = name_of(strtoull(text + 1, NULL, 10));
    return strcmp(expected->valuestring, text) == 0;
  }
  if (cJSON_IsNumber(expected)) return cJSON_IsNumber(seen) && expected->valuedouble == seen->valuedouble;
  return cJSON_Compare(expected, seen, 1);
}

/* 1 if every expected fact was seen; otherwise 0, and why. */
static int matches(const cJSON *expected, const cJSON *seen, char *why, size_t room) {
  const cJSON *fact;
  cJSON_ArrayForEach(fact, expected) {
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(seen, fact->string);
    if (found != NULL && same(fact, found)) continue;
    char *wanted = cJSON_PrintUnformatted(fact), *all = cJSON_PrintUnformatted(seen);
    snprintf(why, room, "%s: expected %s, seen %s", fact->string, wanted, all);
    cJSON_free(wanted), cJSON_free(all);
    return 0;
  }
  return 1;
}

#endif
