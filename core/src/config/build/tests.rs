//! Connection strings, the environment, and above all: whose password is never shown.

use super::*;
use crate::error::{Error, ErrorCode};

fn nothing(_: &str) -> Option<String> {
    None
}

fn parse(dsn: &str) -> Result<ConnectConfig> {
    ConnectConfig::parse_with(dsn, &[], &nothing)
}

fn with_env(dsn: &str, env: &[(&str, &str)]) -> Result<ConnectConfig> {
    ConnectConfig::parse_with(dsn, &[], &|name| {
        env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    })
}

fn servers(c: &ConnectConfig) -> Vec<String> {
    c.endpoints.iter().map(Endpoint::to_string).collect()
}

fn sentence(dsn: &str) -> String {
    let e: Error = parse(dsn).unwrap_err();
    assert_eq!(e.code(), ErrorCode::InvalidDsn);
    e.to_string()
}

#[test]
fn urls_are_read_as_libpq_reads_them() {
    let c = parse("postgresql://al%20ice:p%40ss%3Aw@db1:1234,[::1],db3:5433/my%2Fdb?application_name=x%3Dy")
        .unwrap();
    assert_eq!(servers(&c), ["db1:1234", "[::1]:5432", "db3:5433"]);
    assert_eq!((c.user.as_str(), c.dbname.as_str()), ("al ice", "my/db"));
    assert_eq!(c.password.unwrap().expose(), "p@ss:w");
    assert_eq!(c.application_name.as_deref(), Some("x=y"));

    let c = parse("postgres://u@%2Fvar%2Frun%2Fpg:5433/d").unwrap();
    assert_eq!(c.endpoints[0].host, Host::Unix("/var/run/pg".into()));
    let c = parse("postgres:///d?host=/run/pg&port=6000&user=me@tenant").unwrap();
    assert_eq!(servers(&c), ["/run/pg:6000"]);
    assert_eq!(c.user, "me@tenant");
    let c = parse("postgres://u:a@b@h/d").unwrap();
    assert_eq!((c.password.unwrap().expose(), c.endpoints[0].to_string().as_str()), ("a@b", "h:5432"));
    assert_eq!(parse("postgres://u@h?ssl=true").unwrap().sslmode, SslMode::Require);
    assert_eq!(parse("postgres://u:a#b@h/d?password=c#d").unwrap().password.unwrap().expose(), "c#d");
    assert_eq!(parse("postgres://u@h").unwrap().dbname, "u");
}

#[test]
fn pairs_are_read_as_libpq_reads_them() {
    let c = parse(
        r"host = db1,/tmp port=1,2 user='al ice' password='it\'s \\ x' dbname=a\ b
          options='-c geqo=off' keepalives=0 keepalives_idle=30 keepalives_interval=5 keepalives_count=3
          tcp_user_timeout=1500 connect_timeout=7 sslmode=verify-ca sslrootcert=/etc/ca.pem sslsni=0
          channel_binding=require target_session_attrs=prefer-standby load_balance_hosts=random",
    )
    .unwrap();
    assert_eq!(servers(&c), ["db1:1", "/tmp:2"]);
    assert_eq!((c.user.as_str(), c.dbname.as_str()), ("al ice", "a b"));
    assert_eq!(c.password.unwrap().expose(), r"it's \ x");
    assert_eq!(c.options.as_deref(), Some("-c geqo=off"));
    assert!(!c.keepalive.enabled && !c.sslsni);
    assert_eq!(c.keepalive.idle, Some(Duration::from_secs(30)));
    assert_eq!((c.keepalive.interval, c.keepalive.count), (Some(Duration::from_secs(5)), Some(3)));
    assert_eq!(c.tcp_user_timeout, Duration::from_millis(1500));
    assert_eq!(c.connect_timeout, Some(Duration::from_secs(7)));
    assert_eq!(c.sslmode, SslMode::VerifyCa);
    assert_eq!(c.sslrootcert, Some(RootCertificates::File("/etc/ca.pem".into())));
    assert_eq!(c.channel_binding, ChannelBinding::Require);
    assert_eq!(c.target_session_attrs, TargetSessionAttrs::PreferStandby);
    assert_eq!(c.load_balance_hosts, LoadBalanceHosts::Random);
    // libpq: the last one counts; one port for all hosts; a negative limit is none.
    let c = parse("host=a,b port=7 host=c,d user=x connect_timeout=-1").unwrap();
    assert_eq!(servers(&c), ["c:7", "d:7"]);
    assert_eq!(c.connect_timeout, Some(Duration::ZERO));
    let c = parse("host=a,b hostaddr=127.0.0.1, user=x").unwrap();
    assert_eq!(c.endpoints[0].hostaddr, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(c.endpoints[1].hostaddr, None);
    assert_eq!(servers(&parse("hostaddr=127.0.0.2 user=x").unwrap()), ["127.0.0.2:5432"]);
}

#[test]
fn the_environment_fills_in_and_fields_replace() {
    let env = [
        ("PGHOST", "e1,e2"),
        ("PGPORT", "1"),
        ("PGUSER", "eu"),
        ("PGPASSWORD", "ep"),
        ("PGDATABASE", "ed"),
        ("PGAPPNAME", "ea"),
        ("PGOPTIONS", "-c x=1"),
        ("PGCONNECT_TIMEOUT", "3"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLNEGOTIATION", "direct"),
        ("PGSSLROOTCERT", "system"),
        ("PGSSLCERT", "/c"),
        ("PGSSLKEY", "/k"),
        ("PGCHANNELBINDING", "disable"),
        ("PGTARGETSESSIONATTRS", "primary"),
        ("PGLOADBALANCEHOSTS", "random"),
    ];
    let c = with_env("", &env).unwrap();
    assert_eq!(servers(&c), ["e1:1", "e2:1"]);
    assert_eq!((c.user.as_str(), c.dbname.as_str()), ("eu", "ed"));
    assert_eq!(c.password.as_ref().unwrap().expose(), "ep");
    assert_eq!(c.application_name.as_deref(), Some("ea"));
    assert_eq!(c.options.as_deref(), Some("-c x=1"));
    assert_eq!(c.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!((c.sslmode, c.sslnegotiation), (SslMode::VerifyFull, SslNegotiation::Direct));
    assert_eq!(c.sslrootcert, Some(RootCertificates::System));
    assert_eq!((c.sslcert, c.sslkey), (Some("/c".into()), Some("/k".into())));
    assert_eq!(c.channel_binding, ChannelBinding::Disable);
    assert_eq!(c.target_session_attrs, TargetSessionAttrs::Primary);
    assert_eq!(c.load_balance_hosts, LoadBalanceHosts::Random);

    let c = with_env("postgres://du@dh:2/dd", &env).unwrap();
    assert_eq!((servers(&c), c.user.as_str(), c.dbname.as_str()), (vec!["dh:2".into()], "du", "dd"));
    let lookup = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let fields = [("host", "fh"), ("password", "fp"), ("database", "fd")];
    let c = ConnectConfig::parse_with("postgres://du:dp@dh:2/dd", &fields, &lookup).unwrap();
    assert_eq!((servers(&c), c.dbname.as_str()), (vec!["fh:2".into()], "fd"));
    assert_eq!(c.password.unwrap().expose(), "fp");
    // An empty value stops the environment and means the built-in default.
    assert_eq!(with_env("host=h port=''", &env).unwrap().endpoints[0].port, 5432);
    assert_eq!(
        with_env("", &[("PGPORT", "many")]).unwrap_err().to_string(),
        "PGPORT (many) must be a whole number from 1 to 65535"
    );
    assert_eq!(with_env("", &[("PGUSER", "")]).unwrap().user, whoami::username().unwrap());
}

#[test]
fn the_default_server_is_where_a_socket_is() {
    let found = |there: &'static [&'static str]| {
        default_host(5432, &move |path: &Path| there.iter().any(|t| Path::new(t) == path))
    };
    assert_eq!(found(&["/tmp/.s.PGSQL.5432", "/var/run/postgresql", "/tmp"]), Host::Unix("/tmp".into()));
    assert_eq!(
        found(&["/tmp/.s.PGSQL.5432", "/var/run/postgresql/.s.PGSQL.5432"]),
        Host::Unix("/var/run/postgresql".into())
    );
    assert_eq!(found(&["/var/run/postgresql", "/tmp"]), Host::Unix("/var/run/postgresql".into()));
    assert_eq!(found(&["/tmp"]), Host::Tcp("localhost".into()));
}

#[test]
fn the_password_file_is_asked_for_each_host() {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("leakpool-config-pgpass-{}", std::process::id()));
    std::fs::write(&path, "a:1:d:u:one\nb:2:d:u:two\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let env = [("PGPASSFILE", path.to_str().unwrap())];
    let c = with_env("host=a,b port=1,2 user=u dbname=d", &env).unwrap();
    let with_password = with_env("host=a user=u dbname=d password=own", &env).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = with_env("host=a user=u dbname=d", &env).unwrap();
    std::fs::remove_file(&path).unwrap();
    let sent = |c: &ConnectConfig, i: usize| {
        c.session(&c.endpoints[i]).get_password().map(|p| String::from_utf8_lossy(p).into_owned())
    };
    assert_eq!((sent(&c, 0).as_deref(), sent(&c, 1).as_deref()), (Some("one"), Some("two")));
    assert_eq!(sent(&with_password, 0).as_deref(), Some("own"));
    assert_eq!(sent(&refused, 0), None);
    assert!(refused.passfile_note.unwrap().contains("others may read it"));
}

#[test]
fn errors_name_parameter_value_and_rule() {
    for (dsn, expected) in [
        ("host=h port=0", "port (0) must be a whole number from 1 to 65535"),
        ("host=h sslmode=on", "sslmode (on) must be one of disable, prefer, require, verify-ca, verify-full"),
        (
            "host=h sslmode=allow",
            "sslmode (allow) is not offered, since it would try without TLS first; use prefer or require",
        ),
        ("host=h hostaddr=db1", "hostaddr (db1) must be a numeric IP address, without a name"),
        ("host=a,b port=1,2,3", "port (1,2,3) must have one entry or as many as there are hosts (2)"),
        ("host=a,b hostaddr=127.0.0.1", "hostaddr (127.0.0.1) must have as many entries as host: 2, not 1"),
        ("host=h usr=x", "there is no connection parameter usr; did you mean user?"),
        ("postgres://h/d?sslmod=x", "there is no connection parameter sslmod; did you mean sslmode?"),
        ("postgres://h/d?schema=x", "there is no connection parameter schema"),
        (
            "service=x",
            "the connection parameter service is not supported: service files are not read; write its parameters \
             into the connection string",
        ),
        ("host=h keepalives=2", "keepalives (2) must be a whole number from 0 to 1"),
        (
            "host=h connect_timeout=1.5",
            "connect_timeout (1.5) must be a whole number from -315360000 to 315360000",
        ),
        (
            "sslrootcert=system sslmode=require",
            "sslmode (require) must be verify-full with sslrootcert=system",
        ),
        (
            "sslnegotiation=direct",
            "sslnegotiation (direct) needs sslmode require, verify-ca or verify-full, not prefer",
        ),
        (
            "client_encoding=LATIN1",
            "client_encoding (LATIN1) must be UTF8: texts are UTF-8 on our side, and the server converts",
        ),
    ] {
        assert_eq!(sentence(dsn), expected);
    }
    assert_eq!(parse("sslrootcert=system").unwrap().sslmode, SslMode::VerifyFull);
}

#[test]
fn no_bad_string_shows_its_password() {
    let bad = [
        "postgres://user:PW@host:port/db",
        "postgres://user:PW",
        "postgres://user:PW/db",
        "postgres://user:PW?sslmode=require",
        "postgres://user:PW@host:0/db",
        "postgres://user:PW@host:99999/db",
        "postgres://user:PW@[::1/db",
        "postgres://user:PW@[::1]x/db",
        "postgres://user:PW@host/db?sslmode=maybe",
        "postgres://user:PW@host/db?nonsense=1",
        "postgres://user:PW@host/db?nonsense",
        "postgres://user:PW@host/db%zz",
        "postgres://user:PW%@host/db",
        "postgres://user:PW%zz@host/db",
        "postgres://user:PW%00@host/db",
        "postgres://user:PW%ff@host/db",
        "postgres://user:x/PW@host/db",
        "postgres://user:PW/x@host/db",
        "postgres://user:PW?x@host/db",
        "postgres://user:x?PW@host/db",
        "postgres://user:x?PW=y@host/db",
        "postgres://user:1?PW=y@host/db",
        "postgres://user:1/PW@host/db",
        "postgres://user:PW#x/y@host/db",
        "postgres://user:PW@host name/db",
        "postgres://user:PW@a,b:1,c:2,d:x/db",
        "postgre://user:PW@host/db",
        "mysql://user:PW@host/db",
        "postgresql+psycopg://user:PW@host/db",
        "jdbc:postgresql://host/db?user=user&password=PW",
        "user:PW@host/db",
        "user:PW=1@host/db",
        "//user:PW@host/db?a=b",
        "PW",
        "host=h password=PW port=x",
        "host=h password=x PW",
        "host=h password=x PW port=1",
        "host=h password=x PW=1",
        "host=h password='PW",
        "host=h password='PW\\",
        "host=h password=PW\\",
        "host=h pasword=PW",
        "host=h sslpassword=PW",
        "host=h password='PW' 'x'",
        "host=postgres://user:PW@host/db",
        "host=user:PW@host",
        "dbname=postgres://user:PW@host/db",
        "dbname='postgres://user:PW@host/db'",
        "password='PW\0'",
    ];
    for password in ["s3cretPW", "hunter2", "x9"] {
        for dsn in bad {
            let dsn = dsn.replace("PW", password);
            let e = match parse(&dsn) {
                Err(e) => e,
                Ok(c) => panic!("{dsn} was taken for {c:?}"),
            };
            assert_eq!(e.code(), ErrorCode::InvalidDsn, "{dsn}");
            for shown in [e.to_string(), format!("{e:?}"), format!("{e:#?}")] {
                assert!(!shown.contains(password), "{dsn}: {shown}");
            }
        }
        let env = [("PGPASSWORD", format!("{password}\0")), ("PGHOST", format!("u:{password}@h"))];
        for (name, value) in env {
            let e = with_env("", &[(name, &value)]).unwrap_err();
            assert!(e.to_string().starts_with(name), "{e}");
            assert!(!format!("{e} {e:?}").contains(password), "{e}");
        }
        let fields = [("password", format!("{password}\0")), ("host", format!("u:{password}@h"))];
        for (name, value) in fields {
            let e = ConnectConfig::parse_with("", &[(name, &value)], &nothing).unwrap_err();
            assert!(!format!("{e} {e:?}").contains(password), "{e}");
        }
    }
}

#[test]
fn a_good_config_hides_its_password_in_debug() {
    let c = parse("postgres://user:s3cret@host/db").unwrap();
    assert!(!format!("{c:?} {c:#?} {:?}", c.session(&c.endpoints[0])).contains("s3cret"));
}

#[test]
fn no_text_makes_the_parser_panic() {
    let pieces = [
        "postgres://",
        "host",
        "=",
        "'",
        "\\",
        " ",
        "%",
        "%4",
        "%zz",
        "@",
        ":",
        "/",
        "?",
        "&",
        "#",
        ",",
        "[",
        "]",
        "::1",
        "password",
        "port",
        "é",
        "\0",
        "\n",
        "ssl=true",
        "😀",
        "1",
        "99999",
        "-",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..50_000 {
        let mut text = String::new();
        for _ in 0..8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(pieces[usize::try_from(state % pieces.len() as u64).unwrap()]);
        }
        let _ = parse(&text);
    }
}
