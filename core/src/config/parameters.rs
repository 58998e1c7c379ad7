//! The one table of connection parameters, and where a given value came from. Both forms of a connection string,
//! a host's own fields and the environment end up in [`Given`]; errors about values are made here, so that one
//! place sees to it that no secret is shown.

use std::fmt;

use super::enum_names::nearest;
use crate::error::{Error, ErrorCode, Result};

/// Parameter and the environment variable that gives its default.
pub(super) const PARAMETERS: &[(&str, Option<&str>)] = &[
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("port", Some("PGPORT")),
    ("user", Some("PGUSER")),
    ("password", Some("PGPASSWORD")),
    ("passfile", Some("PGPASSFILE")),
    ("dbname", Some("PGDATABASE")),
    ("application_name", Some("PGAPPNAME")),
    ("fallback_application_name", None),
    ("options", Some("PGOPTIONS")),
    // Not from the environment: it is meant for terminals, and our texts are UTF-8 whatever it says.
    ("client_encoding", None),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("keepalives", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("keepalives_count", None),
    ("tcp_user_timeout", None),
    ("sslmode", Some("PGSSLMODE")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslsni", Some("PGSSLSNI")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("gssencmode", Some("PGGSSENCMODE")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
];

/// Parameters of libpq that would weaken or change the connection if they were ignored: refused, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("service", "service files are not read; write its parameters into the connection string"),
    ("servicefile", "service files are not read; write its parameters into the connection string"),
    ("sslcrl", "revocation lists are not checked"),
    ("sslcrldir", "revocation lists are not checked"),
    ("sslpassword", "encrypted keys are not read; decrypt the key with `openssl pkey`"),
    ("sslcertmode", "leave `sslcert` away to send no certificate"),
    ("ssl_min_protocol_version", "TLS 1.2 and 1.3 are used, nothing older"),
    ("ssl_max_protocol_version", "TLS 1.2 and 1.3 are used, nothing older"),
    ("require_auth", "use `channel_binding=require` or `sslmode=verify-full`"),
    ("requirepeer", "the owner of a unix socket is not checked"),
    ("requiressl", "use `sslmode=require`"),
    ("sslcompression", "TLS compression is never used"),
    ("replication", "replication connections cannot be pooled"),
    ("krbsrvname", "Kerberos is not offered"),
    ("gsslib", "Kerberos is not offered"),
    ("gssdelegation", "Kerberos is not offered"),
];

/// Who gave a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The connection string, or a field of the host's.
    Named,
    /// The part of a URL before its path, where an unescaped password may have ended up: its text is never shown.
    Authority,
    /// This environment variable.
    Environment(&'static str),
}

/// One value and who gave it.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) origin: Origin,
}

impl Value {
    /// `InvalidDsn`: names the parameter (or variable), the value unless it may hold a secret, and the rule.
    pub(super) fn error(&self, rule: impl fmt::Display) -> Error {
        let (name, text) = (self.name, &self.text);
        let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
        let secret = name == "password";
        invalid(match self.origin {
            Origin::Named if secret => format!("{name} {rule}"),
            Origin::Named => format!("{name} ({shown}) {rule}"),
            Origin::Environment(variable) if secret => format!("{variable} {rule}"),
            Origin::Environment(variable) => format!("{variable} ({shown}) {rule}"),
            Origin::Authority => format!(
                "the {name} in front of the URL's path {rule}; if that is part of a password, write its `/`, `?`, \
                 `#`, `@` and `:` as %2F, %3F, %23, %40 and %3A"
            ),
        })
    }
}

/// `InvalidDsn` with this sentence.
pub(super) fn invalid(sentence: impl Into<String>) -> Error {
    Error::new(ErrorCode::InvalidDsn, sentence)
}

/// All values that were given; a later one replaces an earlier one, as in libpq.
#[derive(Default)]
pub(super) struct Given(Vec<Value>);

impl Given {
    pub(super) fn set(&mut self, name: &str, text: String, origin: Origin) -> Result<()> {
        let name = known(name)?;
        let value = Value { name, text, origin };
        if value.text.contains('\0') {
            return Err(value.error("must not hold a NUL byte"));
        }
        self.0.retain(|v| v.name != name);
        self.0.push(value);
        Ok(())
    }

    /// Fills in what the environment has and nobody gave. An empty variable counts as not set.
    pub(super) fn add_environment(&mut self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        for (name, variable) in PARAMETERS {
            let Some(variable) = variable else { continue };
            if self.0.iter().any(|v| v.name == *name) {
                continue;
            }
            if let Some(text) = lookup(variable).filter(|t| !t.is_empty()) {
                self.set(name, text, Origin::Environment(variable))?;
            }
        }
        Ok(())
    }

    /// The value, if there is one that is not empty: as in libpq, an empty one means the built-in default.
    pub(super) fn get(&self, name: &'static str) -> Option<&Value> {
        debug_assert!(PARAMETERS.iter().any(|(p, _)| *p == name), "{name}");
        self.0.iter().find(|v| v.name == name && !v.text.is_empty())
    }

    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        self.get(name).map(|v| v.text.clone())
    }
}

/// True for what is understood, and for what is refused with a reason.
pub(super) fn means_something(name: &str) -> bool {
    known(name).is_ok() || REFUSED.iter().any(|(refused, _)| *refused == name)
}

/// The table's own string for a name.
pub(super) fn known(name: &str) -> Result<&'static str> {
    // Other drivers' spellings of the same thing.
    let wanted = match name {
        "database" => "dbname",
        "keepalives_retries" => "keepalives_count",
        _ => name,
    };
    if let Some((found, _)) = PARAMETERS.iter().find(|(p, _)| *p == wanted) {
        return Ok(found);
    }
    if let Some((_, reason)) = REFUSED.iter().find(|(p, _)| *p == wanted) {
        return Err(invalid(format!("the connection parameter {name} is not supported: {reason}")));
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
        // Not shown: `user:s3cret@db/x?a=b` without its scheme would put the password here.
        return Err(invalid(
            "the connection string has a parameter whose name is none: names are letters and `_`",
        ));
    }
    let shown: String = name.chars().take(80).collect();
    let hint = match nearest(name, PARAMETERS.iter().map(|(p, _)| *p)) {
        Some(known) => format!("; did you mean {known}?"),
        None => String::new(),
    };
    Err(invalid(format!("there is no connection parameter {shown}{hint}")))
}
