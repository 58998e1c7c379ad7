//! How SQL is shown: cut, with the literal after `PASSWORD` masked, or as a fingerprint without any literal.
//!
//! Lexical rules: PostgreSQL manual, "Lexical Structure" (string constants with doubled quotes, `E''` escapes,
//! dollar quoting, nested comments). A text that ends inside a literal is treated as if the literal ended there.

use crate::config::SqlText;

/// The longest text that is kept or shown, in bytes.
pub(crate) const MAX_SQL: usize = 4096;

/// The text as the policy allows it to be shown; `None` if it must not be shown.
pub(crate) fn shown(sql: &str, mode: SqlText) -> Option<String> {
    match mode {
        SqlText::Full => Some(rewrite(cut(sql), false)),
        SqlText::Fingerprint => Some(rewrite(cut(sql), true)),
        SqlText::Off => None,
    }
}

/// The text without any literal, for what leaves the process.
pub fn fingerprint(sql: &str) -> String {
    rewrite(cut(sql), true)
}

pub(crate) fn cut(sql: &str) -> &str {
    if sql.len() <= MAX_SQL {
        return sql;
    }
    let mut end = MAX_SQL;
    while !sql.is_char_boundary(end) {
        end -= 1;
    }
    &sql[..end]
}

/// Copies `sql`, masking the literal after `PASSWORD`, or every literal.
fn rewrite(sql: &str, all: bool) -> String {
    let bytes = sql.as_bytes();
    let mut out = String::with_capacity(sql.len());
    let mut after_password = false;
    let mut i = 0;
    while i < bytes.len() {
        let rest = &sql[i..];
        let b = bytes[i];
        let end = if rest.starts_with("--") {
            i + rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            i + comment_end(rest)
        } else if b == b'"' {
            i + quoted_end(rest, b'"', false)
        } else if let Some((prefix, escapes)) = string_start(rest, bytes, i) {
            let end = i + prefix + quoted_end(&rest[prefix..], b'\'', escapes);
            if all {
                out.push('?');
            } else if after_password {
                out.push_str("'***'");
            } else {
                out.push_str(&sql[i..end]);
            }
            after_password = false;
            i = end;
            continue;
        } else if b == b'$' && !previous_is_word(bytes, i) && dollar_tag(rest).is_some() {
            let end = i + dollar_end(rest);
            out.push_str(if all {
                "?"
            } else if after_password {
                "'***'"
            } else {
                &sql[i..end]
            });
            after_password = false;
            i = end;
            continue;
        } else if is_word_start(b) {
            let len = rest.bytes().take_while(|b| is_word(*b)).count();
            let word = &rest[..len];
            after_password = word.eq_ignore_ascii_case("password")
                || (after_password
                    && (word.eq_ignore_ascii_case("encrypted") || word.eq_ignore_ascii_case("to")));
            i + len
        } else if b.is_ascii_digit() && !previous_is_word(bytes, i) {
            let len = rest.bytes().take_while(|b| is_word(*b) || *b == b'.').count();
            if all && !(i > 0 && bytes[i - 1] == b'$') {
                out.push('?');
                i += len;
                continue;
            }
            i + len
        } else {
            if !b.is_ascii_whitespace() && b != b'=' {
                after_password = false;
            }
            i + rest.chars().next().map_or(1, char::len_utf8)
        };
        out.push_str(&sql[i..end]);
        i = end;
    }
    out
}

/// True for a statement that ends a transaction without saying that it rolls back: COMMIT, END, PREPARE TRANSACTION.
pub(crate) fn commits(sql: &str) -> bool {
    let (first, rest) = first_word(sql);
    let is = |word: &str, name: &str| word.eq_ignore_ascii_case(name);
    is(first, "commit") || is(first, "end") || (is(first, "prepare") && is(first_word(rest).0, "transaction"))
}

/// The word at the beginning, behind white space and comments (empty if something else stands there), and what follows.
fn first_word(sql: &str) -> (&str, &str) {
    let mut rest = sql.trim_start();
    loop {
        let skipped = if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment_end(rest)
        } else {
            return rest.split_at(rest.bytes().take_while(|b| is_word(*b)).count());
        };
        rest = rest[skipped..].trim_start();
    }
}

fn is_word_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b >= 0x80
}

fn is_word(b: u8) -> bool {
    is_word_start(b) || b.is_ascii_digit()
}

fn previous_is_word(bytes: &[u8], i: usize) -> bool {
    i > 0 && is_word(bytes[i - 1])
}

/// The length of a string constant's prefix (`E`, `B`, `X`, `N`, `U&`) and whether backslashes escape in it.
fn string_start(rest: &str, bytes: &[u8], i: usize) -> Option<(usize, bool)> {
    let b = rest.as_bytes();
    if b[0] == b'\'' {
        return Some((0, false));
    }
    if previous_is_word(bytes, i) {
        return None;
    }
    match (b[0].to_ascii_lowercase(), b.get(1), b.get(2)) {
        (b'e', Some(b'\''), _) => Some((1, true)),
        (b'b' | b'x' | b'n', Some(b'\''), _) => Some((1, false)),
        (b'u', Some(b'&'), Some(b'\'')) => Some((2, false)),
        _ => None,
    }
}

fn quoted_end(rest: &str, quote: u8, escapes: bool) -> usize {
    let b = rest.as_bytes();
    let mut i = 1;
    while i < b.len() {
        if escapes && b[i] == b'\\' {
            i += 2;
        } else if b[i] == quote {
            if b.get(i + 1) == Some(&quote) {
                i += 2;
            } else {
                return i + 1;
            }
        } else {
            i += 1;
        }
    }
    b.len()
}

fn comment_end(rest: &str) -> usize {
    let b = rest.as_bytes();
    let (mut depth, mut i) = (0usize, 0);
    while i + 1 < b.len() {
        match (b[i], b[i + 1]) {
            (b'/', b'*') => (depth, i) = (depth + 1, i + 2),
            (b'*', b'/') => {
                (depth, i) = (depth - 1, i + 2);
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    b.len()
}

/// The `$tag$` that opens a dollar-quoted string.
fn dollar_tag(rest: &str) -> Option<&str> {
    let close = rest[1..].find('$')? + 1;
    let tag = &rest[1..close];
    let valid = tag.bytes().all(is_word) && !tag.bytes().next().is_some_and(|b| b.is_ascii_digit());
    valid.then(|| &rest[..=close])
}

fn dollar_end(rest: &str) -> usize {
    let Some(tag) = dollar_tag(rest) else { return rest.len() };
    rest[tag.len()..].find(tag).map_or(rest.len(), |at| tag.len() + at + tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked() {
        for (sql, masked) in [
            ("ALTER ROLE a PASSWORD 'geheim'", "ALTER ROLE a PASSWORD '***'"),
            (
                "create user b with encrypted password E'ge\\'heim' login",
                "create user b with encrypted password '***' login",
            ),
            ("ALTER ROLE a PASSWORD $x$geheim$x$", "ALTER ROLE a PASSWORD '***'"),
            (
                "create user mapping for x server s options (user 'u', password 'geheim')",
                "create user mapping for x server s options (user 'u', password '***')",
            ),
            ("ALTER ROLE a PASSWORD 'geheim", "ALTER ROLE a PASSWORD '***'"),
            ("SELECT 'password' || 'shown'", "SELECT 'password' || 'shown'"),
        ] {
            assert_eq!(shown(sql, SqlText::Full).as_deref(), Some(masked));
        }
    }

    #[test]
    fn a_fingerprint_has_no_literal() {
        for (sql, print) in [
            (
                "SELECT * FROM t WHERE a = 1 AND b = 'x''y' AND c = $1",
                "SELECT * FROM t WHERE a = ? AND b = ? AND c = $1",
            ),
            ("SELECT 1.5e3, t1.c2, $tag$ body $tag$, \"Col 1\"", "SELECT ?, t1.c2, ?, \"Col 1\""),
            ("SELECT E'a\\'b', X'1F' /* 'kept' /* 7 */ */ -- 8", "SELECT ?, ? /* 'kept' /* 7 */ */ -- 8"),
        ] {
            assert_eq!(fingerprint(sql), print);
        }
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let sql = format!("{}ü", "x".repeat(MAX_SQL - 1));
        assert_eq!(shown(&sql, SqlText::Full).map(|s| s.len()), Some(MAX_SQL - 1));
        assert_eq!(shown("SELECT 1", SqlText::Off), None);
    }
}
