//! What announces a secret, in SQL and inside of its literals.

/// Anywhere in a name, these make it that of a secret: `user_password`, `x.jwt_secret`, `crypt`, `pgp_sym_encrypt`.
const PARTS: [&str; 9] =
    ["password", "passwd", "passphrase", "secret", "credential", "token", "apikey", "api_key", "crypt"];
/// And these, as one of its words.
const WHOLE: [&str; 6] = ["pass", "pwd", "pw", "identified", "hmac", "digest"];

/// True for a name (perhaps with dots) whose value is a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    if name.is_empty() || name.contains(char::is_whitespace) {
        return false;
    }
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part)) || name.split(['.', '_']).any(|part| WHOLE.contains(&part))
}

/// True if a text says the name of a secret anywhere.
pub(super) fn mentions_secret(text: &str) -> bool {
    names(&text.to_ascii_lowercase()).next().is_some()
}

/// True if a text (what a literal or a comment says) has a secret in it: `password=…`, `"password": "…"`,
/// `PASSWORD '…'`, or an address with a password. `cut`: it may go on.
pub(super) fn holds_secret(text: &str, cut: bool) -> bool {
    let lower = text.to_ascii_lowercase();
    names(&lower).any(|end| is_followed_by_value(&lower[end..])) || holds_address(text, cut)
}

/// Where the names of secrets end in a text in lower case.
fn names(lower: &str) -> impl Iterator<Item = usize> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + lower[at..].find(is_word)?;
            at = lower[start..].find(|c| !is_word(c)).map_or(lower.len(), |len| start + len);
            if is_secret_name(&lower[start..at]) {
                return Some(at);
            }
        }
    })
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_followed_by_value(rest: &str) -> bool {
    // The end of the name's own quotes.
    let rest = rest.trim_start_matches(['"', '\\']).trim_start();
    let rest =
        ["to ", "by ", "("].iter().find_map(|word| rest.strip_prefix(word)).unwrap_or(rest).trim_start();
    rest.starts_with(['=', ':', '\'', '$']) || rest.starts_with("e'") || rest.starts_with("u&'")
}

/// True if a text has an address with a password in it: `postgres://user:password@host`. `cut`: it may go on.
pub(super) fn holds_address(text: &str, cut: bool) -> bool {
    text.match_indices("://").any(|(at, separator)| {
        let rest = &text[at + separator.len()..];
        let address =
            rest.split(|c: char| c.is_whitespace() || matches!(c, '\'' | '"')).next().unwrap_or(rest);
        let Some((_, behind)) = address.split_once(':') else { return false };
        // A colon at the end: the password stands somewhere else.
        behind.contains('@') || behind.is_empty() || (cut && address.len() == rest.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_by_their_parts() {
        for name in
            ["password", "PASSWORD", "x.password", "sslpassword", "user_token", "x.pwd", "db_pass", "decrypt"]
        {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["", "compass", "orders.total", "the password", "passes"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn a_name_with_its_value_is_a_secret_and_a_name_alone_is_none() {
        for text in [
            "host=h password=x",
            "password = x",
            "{\"password\":\"x\"}",
            "alter role a password 'x'",
            "PASSWORD $$x$$",
            "crypt('x', y)",
            "postgres://u:p@h",
            "see http://u:p%40@h/x now",
        ] {
            assert!(holds_secret(text, false), "{text}");
        }
        for text in ["password", "a wrong password was sent", "http://h:8080/x", "a@b.c", "::1 at 10:30"] {
            assert!(!holds_secret(text, false), "{text}");
        }
        assert!(holds_secret("postgres://u:ge", true) && !holds_secret("http://h:80", false));
    }
}
