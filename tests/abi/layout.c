/* Made by `make header` (ffi/tests/layout.rs): do not edit. */
#include <leakpool.h>

#define SAME(c, rust) _Static_assert((c) == (rust), #c " is not as in Rust")

SAME(sizeof(leakpool_options), 216);
SAME(_Alignof(leakpool_options), 8);
SAME(offsetof(leakpool_options, struct_size), 0);
SAME(offsetof(leakpool_options, max_size), 8);
SAME(offsetof(leakpool_options, min_idle), 16);
SAME(offsetof(leakpool_options, max_uses), 24);
SAME(offsetof(leakpool_options, acquire_timeout_ms), 40);
SAME(offsetof(leakpool_options, idle_timeout_ms), 48);
SAME(offsetof(leakpool_options, max_lifetime_ms), 56);
SAME(offsetof(leakpool_options, close_timeout_ms), 64);
SAME(offsetof(leakpool_options, reset_timeout_ms), 72);
SAME(offsetof(leakpool_options, leak_threshold_ms), 80);
SAME(offsetof(leakpool_options, check_interval_ms), 88);
SAME(offsetof(leakpool_options, max_held_ms), 96);
SAME(offsetof(leakpool_options, force_release_after_ms), 104);
SAME(offsetof(leakpool_options, utilization_warning), 112);
SAME(offsetof(leakpool_options, max_leaks_before_alert), 120);
SAME(offsetof(leakpool_options, stack_depth), 124);
SAME(offsetof(leakpool_options, force_release_busy), 128);
SAME(offsetof(leakpool_options, force_release_when), 132);
SAME(offsetof(leakpool_options, statement_cache), 136);
SAME(offsetof(leakpool_options, reset), 140);
SAME(offsetof(leakpool_options, stack_capture), 144);
SAME(offsetof(leakpool_options, sql_text), 148);
SAME(offsetof(leakpool_options, name), 152);

SAME(sizeof(leakpool_acquire_options), 40);
SAME(_Alignof(leakpool_acquire_options), 8);
SAME(offsetof(leakpool_acquire_options, struct_size), 0);
SAME(offsetof(leakpool_acquire_options, timeout_ms), 8);
SAME(offsetof(leakpool_acquire_options, expected_duration_ms), 16);
SAME(offsetof(leakpool_acquire_options, label), 24);
SAME(offsetof(leakpool_acquire_options, owner), 32);

SAME(sizeof(leakpool_check_out), 56);
SAME(_Alignof(leakpool_check_out), 8);
SAME(offsetof(leakpool_check_out, struct_size), 0);
SAME(offsetof(leakpool_check_out, expected_duration_ms), 8);
SAME(offsetof(leakpool_check_out, waited_ms), 16);
SAME(offsetof(leakpool_check_out, label), 24);
SAME(offsetof(leakpool_check_out, owner), 32);
SAME(offsetof(leakpool_check_out, reclaim), 40);
SAME(offsetof(leakpool_check_out, user_data), 48);

SAME(sizeof(leakpool_param), 24);
SAME(_Alignof(leakpool_param), 8);
SAME(offsetof(leakpool_param, data), 0);
SAME(offsetof(leakpool_param, length), 8);
SAME(offsetof(leakpool_param, oid), 16);
SAME(offsetof(leakpool_param, format), 20);

SAME(sizeof(leakpool_column), 32);
SAME(_Alignof(leakpool_column), 8);
SAME(offsetof(leakpool_column, name), 0);
SAME(offsetof(leakpool_column, type_oid), 8);
SAME(offsetof(leakpool_column, table_oid), 12);
SAME(offsetof(leakpool_column, type_modifier), 16);
SAME(offsetof(leakpool_column, type_size), 20);
SAME(offsetof(leakpool_column, table_column), 24);
SAME(offsetof(leakpool_column, format), 28);

SAME(sizeof(leakpool_value), 24);
SAME(_Alignof(leakpool_value), 8);
SAME(offsetof(leakpool_value, data), 0);
SAME(offsetof(leakpool_value, length), 8);
SAME(offsetof(leakpool_value, is_null), 16);
SAME(offsetof(leakpool_value, format), 20);

SAME(sizeof(leakpool_pool_status), 88);
SAME(_Alignof(leakpool_pool_status), 8);
SAME(offsetof(leakpool_pool_status, max_size), 0);
SAME(offsetof(leakpool_pool_status, size), 8);
SAME(offsetof(leakpool_pool_status, idle), 16);
SAME(offsetof(leakpool_pool_status, in_use), 24);
SAME(offsetof(leakpool_pool_status, returning), 32);
SAME(offsetof(leakpool_pool_status, connecting), 40);
SAME(offsetof(leakpool_pool_status, waiting), 48);
SAME(offsetof(leakpool_pool_status, ending), 56);
SAME(offsetof(leakpool_pool_status, leaked_now), 64);
SAME(offsetof(leakpool_pool_status, utilization), 72);
SAME(offsetof(leakpool_pool_status, closed), 80);
SAME(offsetof(leakpool_pool_status, reserved), 84);

SAME(sizeof(leakpool_histogram), 128);
SAME(_Alignof(leakpool_histogram), 8);
SAME(offsetof(leakpool_histogram, count), 0);
SAME(offsetof(leakpool_histogram, sum_seconds), 8);
SAME(offsetof(leakpool_histogram, buckets), 16);

SAME(sizeof(leakpool_metrics), 744);
SAME(_Alignof(leakpool_metrics), 8);
SAME(offsetof(leakpool_metrics, status), 0);
SAME(offsetof(leakpool_metrics, acquired), 88);
SAME(offsetof(leakpool_metrics, released), 96);
SAME(offsetof(leakpool_metrics, force_released), 104);
SAME(offsetof(leakpool_metrics, lost), 112);
SAME(offsetof(leakpool_metrics, active), 120);
SAME(offsetof(leakpool_metrics, leaks), 128);
SAME(offsetof(leakpool_metrics, leaks_recovered), 136);
SAME(offsetof(leakpool_metrics, late_uses), 144);
SAME(offsetof(leakpool_metrics, late_releases), 152);
SAME(offsetof(leakpool_metrics, dirty_releases), 160);
SAME(offsetof(leakpool_metrics, timeouts), 168);
SAME(offsetof(leakpool_metrics, created), 176);
SAME(offsetof(leakpool_metrics, create_errors), 184);
SAME(offsetof(leakpool_metrics, removed), 192);
SAME(offsetof(leakpool_metrics, events_dropped), 200);
SAME(offsetof(leakpool_metrics, oldest_checkout_ms), 208);
SAME(offsetof(leakpool_metrics, min_idle), 216);
SAME(offsetof(leakpool_metrics, leak_rate), 224);
SAME(offsetof(leakpool_metrics, wait_time), 232);
SAME(offsetof(leakpool_metrics, use_time), 360);
SAME(offsetof(leakpool_metrics, create_time), 488);
SAME(offsetof(leakpool_metrics, sweep_time), 616);

SAME(sizeof(leakpool_checkout_info), 136);
SAME(_Alignof(leakpool_checkout_info), 8);
SAME(offsetof(leakpool_checkout_info, checkout), 0);
SAME(offsetof(leakpool_checkout_info, held_ms), 8);
SAME(offsetof(leakpool_checkout_info, idle_ms), 16);
SAME(offsetof(leakpool_checkout_info, executing_ms), 24);
SAME(offsetof(leakpool_checkout_info, expected_ms), 32);
SAME(offsetof(leakpool_checkout_info, last_sql_age_ms), 40);
SAME(offsetof(leakpool_checkout_info, pool), 48);
SAME(offsetof(leakpool_checkout_info, file), 56);
SAME(offsetof(leakpool_checkout_info, function), 64);
SAME(offsetof(leakpool_checkout_info, label), 72);
SAME(offsetof(leakpool_checkout_info, owner), 80);
SAME(offsetof(leakpool_checkout_info, last_sql), 88);
SAME(offsetof(leakpool_checkout_info, suspicion), 96);
SAME(offsetof(leakpool_checkout_info, line), 104);
SAME(offsetof(leakpool_checkout_info, backend_pid), 108);
SAME(offsetof(leakpool_checkout_info, activity), 112);
SAME(offsetof(leakpool_checkout_info, transaction), 116);
SAME(offsetof(leakpool_checkout_info, verdict), 120);
SAME(offsetof(leakpool_checkout_info, reported), 124);
SAME(offsetof(leakpool_checkout_info, owner_ended), 128);
SAME(offsetof(leakpool_checkout_info, listening), 132);

SAME(sizeof(leakpool_exhaustion), 64);
SAME(_Alignof(leakpool_exhaustion), 8);
SAME(offsetof(leakpool_exhaustion, diagnosis), 0);
SAME(offsetof(leakpool_exhaustion, phase), 8);
SAME(offsetof(leakpool_exhaustion, last_error), 16);
SAME(offsetof(leakpool_exhaustion, holders), 24);
SAME(offsetof(leakpool_exhaustion, waited_ms), 32);
SAME(offsetof(leakpool_exhaustion, max_size), 40);
SAME(offsetof(leakpool_exhaustion, waiting), 48);
SAME(offsetof(leakpool_exhaustion, ending), 56);

SAME(sizeof(leakpool_revocation), 56);
SAME(_Alignof(leakpool_revocation), 8);
SAME(offsetof(leakpool_revocation, checkout), 0);
SAME(offsetof(leakpool_revocation, held_ms), 8);
SAME(offsetof(leakpool_revocation, idle_ms), 16);
SAME(offsetof(leakpool_revocation, reason), 24);
SAME(offsetof(leakpool_revocation, file), 32);
SAME(offsetof(leakpool_revocation, function), 40);
SAME(offsetof(leakpool_revocation, line), 48);
SAME(offsetof(leakpool_revocation, reserved), 52);

SAME(sizeof(leakpool_status), 4);
SAME(sizeof(leakpool_transaction), 4);

int main(void) {
  return 0;
}
