//! `tests/abi/layout.c` holds C to the layout that Rust has given every struct of the header: a C compiler that lays
//! one out otherwise refuses it. `make header` writes it; it is for 64-bit targets, on which it is compiled.

#![allow(clippy::unwrap_used)] // Tests and their helpers.

use std::fmt::Write;
use std::mem::offset_of;
use std::path::Path;

use leakpool_ffi::*;

macro_rules! layout {
    ($out:ident: $($struct:ident { $($field:ident),+ $(,)? })+) => {$(
        writeln!($out, "\nSAME(sizeof({0}), {1});", stringify!($struct), size_of::<$struct>()).unwrap();
        writeln!($out, "SAME(_Alignof({0}), {1});", stringify!($struct), align_of::<$struct>()).unwrap();
        $(writeln!(
            $out,
            "SAME(offsetof({0}, {1}), {2});",
            stringify!($struct), stringify!($field), offset_of!($struct, $field)
        ).unwrap();)+
    )+};
}

fn made() -> String {
    let mut out = String::from(
        "/* Made by `make header` (ffi/tests/layout.rs): do not edit. */\n#include <leakpool.h>\n\n\
         #define SAME(c, rust) _Static_assert((c) == (rust), #c \" is not as in Rust\")\n",
    );
    layout! { out:
        leakpool_options {
            struct_size, max_size, min_idle, max_uses, acquire_timeout_ms, idle_timeout_ms, max_lifetime_ms,
            close_timeout_ms, reset_timeout_ms, leak_threshold_ms, check_interval_ms, max_held_ms,
            force_release_after_ms, utilization_warning, max_leaks_before_alert, stack_depth, force_release_busy,
            force_release_when, statement_cache, reset, stack_capture, sql_text, name,
        }
        leakpool_acquire_options { struct_size, timeout_ms, expected_duration_ms, label, owner }
        leakpool_check_out { struct_size, expected_duration_ms, waited_ms, label, owner, reclaim, user_data }
        leakpool_param { data, length, oid, format }
        leakpool_column { name, type_oid, table_oid, type_modifier, type_size, table_column, format }
        leakpool_value { data, length, is_null, format }
        leakpool_pool_status {
            max_size, size, idle, in_use, returning, connecting, waiting, ending, leaked_now, utilization, closed,
            reserved,
        }
        leakpool_histogram { count, sum_seconds, buckets }
        leakpool_metrics {
            status, acquired, released, force_released, lost, active, leaks, leaks_recovered, late_uses, late_releases,
            dirty_releases, timeouts, created, create_errors, removed, events_dropped, oldest_checkout_ms, min_idle,
            leak_rate, wait_time, use_time, create_time, sweep_time,
        }
        leakpool_checkout_info {
            checkout, held_ms, idle_ms, executing_ms, expected_ms, last_sql_age_ms, pool, file, function, label, owner,
            last_sql, suspicion, line, backend_pid, activity, transaction, verdict, reported, owner_ended, listening,
        }
        leakpool_exhaustion { diagnosis, phase, last_error, holders, waited_ms, max_size, waiting, ending }
        leakpool_revocation { checkout, held_ms, idle_ms, reason, file, function, line, reserved }
    }
    writeln!(out, "\nSAME(sizeof(leakpool_status), {});", size_of::<leakpool_status>()).unwrap();
    writeln!(out, "SAME(sizeof(leakpool_transaction), {});", size_of::<leakpool_transaction>()).unwrap();
    out.push_str("\nint main(void) {\n  return 0;\n}\n");
    out
}

#[test]
#[cfg(target_pointer_width = "64")]
fn structs_are_in_c_as_they_are_here() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/abi/layout.c");
    let made = made();
    if std::env::var_os("LEAKPOOL_WRITE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "{} is not what the sources make: run `make header`", path.display());
}
