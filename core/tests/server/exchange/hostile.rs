//! A server that says what no server should: errors, never a panic, never a hang.

use std::time::Duration;

use leakpool::exchange::{Item, Query};
use leakpool::{ErrorCode, Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::support::eventually;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut m = vec![tag];
    m.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    m.extend_from_slice(body);
    m
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

async fn read_message(socket: &mut TcpStream, tagged: bool) -> Option<(u8, Vec<u8>)> {
    let tag = if tagged { socket.read_u8().await.ok()? } else { 0 };
    let len = socket.read_u32().await.ok()? as usize;
    let mut body = vec![0; len - 4];
    socket.read_exact(&mut body).await.ok()?;
    Some((tag, body))
}

/// A server that answers each Query and each Sync with the next of these. An answer that is not whole is its last.
async fn server(answers: Vec<Vec<u8>>) -> Pool {
    server_in_pieces(answers, usize::MAX).await
}

/// The same, but what is longer than `piece` comes in two, the second a moment later.
async fn server_in_pieces(answers: Vec<Vec<u8>>, piece: usize) -> Pool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        read_message(&mut socket, false).await.unwrap();
        let mut hello = message(b'R', &[0; 4]);
        hello.extend(message(b'S', b"server_version\x0015.0\0"));
        hello.extend(message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]));
        hello.extend(ready());
        socket.write_all(&hello).await.unwrap();
        let mut answers = answers.into_iter();
        while let Some((tag, _)) = read_message(&mut socket, true).await {
            if matches!(tag, b'Q' | b'S') {
                let Some(answer) = answers.next() else { break };
                let (now, later) = answer.split_at(answer.len().min(piece));
                if socket.write_all(now).await.is_err() {
                    break;
                }
                if !later.is_empty() {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    socket.write_all(later).await.unwrap();
                }
                if answer == half() {
                    break;
                }
            }
        }
    });
    Pool::builder()
        .statement_cache(true)
        .dsn(&format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable"))
        .max_size(1)
        .build()
        .unwrap()
}

const DESCRIPTION: &[u8] = b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";

fn one_row() -> Vec<u8> {
    let mut answer = message(b'T', DESCRIPTION);
    answer.extend(message(b'D', b"\0\x01\0\0\0\x017"));
    answer.extend(message(b'C', b"SELECT 1\0"));
    answer.extend(ready());
    answer
}

/// The columns and a piece of the row.
fn half() -> Vec<u8> {
    one_row()[..5 + DESCRIPTION.len() + 7].to_vec()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

#[tokio::test]
async fn answers_that_make_no_sense_are_protocol_errors_and_the_next_request_is_right() {
    let nonsense: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("a row without columns", vec![message(b'D', b"\0\x01\0\0\0\x01x")]),
        (
            "a row of other columns",
            vec![message(b'T', DESCRIPTION), message(b'D', b"\0\x02\0\0\0\x01x\0\0\0\x01x")],
        ),
        ("a value past its row", vec![message(b'T', DESCRIPTION), message(b'D', b"\0\x01\0\0\0\x09x")]),
        ("a row of half a length", vec![message(b'T', DESCRIPTION), message(b'D', b"\0\x01\0\0")]),
        ("columns cut off", vec![message(b'T', &DESCRIPTION[..9])]),
        ("a format that does not exist", vec![message(b'T', &[&DESCRIPTION[..20], &[0, 9]].concat())]),
        ("a tag without an end", vec![message(b'C', b"SELECT 1")]),
        ("an error without an end", vec![message(b'E', b"SERROR\0C22012")]),
        ("a notice without an end", vec![message(b'N', b"S")]),
        ("an unknown message", vec![message(b'~', b"what")]),
        ("authentication again", vec![message(b'R', &[0; 4])]),
    ];
    for (what, messages) in nonsense {
        let mut answer = messages.concat();
        answer.extend(ready());
        let pool = server(vec![answer.clone(), one_row(), answer, one_row()]).await;
        let held = within(pool.acquire()).await.unwrap();
        let e = within(say(held.exchange(), "SELECT 1")).await.unwrap_err();
        assert_eq!(e.code(), ErrorCode::Protocol, "{what}: {e}");
        let next = within(say(held.exchange(), "SELECT 7")).await.unwrap();
        assert_eq!(value(&next[0]), "7", "{what}");
        let e = within(ask(held.exchange(), "SELECT 1")).await.unwrap_err();
        assert_eq!(e.code(), ErrorCode::Protocol, "{what}: {e}");
    }
}

#[tokio::test]
async fn an_empty_answer_and_one_that_breaks_off() {
    let pool = server(vec![ready(), ready(), ready(), ready(), half()]).await;
    let held = within(pool.acquire()).await.unwrap();
    assert_eq!(within(say(held.exchange(), "SELECT 1")).await.unwrap(), []);
    assert_eq!(within(ask(held.exchange(), "SELECT 1")).await.unwrap_err().code(), ErrorCode::Protocol);
    let e = within(held.exchange().describe("SELECT 1", &[])).await.unwrap_err();
    assert_eq!(e.code(), ErrorCode::Protocol);
    let e = within(held.exchange().copy_in("COPY t FROM STDIN")).await.unwrap_err();
    assert_eq!(e.code(), ErrorCode::InvalidArgument);
    let mut answers = held.exchange().simple("SELECT 1").unwrap();
    assert!(matches!(within(answers.next()).await, Some(Ok(Item::Columns(_)))));
    // The server hangs up in the middle.
    assert_eq!(within(answers.collect()).await.unwrap_err().code(), ErrorCode::ConnectionLost);
    assert_eq!(within(say(held.exchange(), "SELECT 1")).await.unwrap_err().code(), ErrorCode::ConnectionLost);
}

#[tokio::test]
async fn what_comes_with_the_end_of_an_answer_reaches_tokio_postgres_whole() {
    // A notification behind the ReadyForQuery, cut in the middle: half of it comes with the answer, half of it later.
    let notification = message(b'A', b"\0\0\0\x01ears\0payload\0");
    for cut in 0..=notification.len() {
        let answers = vec![[one_row(), notification.clone()].concat(), one_row(), one_row()];
        let pool = server_in_pieces(answers, one_row().len() + cut).await;
        let held = within(pool.acquire()).await.unwrap();
        let mut heard = held.notifications();
        assert_eq!(value(&within(say(held.exchange(), "SELECT 7")).await.unwrap()[0]), "7");
        if cut % 2 == 0 {
            let messages = within(held.simple_query("SELECT 7")).await.unwrap();
            assert_eq!(messages.len(), 3, "cut at {cut}");
        } else {
            assert_eq!(
                value(&within(say(held.exchange(), "SELECT 7")).await.unwrap()[0]),
                "7",
                "cut at {cut}"
            );
        }
        assert_eq!(within(heard.recv()).await.unwrap().payload(), "payload");
        assert_eq!(value(&within(say(held.exchange(), "SELECT 7")).await.unwrap()[0]), "7");
    }
}

/// What no server ends an answer with.
fn no_ready() -> Vec<Vec<u8>> {
    vec![
        message(b'Z', b"X"),
        message(b'Z', b"i"),
        message(b'Z', b""),
        message(b'Z', b"II"),
        vec![b'Z', 0, 0, 0, 0],
    ]
}

#[tokio::test]
async fn a_status_that_nobody_knows_is_an_error_and_never_a_clean_one() {
    for end in no_ready() {
        let mut answer = one_row();
        answer.truncate(answer.len() - ready().len());
        answer.extend(end);
        for way in 0..4 {
            // A whole answer stands behind it: what is out of step is not believed any more.
            let pool = server(vec![[answer.clone(), one_row()].concat(), one_row()]).await;
            let held = within(pool.acquire()).await.unwrap();
            match way {
                0 => {
                    let e = within(say(held.exchange(), "SELECT 1")).await.unwrap_err();
                    assert_eq!(e.code(), ErrorCode::Protocol, "{e}");
                }
                1 => {
                    let e = within(ask(held.exchange(), "SELECT 1")).await.unwrap_err();
                    assert_eq!(e.code(), ErrorCode::Protocol, "{e}");
                }
                // tokio-postgres may have heard all that it waits for before.
                2 => drop(within(held.simple_query("SELECT 1")).await),
                _ => drop(within(held.batch_execute("SELECT 1")).await),
            }
            eventually("the session has ended", || held.is_closed()).await;
            let e = within(say(held.exchange(), "SELECT 1")).await.unwrap_err();
            assert_eq!(e.code(), ErrorCode::ConnectionLost, "{e}");
            drop(held);
            eventually("it is not handed out again", || pool.status().idle + pool.status().returning == 0)
                .await;
        }
    }
}

#[tokio::test]
async fn garbage_behind_an_error_is_an_error_at_once() {
    let error = message(b'E', b"SERROR\0VERROR\0C22012\0Mdivision by zero\0\0");
    for garbage in [&b"garbage without an end"[..], b"D\xff\xff\xff\xff", b"D\0\0\0\x03", b"Z\0\0\0\x04"] {
        let answer = [&error[..], garbage].concat();
        for way in 0..4 {
            let pool = server(vec![answer.clone()]).await;
            let held = within(pool.acquire()).await.unwrap();
            let e = match way {
                0 => within(say(held.exchange(), "SELECT 1")).await.unwrap_err(),
                1 => within(ask(held.exchange(), "SELECT 1")).await.unwrap_err(),
                2 => within(held.exchange().copy_out("COPY t TO STDOUT")).await.unwrap_err(),
                _ => held.error(within(held.batch_execute("SELECT 1")).await.unwrap_err()),
            };
            assert_eq!((e.code(), e.sqlstate()), (ErrorCode::Database, Some("22012")), "{way}: {e}");
            eventually("the session has ended", || held.is_closed()).await;
        }
    }
    // And so is garbage alone.
    let pool = server(vec![b"garbage without an end".to_vec()]).await;
    let held = within(pool.acquire()).await.unwrap();
    let e = within(say(held.exchange(), "SELECT 1")).await.unwrap_err();
    assert_eq!(e.code(), ErrorCode::Protocol, "{e}");
}

#[tokio::test]
async fn what_is_no_postgres_is_told_at_once() {
    for answer in
        ["HTTP/1.1 400 Bad Request\r\n\r\n", "220 mail.example ESMTP\r\n", "Etoo many clients already\n\0"]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                socket.write_all(answer.as_bytes()).await.unwrap();
                // It waits for more, as such servers do.
                open.push(socket);
            }
        });
        let hour = Duration::from_secs(3600);
        let dsn = format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable&connect_timeout=3600");
        let pool = Pool::builder().dsn(&dsn).acquire_timeout(hour).build().unwrap();
        let e = within(pool.acquire()).await.unwrap_err();
        assert!(e.to_string().contains("protocol"), "{}: {e}", e.code());
        server.abort();
    }
}

#[tokio::test]
async fn notices_without_end_are_not_all_kept() {
    let mut notices = Vec::new();
    for i in 0..50_000 {
        let body = format!("SNOTICE\0VNOTICE\0C00000\0Mthe {i}th\0\0");
        notices.extend(message(b'N', body.as_bytes()));
    }
    let simple = [notices.clone(), one_row()].concat();
    // Before it is bound, the asker cannot take any.
    let extended = [&message(b'1', b"")[..], &notices, &message(b'2', b""), &one_row()].concat();
    let copy = [
        &message(b'H', &[0, 0, 0])[..],
        &notices,
        &message(b'c', b""),
        &message(b'C', b"COPY 0\0"),
        &ready(),
    ];
    let pool = server(vec![simple, extended, copy.concat()]).await;
    let held = within(pool.acquire()).await.unwrap();
    let answers = within(say(held.exchange(), "SELECT 1")).await.unwrap();
    let kept = answers[0].notices.len();
    assert!((1..5000).contains(&kept), "{kept} notices");
    assert_eq!(answers[0].notices[0].message(), "the 0th");
    let query = Query::new("SELECT 1").cached(false);
    let mut answers = within(held.exchange().extended(&query)).await.unwrap();
    let mut met = 0;
    while let Some(item) = within(answers.next()).await {
        met += usize::from(matches!(item, Ok(Item::Notice(_))));
    }
    assert!((1..5000).contains(&met), "{met} notices");
    let mut out = within(held.exchange().copy_out("COPY t TO STDOUT")).await.unwrap();
    assert!(within(out.next()).await.is_none());
    let kept = out.notices().len();
    assert!((1..5000).contains(&kept), "{kept} notices");
    assert_eq!(out.tag().map(|tag| tag.to_string()).as_deref(), Some("COPY 0"));
}

#[tokio::test]
async fn parameters_without_end_are_not_all_kept() {
    let mut answer = Vec::new();
    for i in 0..10_000 {
        answer.extend(message(b'S', format!("p{i}\0value\0").as_bytes()));
    }
    answer.extend(message(b'S', format!("server_version\0{}\0", "9".repeat(20_000)).as_bytes()));
    answer.extend(one_row());
    let pool = server(vec![answer]).await;
    let held = within(pool.acquire()).await.unwrap();
    assert_eq!(held.parameter("server_version").as_deref(), Some("15.0"));
    within(say(held.exchange(), "SELECT 7")).await.unwrap();
    assert_eq!(held.parameter("p0").as_deref(), Some("value"));
    assert_eq!(held.parameter("p9999"), None);
    assert_eq!(held.parameter("server_version"), None, "half a value is none");
}

#[tokio::test]
async fn garbage_ends_in_an_error() {
    let mut random = Seeded(4711);
    for round in 0..60 {
        let mut answer = one_row();
        for _ in 0..1 + random.below(4) {
            let at = random.below(answer.len() as u64) as usize;
            answer[at] = random.below(256) as u8;
        }
        let pool = server(vec![answer]).await;
        let held = within(pool.acquire()).await.unwrap();
        let mut answers = if round % 2 == 0 {
            held.exchange().simple("SELECT 1").unwrap()
        } else {
            let exchange = held.exchange();
            let query = Query::new("SELECT 1");
            match tokio::time::timeout(Duration::from_millis(60), exchange.extended(&query)).await {
                Ok(answers) => answers.unwrap(),
                // A length that is too long: the rest is waited for.
                Err(_) => continue,
            }
        };
        let outcome = tokio::time::timeout(Duration::from_millis(60), answers.collect()).await;
        drop(outcome);
        held.release_broken();
    }
}
