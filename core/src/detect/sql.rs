//! How SQL is shown: cut, without what may be a secret, or as a fingerprint without any literal.
//!
//! The tokens are in `lex.rs`, what announces a secret in `secret.rs`. It errs on the side of what is not shown: from the
//! word that announces a secret to the end of its statement, no literal is.

mod lex;
mod secret;

use crate::config::SqlText;
use lex::{Escapes, Token, dollar_tag};
use secret::{holds_address, holds_secret, is_secret_name, mentions_secret};

pub(crate) use lex::commits;

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

/// Copies `sql`, masking what may be secret, or every literal.
fn rewrite(sql: &str, all: bool) -> String {
    let mut writer = Writer { out: String::with_capacity(sql.len()), all, ..Writer::default() };
    let mut at = 0;
    while let Some((token, len)) = lex::token(sql, at) {
        if !writer.write(token, &sql[at..at + len], &sql[at + len..]) {
            break;
        }
        at += len;
    }
    writer.out
}

/// How far a value of a secret name has been announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Announced {
    #[default]
    No,
    /// The name was said.
    Name,
    /// And that its value follows.
    Value,
}

#[derive(Default)]
struct Writer {
    out: String,
    /// Every literal is masked.
    all: bool,
    /// In this statement, a secret was announced: its literals are masked from there on.
    secret: bool,
    announced: Announced,
    /// The last literal was the name of a secret, as in `set_config('x.password', …)`.
    named: bool,
    /// The first word of the statement.
    first: String,
    /// The word before this one, if nothing but white space is in between.
    before: String,
    /// `SET` was said, and words may be values.
    sets: bool,
}

impl Writer {
    /// False if nothing of what follows may be shown.
    fn write(&mut self, token: Token, text: &str, rest: &str) -> bool {
        match token {
            Token::Space => self.out.push_str(text),
            Token::Comment if holds_secret(text, true) => {
                self.out.push_str(if text.starts_with('-') { "-- ***" } else { "/* *** */" });
            }
            Token::Comment => self.out.push_str(text),
            Token::Text(escapes) => return self.text(text, escapes, rest),
            Token::Dollar => self.dollar(text),
            Token::Word => self.word(text, rest),
            Token::Quoted => self.quoted(text),
            Token::Number => {
                let value = self.takes_value();
                self.out.push_str(match (self.all, value) {
                    (true, _) => "?",
                    (false, true) => "***",
                    (false, false) => text,
                });
                self.passed();
            }
            Token::Parameter => {
                self.out.push_str(text);
                self.announced = Announced::No;
                self.passed();
            }
            Token::Other => self.other(text),
        }
        true
    }

    /// Something stood here that is neither white space nor a word.
    fn passed(&mut self) {
        self.named = false;
        self.before.clear();
    }

    /// A value stands here, and it is that of a secret.
    fn takes_value(&mut self) -> bool {
        std::mem::take(&mut self.announced) == Announced::Value && self.words_are_values()
    }

    /// Only where something is set is a word a value; elsewhere it is a column.
    fn words_are_values(&self) -> bool {
        const COLUMNS: [&str; 4] = ["update", "insert", "merge", "with"];
        self.sets && !COLUMNS.iter().any(|c| self.first.eq_ignore_ascii_case(c))
    }

    fn masked(&mut self) {
        self.out.push_str(if self.all { "?" } else { "'***'" });
        self.announced = Announced::No;
        self.passed();
    }

    fn text(&mut self, text: &str, escapes: Escapes, rest: &str) -> bool {
        let content = lex::content(text, escapes);
        // If backslashes escape after all, the literal goes on behind this quote, and what looks like the end of it is
        // its middle.
        let doubtful = escapes == Escapes::None && text.contains("\\'");
        if doubtful && (self.secret || mentions_secret(text) || mentions_secret(rest)) {
            self.masked();
            return false;
        }
        let opaque = lex::has_numeric_escapes(text, escapes);
        let holds = holds_secret(&content, !lex::is_ended(text));
        if self.secret || holds || opaque {
            // What is concatenated to it may be the rest of it.
            self.secret |= holds;
            self.masked();
            return true;
        }
        self.out.push_str(if self.all { "?" } else { text });
        self.announced = Announced::No;
        self.passed();
        self.named = is_secret_name(content.trim());
        // A sentence about one, whose value may follow: `'ALTER ROLE a PASSWORD ' || …`, `format('… PASSWORD %L', …)`.
        self.secret |= content.contains(char::is_whitespace) && mentions_secret(&content);
        true
    }

    fn dollar(&mut self, text: &str) {
        let tag = dollar_tag(text).unwrap_or(text);
        let body = &text[tag.len()..];
        let (body, end) = body.strip_suffix(tag).map_or((body, ""), |body| (body, tag));
        let cut = end.is_empty();
        // With a semicolon it is code, and is shown as code.
        let holds = holds_address(body, cut) || (!body.contains(';') && holds_secret(body, cut));
        if self.all || self.secret || holds {
            self.secret |= holds;
            self.masked();
        } else {
            let body = rewrite(body, false);
            self.out.extend([tag, &body, end]);
            self.announced = Announced::No;
            self.passed();
        }
    }

    fn word(&mut self, text: &str, rest: &str) {
        let is = |name: &str| text.eq_ignore_ascii_case(name);
        let before = std::mem::replace(&mut self.before, text.to_owned());
        self.named = false;
        if self.first.is_empty() {
            text.clone_into(&mut self.first);
        }
        self.sets |= is("set");
        if is("until") && before.eq_ignore_ascii_case("valid") {
            // Behind a role's password, the end of its time.
            self.secret = false;
        }
        match self.announced {
            Announced::Name if is("to") || is("by") => self.announced = Announced::Value,
            Announced::Name if is("encrypted") => {}
            Announced::Value if self.is_value(text, rest) => {
                self.out.push_str(if self.all { "?" } else { "***" });
                return;
            }
            Announced::No | Announced::Name | Announced::Value => self.announced = Announced::No,
        }
        if is_secret_name(text) {
            self.secret = true;
            self.announced = Announced::Name;
        }
        self.out.push_str(text);
    }

    /// A word as the value of a secret; all that follows it up to white space or a comma is, too.
    fn is_value(&self, word: &str, rest: &str) -> bool {
        const KEYWORDS: [&str; 4] = ["null", "default", "true", "false"];
        self.words_are_values()
            && !rest.starts_with('(')
            && !KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
    }

    fn quoted(&mut self, text: &str) {
        if self.takes_value() {
            self.out.push_str(if self.all { "?" } else { "***" });
        } else {
            if is_secret_name(&text.trim_matches('"').replace("\"\"", "\"")) {
                self.secret = true;
                self.announced = Announced::Name;
            }
            self.out.push_str(text);
        }
        self.passed();
    }

    fn other(&mut self, text: &str) {
        self.secret |= self.named && matches!(text, "," | "=" | ":");
        match (text, self.announced) {
            (";", _) => {
                let (out, all) = (std::mem::take(&mut self.out), self.all);
                *self = Writer { out, all, ..Writer::default() };
            }
            ("=" | ":" | ">", Announced::Name) => self.announced = Announced::Value,
            // Another value of the same name, or the rest of this one.
            (_, Announced::Value) if self.words_are_values() => {}
            (_, Announced::No | Announced::Name | Announced::Value) => self.announced = Announced::No,
        }
        self.passed();
        self.out.push_str(text);
    }
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
            ("ALTER ROLE a PASSWORD 'ge'\n 'heim'", "ALTER ROLE a PASSWORD '***'"),
            ("ALTER ROLE a PASSWORD 'ge' -- on\n-- and on\n'heim'", "ALTER ROLE a PASSWORD '***'"),
            (
                "ALTER ROLE a /* x */ PASSWORD -- y\n /* z */ 'geheim'",
                "ALTER ROLE a /* x */ PASSWORD -- y\n /* z */ '***'",
            ),
            ("ALTER ROLE a PASSWORD U&'ge\\0068eim'", "ALTER ROLE a PASSWORD '***'"),
            (
                "ALTER ROLE a PASSWORD 'geheim' VALID UNTIL '2030-01-01'",
                "ALTER ROLE a PASSWORD '***' VALID UNTIL '2030-01-01'",
            ),
            (
                "ALTER USER MAPPING FOR a SERVER s OPTIONS (SET \"password\" 'geheim')",
                "ALTER USER MAPPING FOR a SERVER s OPTIONS (SET \"password\" '***')",
            ),
            (
                "CREATE SUBSCRIPTION s CONNECTION 'host=h password=geheim' PUBLICATION p",
                "CREATE SUBSCRIPTION s CONNECTION '***' PUBLICATION p",
            ),
            ("SET x.password = geheim", "SET x.password = ***"),
            ("SET LOCAL x.\"Password\" TO geheim; SELECT 1", "SET LOCAL x.\"Password\" TO ***; SELECT 1"),
            ("SET x.password = \"geheim\"", "SET x.password = ***"),
            ("SET x.password = 123456", "SET x.password = ***"),
            ("SET x.password = a, geheim", "SET x.password = ***, ***"),
            ("ALTER ROLE a SET x.password = geheim", "ALTER ROLE a SET x.password = ***"),
            ("SET x.password = DEFAULT", "SET x.password = DEFAULT"),
            (
                "SELECT set_config('x.password', 'geheim', false)",
                "SELECT set_config('x.password', '***', false)",
            ),
            ("SELECT dblink_connect('c', 'host=h password=geheim')", "SELECT dblink_connect('c', '***')"),
            ("SELECT dblink_connect('postgres://u:geheim@h/d')", "SELECT dblink_connect('***')"),
            ("SELECT dblink_connect($$postgres://u:geheim@h/d$$)", "SELECT dblink_connect('***')"),
            ("SELECT dblink_connect($$password=geheim$$)", "SELECT dblink_connect('***')"),
            ("SELECT 'postgres://u:' || 'geheim' || '@h'", "SELECT '***' || '***' || '***'"),
            ("SELECT 'password=' || 'geheim'", "SELECT '***' || '***'"),
            (
                "DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ''geheim'''; END $$",
                "DO $$ BEGIN EXECUTE '***'; END $$",
            ),
            (
                "DO $$ BEGIN ALTER ROLE a PASSWORD 'geheim'; PERFORM f('shown'); END $$",
                "DO $$ BEGIN ALTER ROLE a PASSWORD '***'; PERFORM f('shown'); END $$",
            ),
            (
                "SELECT format('ALTER ROLE %I PASSWORD %L', 'a', 'geheim')",
                "SELECT format('ALTER ROLE %I PASSWORD %L', '***', '***')",
            ),
            (
                "SELECT 'ALTER ROLE a PASSWORD ' || quote_literal('geheim')",
                "SELECT 'ALTER ROLE a PASSWORD ' || quote_literal('***')",
            ),
            ("CREATE USER a IDENTIFIED BY 'geheim'", "CREATE USER a IDENTIFIED BY '***'"),
            (
                "INSERT INTO u (name, password) VALUES ('a', 'geheim')",
                "INSERT INTO u (name, password) VALUES ('***', '***')",
            ),
            (
                "UPDATE u SET password = crypt('geheim', salt) WHERE id = $1",
                "UPDATE u SET password = crypt('***', salt) WHERE id = $1",
            ),
            ("UPDATE u SET password = $1 WHERE id = 7", "UPDATE u SET password = $1 WHERE id = 7"),
            ("SELECT '{\"user\": \"u\", \"password\": \"geheim\"}'::json", "SELECT '***'::json"),
            ("SELECT 1 /* password=geheim */ -- passwd: geheim", "SELECT 1 /* *** */ -- ***"),
            ("SELECT E'pass\\x77ord=geheim'", "SELECT '***'"),
            // If backslashes escape (`standard_conforming_strings = off`), the literal goes on.
            ("ALTER ROLE a PASSWORD 'ge\\'geheim'", "ALTER ROLE a PASSWORD '***'"),
            ("SELECT 'it\\'s', set_config('x.password', 'geheim', false)", "SELECT '***'"),
            ("SELECT 'C:\\', 'shown', E'\\\\x00'", "SELECT 'C:\\', 'shown', E'\\\\x00'"),
            // The next statement is another matter.
            ("ALTER ROLE a PASSWORD 'geheim'; SELECT 'shown'", "ALTER ROLE a PASSWORD '***'; SELECT 'shown'"),
            ("SELECT a.password = b.password, 'x' || $1", "SELECT a.password = b.password, '***' || $1"),
        ] {
            assert_eq!(shown(sql, SqlText::Full).as_deref(), Some(masked));
            assert!(!fingerprint(sql).contains("heim"), "{sql}: {}", fingerprint(sql));
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
    fn a_text_that_is_cut_anywhere_shows_no_part_of_a_secret() {
        for sql in [
            "ALTER ROLE a PASSWORD 'GEHEIM'",
            "ALTER ROLE a PASSWORD E'GEHEIM'",
            "ALTER ROLE a PASSWORD $x$GEHEIM$x$",
            "SELECT dblink_connect('postgres://u:GEHEIM@h/d')",
            "SELECT dblink_connect($$postgres://u:GEHEIM@h/d$$)",
            "SELECT dblink_connect('host=h password=GEHEIM')",
            "DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ''GEHEIM'''; END $$",
            "SET x.password = 'GEHEIM'",
            "SET x.password TO \"GEHEIM\"",
            "/* password=GEHEIM */ SELECT 1",
        ] {
            for end in 0..=sql.len() {
                for shown in [rewrite(&sql[..end], false), rewrite(&sql[..end], true)] {
                    assert!(!shown.contains("GE"), "{}: {shown}", &sql[..end]);
                }
            }
        }
    }

    #[test]
    fn any_text_is_shown_without_a_panic() {
        const PIECES: [&str; 19] = [
            "'", "\"", "$", "$a$", "\\", "E'", "U&'", "--", "/*", "*/", "\n", " ", "password", "=", ";", "ü",
            "x", "1", ",",
        ];
        let mut seed = 72_u64;
        for _ in 0..20_000 {
            let mut sql = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                sql.push_str(PIECES[(seed >> 33) as usize % PIECES.len()]);
            }
            let _ = (rewrite(&sql, false), rewrite(&sql, true), commits(&sql));
        }
    }

    #[test]
    fn what_commits_is_found_behind_comments() {
        for sql in ["COMMIT", " -- x\n commit and chain", "/* a /* b */ */End;", "PREPARE TRANSACTION 'x'"] {
            assert!(commits(sql), "{sql}");
        }
        for sql in ["", "--", "SELECT 1", "PREPARE x AS SELECT 1", "ROLLBACK", "commits", "/* COMMIT"] {
            assert!(!commits(sql), "{sql}");
        }
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let sql = format!("{}ü", "x".repeat(MAX_SQL - 1));
        assert_eq!(shown(&sql, SqlText::Full).map(|s| s.len()), Some(MAX_SQL - 1));
        assert_eq!(shown("SELECT 1", SqlText::Off), None);
    }
}
