//! What a return runs on a session before that is handed out again, and what says that it listens to nothing any more.

/// Ends every LISTEN.
pub(crate) const UNLISTEN: &str = "UNLISTEN *";

/// Ends what belongs to the session but keeps prepared statements (a `DISCARD ALL` would break every cache of
/// them for good). PostgreSQL manual, "DISCARD".
pub(crate) const RESET_SESSION: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// True for a text after whose success, outside of a transaction, nothing is listened to: that and nothing else. What
/// stands somewhere in a longer text may be a comment, or be rolled back by its rest.
pub(crate) fn ends_listening(sql: &str) -> bool {
    let statement = sql.trim().trim_end_matches(';').trim_end();
    statement.eq_ignore_ascii_case(UNLISTEN) || sql == RESET_SESSION
}

/// True if a text that failed may have listened to something all the same: a procedure or a code block can commit before
/// it fails.
pub(crate) fn may_commit_before_it_fails(sql: &str) -> bool {
    sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|word| word.eq_ignore_ascii_case("do") || word.eq_ignore_ascii_case("call"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unlisten_of_all_and_of_nothing_else_ends_listening() {
        for sql in ["UNLISTEN *", " unlisten * ; ", RESET_SESSION] {
            assert!(ends_listening(sql), "{sql}");
        }
        for sql in [
            "UNLISTEN a -- UNLISTEN *",
            "SELECT 'UNLISTEN *'",
            "BEGIN; UNLISTEN *; ROLLBACK",
            "UNLISTEN *; LISTEN a",
            "UNLISTEN a",
            "",
        ] {
            assert!(!ends_listening(sql), "{sql}");
        }
    }

    #[test]
    fn procedures_and_blocks_are_found_in_any_text() {
        for sql in ["CALL p()", "begin;do $$ begin end $$", "SELECT 1;call\np()"] {
            assert!(may_commit_before_it_fails(sql), "{sql}");
        }
        assert!(!may_commit_before_it_fails("SELECT recall, domain FROM t"));
    }
}
