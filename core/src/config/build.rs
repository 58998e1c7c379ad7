//! From given values to a [`ConnectConfig`]: what each value may be, libpq's defaults, and what contradicts what.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::connect_config::{
    ChannelBinding, ConnectConfig, Endpoint, Host, Keepalive, LoadBalanceHosts, RootCertificates,
    SOCKET_DIRS, Secret, SslMode, SslNegotiation, TargetSessionAttrs,
};
use super::dsn;
use super::duration::LONGEST;
use super::parameters::{self, Given, Origin, Value, invalid};
use super::passfile::{self, PassFile};
use crate::error::{Error, Result};

impl ConnectConfig {
    /// Reads a URL or `key=value` text; what it leaves open comes from this process's `PG*` variables, the password
    /// file and libpq's defaults. An empty text is the environment alone. Service files are not read.
    ///
    /// # Errors
    /// `InvalidDsn`: names the parameter, its value and the rule, and never shows a password.
    pub fn parse(dsn: &str) -> Result<ConnectConfig> {
        ConnectConfig::parse_with(dsn, &[], &|name| std::env::var(name).ok())
    }

    /// [`parse`](ConnectConfig::parse) with fields that replace those of the text, and another environment.
    ///
    /// # Errors
    /// `InvalidDsn`, as above.
    ///
    /// ```
    /// use leakpool::ConnectConfig;
    /// let environment = |name: &str| (name == "PGPORT").then(|| "6432".to_owned());
    /// let c = ConnectConfig::parse_with("host=db1 user=app", &[("dbname", "shop")], &environment).unwrap();
    /// assert_eq!((c.endpoints[0].port, c.dbname.as_str()), (6432, "shop"));
    /// ```
    pub fn parse_with(
        dsn: &str,
        fields: &[(&str, &str)],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<ConnectConfig> {
        let mut given = Given::default();
        dsn::parse(dsn, &mut given)?;
        for (name, value) in fields {
            given.set(name, (*value).into(), Origin::Named)?;
        }
        given.add_environment(environment)?;
        let home = environment("HOME").filter(|h| !h.is_empty()).map(PathBuf::from);
        build(&given, home)
    }

    /// For hosts whose ecosystem ignores what it does not know in a connection string: true for a parameter that is
    /// understood, or refused because ignoring it would weaken the connection.
    ///
    /// ```
    /// use leakpool::ConnectConfig;
    /// assert!(ConnectConfig::is_parameter("application_name") && ConnectConfig::is_parameter("sslcrl"));
    /// assert!(!ConnectConfig::is_parameter("schema"));
    /// ```
    pub fn is_parameter(name: &str) -> bool {
        parameters::means_something(name)
    }
}

impl FromStr for ConnectConfig {
    type Err = Error;

    fn from_str(dsn: &str) -> Result<ConnectConfig> {
        ConnectConfig::parse(dsn)
    }
}

fn build(given: &Given, home: Option<PathBuf>) -> Result<ConnectConfig> {
    refuse_what_cannot_be_honoured(given)?;
    let user = match given.text("user") {
        Some(user) => user,
        None => whoami::username()
            .map_err(|e| invalid(format!("there is no user, and the operating system names none: {e}")))?,
    };
    let dbname = match given.get("dbname") {
        Some(v) if v.text.contains("://") => {
            // Not shown: a URL has room for a password.
            return Err(invalid("dbname must be the name of a database, not a URL"));
        }
        Some(v) => v.text.clone(),
        None => user.clone(),
    };
    let password = given.text("password").map(Secret);
    let mut endpoints = endpoints(given)?;
    let mut passfile_note = None;
    let passfile =
        given.text("passfile").map(PathBuf::from).or_else(|| passfile::default_path(home.as_deref()));
    if let (None, Some(path)) = (&password, passfile) {
        match PassFile::read(&path) {
            Ok(file) => {
                for e in &mut endpoints {
                    e.password = file.password(&e.host, e.port, &dbname, &user);
                }
            }
            Err(note) => passfile_note = Some(note),
        }
    }
    let sslrootcert = given.text("sslrootcert").map(|text| match text.as_str() {
        "system" => RootCertificates::System,
        _ => RootCertificates::File(text.into()),
    });
    let sslmode = sslmode(given, sslrootcert.as_ref())?;
    let sslnegotiation = choice(given, "sslnegotiation", SslNegotiation::NAMES, SslNegotiation::from_name)?;
    if let (Some(v), SslNegotiation::Direct, SslMode::Disable | SslMode::Prefer) =
        (given.get("sslnegotiation"), sslnegotiation, sslmode)
    {
        return Err(v.error(format_args!("needs sslmode require, verify-ca or verify-full, not {sslmode}")));
    }
    Ok(ConnectConfig {
        endpoints,
        user,
        password,
        changing_password: None,
        dbname,
        application_name: given.text("application_name").or_else(|| given.text("fallback_application_name")),
        options: given.text("options"),
        connect_timeout: seconds(given, "connect_timeout")?,
        keepalive: Keepalive {
            enabled: flag(given, "keepalives")?,
            idle: seconds(given, "keepalives_idle")?.filter(|d| !d.is_zero()),
            interval: seconds(given, "keepalives_interval")?.filter(|d| !d.is_zero()),
            count: match given.get("keepalives_count") {
                Some(v) => u32::try_from(number(v, 0, 1_000)?).ok().filter(|n| *n > 0),
                None => None,
            },
        },
        tcp_user_timeout: match given.get("tcp_user_timeout") {
            Some(v) => millis(v)?,
            None => Duration::ZERO,
        },
        sslmode,
        sslnegotiation,
        sslrootcert,
        sslcert: given.text("sslcert").map(PathBuf::from),
        sslkey: given.text("sslkey").map(PathBuf::from),
        sslsni: flag(given, "sslsni")?,
        channel_binding: choice(given, "channel_binding", ChannelBinding::NAMES, ChannelBinding::from_name)?,
        target_session_attrs: choice(
            given,
            "target_session_attrs",
            TargetSessionAttrs::NAMES,
            TargetSessionAttrs::from_name,
        )?,
        load_balance_hosts: choice(
            given,
            "load_balance_hosts",
            LoadBalanceHosts::NAMES,
            LoadBalanceHosts::from_name,
        )?,
        home,
        passfile_note,
    })
}

fn refuse_what_cannot_be_honoured(given: &Given) -> Result<()> {
    if let Some(v) = given.get("client_encoding")
        && !["utf8", "utf-8", "unicode", "auto"].contains(&v.text.to_lowercase().as_str())
    {
        return Err(v.error("must be UTF8: texts are UTF-8 on our side, and the server converts"));
    }
    if let Some(v) = given.get("gssencmode")
        && !["disable", "prefer"].contains(&v.text.as_str())
    {
        return Err(v.error("must be disable or prefer: Kerberos encryption is not offered, use sslmode"));
    }
    Ok(())
}

/// `system` roots are for everybody's servers, so only the full check means anything with them.
fn sslmode(given: &Given, roots: Option<&RootCertificates>) -> Result<SslMode> {
    let system = roots == Some(&RootCertificates::System);
    let Some(v) = given.get("sslmode") else {
        return Ok(if system { SslMode::VerifyFull } else { SslMode::default() });
    };
    if v.text == "allow" {
        return Err(v.error("is not offered, since it would try without TLS first; use prefer or require"));
    }
    let mode = choice(given, "sslmode", SslMode::NAMES, SslMode::from_name)?;
    if system && mode != SslMode::VerifyFull {
        return Err(v.error("must be verify-full with sslrootcert=system"));
    }
    Ok(mode)
}

fn endpoints(given: &Given) -> Result<Vec<Endpoint>> {
    let list = |name| given.get(name).map(|v| (v, v.text.split(',').map(str::trim).collect::<Vec<_>>()));
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = match (&hosts, &addresses) {
        (Some((_, h)), Some((v, a))) if h.len() != a.len() => {
            return Err(v.error(format_args!(
                "must have as many entries as host: {}, not {}",
                h.len(),
                a.len()
            )));
        }
        (Some((_, h)), _) => h.len(),
        (None, Some((_, a))) => a.len(),
        (None, None) => 1,
    };
    if let Some((v, p)) = &ports
        && p.len() != 1
        && p.len() != count
    {
        return Err(v.error(format_args!("must have one entry or as many as there are hosts ({count})")));
    }
    (0..count)
        .map(|i| {
            let port = match &ports {
                Some((v, list)) => match list.get(i).or_else(|| list.first()) {
                    Some(&"") | None => 5432,
                    Some(text) => text
                        .parse()
                        .ok()
                        .filter(|port| *port != 0)
                        .ok_or_else(|| v.error("must be a whole number from 1 to 65535"))?,
                },
                None => 5432,
            };
            let hostaddr: Option<std::net::IpAddr> = match &addresses {
                Some((v, list)) => match list.get(i) {
                    Some(&"") | None => None,
                    Some(text) => Some(
                        text.parse().map_err(|_| v.error("must be a numeric IP address, without a name"))?,
                    ),
                },
                None => None,
            };
            let host = match (hosts.as_ref().map(|(v, list)| (v, list.get(i))), hostaddr) {
                (Some((v, Some(text))), _) if !text.is_empty() => host(v, text)?,
                (_, Some(address)) => Host::Tcp(address.to_string()),
                (_, None) => default_host(port, &|path| path.exists()),
            };
            Ok(Endpoint { host, hostaddr, port, password: None })
        })
        .collect()
}

fn host(value: &Value, text: &str) -> Result<Host> {
    if text.starts_with('/') {
        return Ok(Host::Unix(text.into()));
    }
    // Not shown: what looks like this is a URL or a part of one, and may hold a password.
    if text.contains(['@', '/', '?', '#', '=']) || text.contains(char::is_whitespace) {
        return Err(invalid(format!(
            "{} must be a name, a numeric address or the directory of a unix socket, and holds a character that \
             none of them has",
            match value.origin {
                Origin::Named | Origin::Authority => "host",
                Origin::Environment(variable) => variable,
            }
        )));
    }
    Ok(Host::Tcp(text.into()))
}

/// libpq's default, which is fixed when it is built: here, the directory in which a server's socket is.
fn default_host(port: u16, exists: &dyn Fn(&Path) -> bool) -> Host {
    let socket = format!(".s.PGSQL.{port}");
    let [first, _] = SOCKET_DIRS;
    match SOCKET_DIRS.into_iter().find(|dir| exists(&Path::new(dir).join(&socket))) {
        Some(dir) => Host::Unix(dir.into()),
        None if exists(Path::new(first)) => Host::Unix(first.into()),
        None => Host::Tcp("localhost".into()),
    }
}

fn choice<T: Default>(
    given: &Given,
    name: &'static str,
    names: &[&str],
    from: fn(&str) -> Option<T>,
) -> Result<T> {
    let Some(v) = given.get(name) else { return Ok(T::default()) };
    from(&v.text).ok_or_else(|| v.error(format_args!("must be one of {}", names.join(", "))))
}

fn number(v: &Value, min: i64, max: i64) -> Result<i64> {
    v.text
        .trim()
        .parse()
        .ok()
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| v.error(format_args!("must be a whole number from {min} to {max}")))
}

fn flag(given: &Given, name: &'static str) -> Result<bool> {
    match given.get(name) {
        Some(v) => Ok(number(v, 0, 1)? == 1),
        None => Ok(true),
    }
}

/// Whole seconds; a negative number is "no limit", as zero is (libpq).
fn seconds(given: &Given, name: &'static str) -> Result<Option<Duration>> {
    let Some(v) = given.get(name) else { return Ok(None) };
    let longest = i64::try_from(LONGEST.as_secs()).unwrap_or(i64::MAX);
    let n = number(v, -longest, longest)?;
    Ok(Some(Duration::from_secs(u64::try_from(n).unwrap_or(0))))
}

fn millis(v: &Value) -> Result<Duration> {
    // What the socket option can hold.
    let n = number(v, i64::from(i32::MIN), i64::from(i32::MAX))?;
    Ok(Duration::from_millis(u64::try_from(n).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
