//! Connection strings: `postgres://` URLs and `key=value` text, into parameters by name. Nothing here knows what a
//! value means. A string that cannot be understood may be, in any part of it, somebody's password: so no error of
//! this file shows more of the text than names and values that stand where no password can.

use super::parameters::{Given, Origin, invalid, known};
use crate::error::Result;

/// Reads either form into `given`.
pub(super) fn parse(dsn: &str, given: &mut Given) -> Result<()> {
    if let Some(rest) = dsn.strip_prefix("postgres://").or_else(|| dsn.strip_prefix("postgresql://")) {
        return url(rest, given);
    }
    let before_value = dsn.split('=').next().unwrap_or(dsn);
    if before_value.contains("://") {
        return Err(invalid(
            "the connection string is a URL that does not start with postgres:// or postgresql:// (a driver's name \
             such as `+psycopg` or `jdbc:` does not belong there)",
        ));
    }
    pairs(dsn, given)
}

/// What follows the scheme: `[user[:password]@][host[:port],...][/dbname][?name=value&...]`.
fn url(rest: &str, given: &mut Given) -> Result<()> {
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.strip_prefix('/').unwrap_or(path);

    // The last `@` ends the user part: a password with a bare `@` is then still read as it was meant.
    let hosts = match authority.rsplit_once('@') {
        Some((user, hosts)) => {
            let (user, password) = user.split_once(':').map_or((user, None), |(u, p)| (u, Some(p)));
            given.set("user", decode("user", user)?, Origin::Named)?;
            if let Some(password) = password {
                given.set("password", decode("password", password)?, Origin::Named)?;
            }
            hosts
        }
        None => {
            // `user:pa/ss@host`: the password's own `/` or `?` has ended the authority.
            if path.contains('@') || query.split('&').any(at_sign_in_strange_place) {
                return Err(invalid(
                    "the URL has an `@` behind its first `/` or `?`: write `/`, `?` and `@` of a user, password or \
                     database name as %2F, %3F and %40",
                ));
            }
            authority
        }
    };
    if !hosts.is_empty() {
        let (mut names, mut ports) = (Vec::new(), Vec::new());
        for one in hosts.split(',') {
            let (name, port) = host_and_port(one)?;
            names.push(decode("host", name)?);
            ports.push(decode("port", port)?);
        }
        if names.iter().any(|n| !n.is_empty()) {
            given.set("host", names.join(","), Origin::Authority)?;
        }
        if ports.iter().any(|p| !p.is_empty()) {
            given.set("port", ports.join(","), Origin::Authority)?;
        }
    }
    if !path.is_empty() {
        given.set("dbname", decode("dbname", path)?, Origin::Named)?;
    }
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(invalid("the URL has a query parameter without `=`"));
        };
        let name = decode("name of a query parameter", name)?;
        // JDBC's spelling, which libpq takes too.
        if name == "ssl" && value == "true" {
            given.set("sslmode", "require".into(), Origin::Named)?;
            continue;
        }
        let name = known(&name)?;
        given.set(name, decode(name, value)?, Origin::Named)?;
    }
    Ok(())
}

/// True for `x=ss@host/db` with a name that is nobody's: more likely the rest of a password than a parameter.
fn at_sign_in_strange_place(pair: &str) -> bool {
    match pair.split_once('=') {
        Some((name, value)) => name.contains('@') || (value.contains('@') && known(name).is_err()),
        None => pair.contains('@'),
    }
}

fn host_and_port(one: &str) -> Result<(&str, &str)> {
    if let Some(rest) = one.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((address, "")) => Ok((address, "")),
            Some((address, port)) if port.starts_with(':') => Ok((address, &port[1..])),
            Some(_) | None => {
                Err(invalid("the URL has an IPv6 address that is not of the form [address]:port"))
            }
        };
    }
    Ok(one.split_once(':').unwrap_or((one, "")))
}

/// Percent-decoding, strict: a lone `%` is an error rather than a guess.
fn decode(part: &str, text: &str) -> Result<String> {
    let bad = |why: &str| invalid(format!("the {part} in the URL {why}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = (rest.next().and_then(hex), rest.next().and_then(hex));
        match digits {
            (Some(0), Some(0)) => return Err(bad("must not hold a NUL byte")),
            (Some(high), Some(low)) => bytes.push(high << 4 | low),
            (_, None) | (None, _) => {
                return Err(bad("has a `%` that is not followed by two hexadecimal digits: write it as %25"));
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| bad("is not UTF-8 after percent-decoding"))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// `name = value name='quoted value' ...`; a backslash takes the next character as it is.
fn pairs(text: &str, given: &mut Given) -> Result<()> {
    let mut rest = text.trim_start();
    let mut last: Option<&'static str> = None;
    while !rest.is_empty() {
        // Behind an unquoted password with a space in it stands the rest of that password: never shown.
        let stray = || {
            invalid(match last {
                Some(name) => format!(
                    "the connection string must go on with name=value after the parameter {name}; a value with \
                     spaces goes into single quotes"
                ),
                None => "the connection string is neither a URL (postgres://...) nor name=value pairs".into(),
            })
        };
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        let Some(tail) = tail.trim_start().strip_prefix('=') else { return Err(stray()) };
        let name = match known(name) {
            Ok(name) => name,
            Err(_) if last == Some("password") => return Err(stray()),
            Err(e) => return Err(e),
        };
        let (value, tail) = value(name, tail.trim_start())?;
        given.set(name, value, Origin::Named)?;
        last = Some(name);
        rest = tail.trim_start();
    }
    Ok(())
}

fn value<'a>(name: &str, text: &'a str) -> Result<(String, &'a str)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, escaped)) => value.push(escaped),
                // libpq drops a backslash at the very end; it can only be a mistake.
                None => return Err(invalid(format!("the value of {name} ends in a lone backslash"))),
            },
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &text[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(invalid(format!("the quoted value of {name} has no closing quote")));
    }
    Ok((value, ""))
}
