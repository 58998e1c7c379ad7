//! Connecting to a real server, with TLS and without: what libpq's options mean must have been seen.

use std::time::Duration;

use super::connect::connect;
use super::testing::{Cluster, Plain, Session, free_port};
use crate::config::ConnectConfig;
use crate::error::{Error, ErrorCode};

/// Connects to the cluster over TCP under its certificate's name, with more parameters.
async fn go(cluster: &Cluster, parameters: &str) -> Result<Session, Error> {
    let port = cluster.port;
    dsn(&format!("host=db.leakpool.test hostaddr=127.0.0.1 port={port} dbname=postgres {parameters}")).await
}

async fn dsn(dsn: &str) -> Result<Session, Error> {
    let target = ConnectConfig::parse_with(dsn, &[], &|_| None).unwrap();
    connect(&target, &Plain).await
}

#[track_caller]
fn refused(result: Result<Session, Error>, code: ErrorCode, words: &str) {
    let e = result.err().expect("the connection should have been refused");
    assert!(e.code() == code && e.message().contains(words), "{}: {e}", e.code());
    assert!(!format!("{e} {e:?}").contains("s3cret"), "{e:?}");
}

async fn encrypted_by_the_server(session: &Session) -> String {
    session.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await.unwrap()
}

#[tokio::test]
async fn sslmodes_encrypt_as_they_say() {
    let Some(c) = Cluster::running() else { return };
    for (mode, encrypted) in [("disable", false), ("prefer", true), ("require", true)] {
        let s = go(&c, &format!("user=trusted_user sslmode={mode}")).await.unwrap();
        assert_eq!(s.encrypted, encrypted, "{mode}");
        assert_eq!(encrypted_by_the_server(&s).await, if encrypted { "t" } else { "f" });
    }
    let s = dsn(&format!("host={} port={} user=trusted_user dbname=postgres", c.socket_dir(), c.port))
        .await
        .unwrap();
    assert!(!s.encrypted, "a unix socket never uses TLS");
    assert_eq!(s.peer.to_string(), format!("{}:{}", c.socket_dir(), c.port));
}

#[tokio::test]
async fn verification_trusts_the_right_authority_and_name_alone() {
    let Some(c) = Cluster::running() else { return };
    let (ca, other) = (c.certificates.text("ca.crt"), c.certificates.text("other_ca.crt"));
    let user = "user=trusted_user";
    assert!(go(&c, &format!("{user} sslmode=verify-full sslrootcert={ca}")).await.unwrap().encrypted);
    let wrong_name = format!("{user} host=elsewhere.leakpool.test sslrootcert={ca}");
    assert!(go(&c, &format!("{wrong_name} sslmode=verify-ca")).await.unwrap().encrypted);
    assert!(go(&c, &format!("{wrong_name} sslmode=require")).await.unwrap().encrypted);
    refused(
        go(&c, &format!("{wrong_name} sslmode=verify-full")).await,
        ErrorCode::TlsFailed,
        "is for db.leakpool.test, not for elsewhere.leakpool.test",
    );
    for mode in ["require", "verify-ca", "verify-full"] {
        refused(
            go(&c, &format!("{user} sslmode={mode} sslrootcert={other}")).await,
            ErrorCode::TlsFailed,
            "was not issued by an authority that sslrootcert trusts",
        );
    }
    // As libpq: `prefer` goes on without TLS where TLS fails.
    assert!(!go(&c, &format!("{user} sslmode=prefer sslrootcert={other}")).await.unwrap().encrypted);
    // The server's own certificate may be what is trusted.
    let own = c.certificates.text("server.crt");
    assert!(go(&c, &format!("{user} sslmode=verify-full sslrootcert={own}")).await.unwrap().encrypted);
    // The operating system does not know our authority.
    let system = go(&c, &format!("{user} sslrootcert=system")).await.err().unwrap();
    assert!([ErrorCode::TlsFailed, ErrorCode::InvalidOption].contains(&system.code()), "{system}");
}

#[tokio::test]
async fn channel_binding_is_used_over_tls_and_refused_without() {
    let Some(c) = Cluster::running() else { return };
    let user = "user=scram_user password=pw channel_binding=require";
    let s = go(&c, &format!("{user} sslmode=require")).await.unwrap();
    assert!(s.encrypted && s.bound);
    assert!(go(&c, &format!("{user} sslmode=prefer")).await.unwrap().encrypted);
    refused(
        go(&c, &format!("{user} sslmode=disable")).await,
        ErrorCode::TlsFailed,
        "the session is not over TLS",
    );
    // A server that does not ask for SCRAM does not bind.
    refused(
        go(&c, "user=trusted_user channel_binding=require sslmode=require").await,
        ErrorCode::AuthenticationFailed,
        "server did not use channel binding",
    );
    for binding in ["disable", "prefer"] {
        go(&c, &format!("user=scram_user password=pw channel_binding={binding} sslmode=require"))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn client_certificates_are_shown_in_every_form_of_key() {
    let Some(c) = Cluster::running() else { return };
    let file = |name: &str| c.certificates.text(name);
    let user = "user=cert_user sslmode=require";
    for key in ["client.key", "client.sec1.key"] {
        let pair = format!("sslcert={} sslkey={}", file("client.crt"), file(key));
        let s = go(&c, &format!("{user} {pair}")).await.unwrap();
        assert_eq!(
            s.value("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await.unwrap(),
            "/CN=cert_user"
        );
    }
    refused(go(&c, user).await, ErrorCode::AuthenticationFailed, "valid client certificate");
    refused(
        go(&c, &format!("{user} sslcert={} sslkey={}", file("stranger.crt"), file("stranger.key"))).await,
        ErrorCode::TlsFailed,
        "does not trust the authority of the client certificate",
    );
    // A key in the oldest form, for a role that the certificate is not for.
    refused(
        go(&c, &format!("{user} sslcert={} sslkey={}", file("server.crt"), file("server.pkcs1.key"))).await,
        ErrorCode::AuthenticationFailed,
        "certificate authentication failed",
    );
}

#[tokio::test]
async fn prefer_tries_without_tls_where_only_that_is_allowed() {
    let Some(c) = Cluster::running() else { return };
    assert!(!go(&c, "user=plain_user password=pw").await.unwrap().encrypted);
    refused(
        go(&c, "user=plain_user password=pw sslmode=require").await,
        ErrorCode::AuthenticationFailed,
        "no pg_hba.conf entry",
    );
    assert!(go(&c, "user=tls_user password=pw").await.unwrap().encrypted);
    refused(
        go(&c, "user=tls_user password=pw sslmode=disable").await,
        ErrorCode::AuthenticationFailed,
        "no pg_hba.conf entry",
    );
    // Both ways fail: both reasons are told. A wrong password is not sent a second time.
    refused(go(&c, "user=nobody").await, ErrorCode::AuthenticationFailed, "; without TLS (sslmode=prefer): ");
    let e = go(&c, "user=tls_user password=s3cret").await.err().unwrap();
    assert!(!e.message().contains("without TLS"), "{e}");
}

#[tokio::test]
async fn the_servers_refusals_have_codes_of_their_own() {
    let Some(c) = Cluster::running() else { return };
    refused(
        go(&c, "user=scram_user password=s3cret").await,
        ErrorCode::AuthenticationFailed,
        "password authentication failed for user \"scram_user\" (SQLSTATE 28P01)",
    );
    refused(
        go(&c, "user=scram_user").await,
        ErrorCode::AuthenticationFailed,
        "asks for a password and there is none",
    );
    refused(
        go(&c, "user=trusted_user dbname=nowhere").await,
        ErrorCode::DatabaseMissing,
        "database \"nowhere\" does not exist (SQLSTATE 3D000)",
    );
    let full = go(&c, "user=limited_user password=pw").await.err().unwrap();
    assert_eq!((full.code(), full.sqlstate()), (ErrorCode::ServerConnectionLimit, Some("53300")), "{full}");
    assert!(full.detail::<tokio_postgres::Error>().is_some());
    refused(go(&c, "user=trusted_user options='-c nonsense=1'").await, ErrorCode::Database, "nonsense");
}

#[tokio::test]
async fn what_is_sent_at_the_start_arrives() {
    let Some(c) = Cluster::running() else { return };
    let s = go(&c, "user=trusted_user application_name='my app' options='-c statement_timeout=1234ms'")
        .await
        .unwrap();
    assert_eq!(s.value("SHOW application_name").await.unwrap(), "my app");
    assert_eq!(s.value("SHOW statement_timeout").await.unwrap(), "1234ms");
    assert_eq!(s.value("SELECT current_user").await.unwrap(), "trusted_user");
}

#[tokio::test]
async fn the_kind_of_session_is_asked_for() {
    let Some(c) = Cluster::running() else { return };
    let user = "user=trusted_user target_session_attrs";
    for attrs in ["any", "read-write", "primary", "prefer-standby"] {
        go(&c, &format!("{user}={attrs}")).await.unwrap();
    }
    refused(
        go(&c, &format!("{user}=standby")).await,
        ErrorCode::WrongSessionKind,
        "is not what target_session_attrs=standby wants (SELECT pg_catalog.pg_is_in_recovery() is f)",
    );
    refused(
        go(&c, &format!("{user}=read-only")).await,
        ErrorCode::WrongSessionKind,
        "transaction_read_only is off",
    );
    let read_only = "options='-c default_transaction_read_only=on'";
    go(&c, &format!("{read_only} {user}=read-only")).await.unwrap();
    refused(
        go(&c, &format!("{read_only} {user}=read-write")).await,
        ErrorCode::WrongSessionKind,
        "transaction_read_only is on",
    );
}

#[tokio::test]
async fn the_next_server_is_tried_until_one_refuses_the_user() {
    let Some(c) = Cluster::running() else { return };
    let (dead, port) = (free_port(), c.port);
    let s = dsn(&format!("host=127.0.0.1,127.0.0.1 port={dead},{port} user=trusted_user dbname=postgres"))
        .await
        .unwrap();
    assert_eq!(s.peer.to_string(), format!("127.0.0.1:{port}"));
    for _ in 0..8 {
        let random = "load_balance_hosts=random user=trusted_user dbname=postgres";
        dsn(&format!("host=127.0.0.1,127.0.0.1 port={dead},{port} {random}")).await.unwrap();
    }
    let never = loop {
        let port = free_port();
        if port != dead {
            break port;
        }
    };
    let hosts = format!("host=127.0.0.1,127.0.0.1,127.0.0.1 port={dead},{port},{never}");
    let e = dsn(&format!("{hosts} user=scram_user password=s3cret")).await.err().unwrap();
    assert_eq!(e.code(), ErrorCode::AuthenticationFailed);
    assert!(
        e.message().starts_with(&format!("no server can be used: 127.0.0.1:{dead} cannot be reached: ")),
        "{e}"
    );
    assert!(e.message().contains(&format!("127.0.0.1:{port}: password authentication failed")), "{e}");
    assert!(!e.message().contains(&format!("127.0.0.1:{never}")), "{e}");
    // A server of the wrong kind does not end the search.
    let e = dsn(&format!("{hosts} user=scram_user password=pw dbname=postgres target_session_attrs=standby"))
        .await
        .err()
        .unwrap();
    assert_eq!(e.code(), ErrorCode::WrongSessionKind);
    assert!(e.message().contains(&format!("127.0.0.1:{never} cannot be reached")), "{e}");
}

#[tokio::test]
async fn cancel_ends_the_statement_on_every_kind_of_socket() {
    let Some(c) = Cluster::running() else { return };
    let tcp = format!("host=db.leakpool.test hostaddr=127.0.0.1 port={}", c.port);
    let unix = format!("host={} port={}", c.socket_dir(), c.port);
    for place in [format!("{tcp} sslmode=disable"), format!("{tcp} sslmode=require"), unix] {
        let s = dsn(&format!("{place} user=trusted_user dbname=postgres")).await.unwrap();
        // tokio-postgres shows the secret only inside the token's own request: a socket of ours catches it.
        let (pid, secret) = identity(&s).await;
        let sleeping = s.client.batch_execute("SELECT pg_sleep(60)");
        let cancel = async {
            let watcher = dsn(&format!("{place} user=trusted_user dbname=postgres")).await.unwrap();
            let asleep =
                format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'");
            for _ in 0..300 {
                if watcher.value(&asleep).await.unwrap() == "1" {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            s.peer.cancel(pid, secret, Duration::from_secs(10)).await.unwrap();
        };
        let (slept, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(30), sleeping), cancel);
        assert_eq!(
            slept.unwrap().unwrap_err().code(),
            Some(&tokio_postgres::error::SqlState::QUERY_CANCELED),
            "{place}"
        );
    }
}

async fn identity(s: &Session) -> (i32, i32) {
    let (ours, theirs) = tokio::io::duplex(64);
    let token = s.client.cancel_token();
    let send = token.cancel_query_raw(theirs, super::testing::through());
    let read = async {
        let mut request = [0; 16];
        tokio::io::AsyncReadExt::read_exact(&mut { ours }, &mut request).await.unwrap();
        let word = |at: usize| i32::from_be_bytes(request[at..at + 4].try_into().unwrap());
        (word(8), word(12))
    };
    let (sent, identity) = tokio::join!(send, read);
    sent.unwrap();
    identity
}

#[test]
fn a_thread_drives_what_is_encrypted_too() {
    use crate::exchange::{Param, Query};
    use crate::{Pool, host};
    let Some(c) = Cluster::running() else { return };
    let runtime = host::runtime().unwrap();
    let ca = c.certificates.text("ca.crt");
    let port = c.port;
    let tcp =
        format!("host=db.leakpool.test hostaddr=127.0.0.1 port={port} sslmode=verify-full sslrootcert={ca}");
    for place in [tcp, format!("host={} port={port}", c.socket_dir())] {
        let dsn = format!("{place} user=trusted_user dbname=postgres");
        let pool = Pool::builder().dsn(&dsn).max_size(1).runtime(runtime.handle().clone()).build().unwrap();
        for i in 0..100_usize {
            let held = host::wait(runtime.handle(), pool.acquire(), || false).unwrap().unwrap();
            // Now and then more than any buffer takes, both ways.
            let long = "x".repeat(if i % 50 == 0 { 5 << 20 } else { i });
            let params = [Param::text(long.as_bytes())];
            let query = Query::new("SELECT $1 || 'y'").params(&params);
            let answer = async { held.exchange().extended(&query).await?.one().await };
            let answer = held.drive(answer, || false).unwrap().unwrap();
            let value = answer.rows[0].get(0).unwrap();
            assert!(value.len() == long.len() + 1 && value.ends_with(b"y"), "{}", value.len());
        }
        assert_eq!(pool.metrics().created, 1);
    }
}
