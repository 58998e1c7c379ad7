//! What is answered: values, columns, tags, errors, notices, parameters.

use std::process::Command;

use leakpool::exchange::{Ending, Format, Formats, Item, Param, Query, ServerError};
use leakpool::{ErrorCode, TransactionStatus};

use super::*;
use crate::support::*;

/// One of each kind of value, and their nulls, quotes, newlines and odd characters.
const VALUES: &str = "SELECT 1::int2 AS a, -2147483648 AS b, 9007199254740993::int8 AS c, 1.50::numeric(8,2) AS d, \
     'NaN'::float8 AS e, 0.1::float4 AS f, true AS g, 'it''s \u{e4}\u{20ac}\u{1f600}'::text AS h, 'ab'::char(4) AS i, \
     '\\xdeadbeef'::bytea AS j, '2026-02-03 04:05:06.789+02'::timestamptz AS k, '1 year 2 mons 3 days'::interval AS l, \
     '{1,NULL,3}'::int4[] AS m, '{\"a\": [1, null]}'::jsonb AS n, '12.34'::money AS o, 'pg_class'::regclass AS p, \
     '(1,2)'::point AS q, '[1,5)'::int4range AS r, NULL::text AS s, ''::text AS t, \
     '=arwdDxt/postgres'::text AS u, 'd1f7e2a0-0000-4000-8000-0123456789ab'::uuid AS v, '10.0.0.0/8'::cidr AS w, \
     row(1, 'x') AS x, '1010'::bit(4) AS y, E'two\\nlines\\ttab' AS z";

fn psql(sql: &str) -> Option<Vec<Vec<String>>> {
    let Some(bin) = std::env::var_os("LEAKPOOL_TEST_PG_BIN") else {
        eprintln!("skipped the comparison with psql: LEAKPOOL_TEST_PG_BIN is not set");
        return None;
    };
    let out = Command::new(std::path::Path::new(&bin).join("psql"))
        .args(["-X", "-q", "-A", "-t", "-0", "-F", "\u{1}", "-P", "null=\u{2}", "-c", sql])
        .arg(url())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let rows = text.split_terminator('\0').map(|row| row.split('\u{1}').map(str::to_owned).collect());
    Some(rows.collect())
}

fn shown(row: &RawRow) -> Vec<String> {
    texts(row).into_iter().map(|v| v.unwrap_or_else(|| "\u{2}".into())).collect()
}

#[tokio::test]
async fn values_are_what_psql_shows() {
    let pool = builder().build().unwrap();
    let held = pool.acquire().await.unwrap();
    for sql in [
        VALUES,
        "SELECT n, n * 1.5, NULLIF(n, 3) FROM generate_series(1, 5) n",
        "SELECT",
        "SELECT 1 WHERE false",
    ] {
        let Some(expected) = psql(sql) else { return };
        let simple = say(held.exchange(), sql).await.unwrap().remove(0);
        let extended = ask(held.exchange(), sql).await.unwrap();
        let again = ask(held.exchange(), sql).await.unwrap();
        for answer in [&simple, &extended, &again] {
            if sql == "SELECT" {
                assert_eq!((answer.rows.len(), answer.rows[0].is_empty()), (1, true));
                assert_eq!(answer.columns.as_ref().map(|c| c.len()), Some(0));
            } else {
                assert_eq!(answer.rows.iter().map(shown).collect::<Vec<_>>(), expected, "{sql}");
            }
        }
        assert_eq!(simple, extended, "both protocols");
        assert_eq!(extended, again, "and the cached statement");
    }
}

#[tokio::test]
async fn binary_values_and_columns_are_what_tokio_postgres_gets() {
    struct Raw(Vec<u8>);
    impl<'a> tokio_postgres::types::FromSql<'a> for Raw {
        fn from_sql(
            _: &tokio_postgres::types::Type,
            raw: &'a [u8],
        ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
            Ok(Raw(raw.to_vec()))
        }
        fn accepts(_: &tokio_postgres::types::Type) -> bool {
            true
        }
    }
    let pool = builder().build().unwrap();
    let held = pool.acquire().await.unwrap();
    let statement = held.prepare(VALUES).await.unwrap();
    let row = held.query_one(&statement, &[]).await.unwrap();
    for _ in 0..2 {
        let query = Query::new(VALUES).formats(Formats::All(Format::Binary));
        let answer = held.exchange().extended(&query).await.unwrap().one().await.unwrap();
        let columns = answer.columns.clone().unwrap();
        assert_eq!(columns.len(), statement.columns().len());
        for (i, (column, theirs)) in columns.iter().zip(statement.columns()).enumerate() {
            assert_eq!((&*column.name, column.type_oid), (theirs.name(), theirs.type_().oid()));
            assert_eq!(column.format, Format::Binary);
            assert_eq!(theirs.type_modifier(), column.type_modifier);
            let theirs = row.get::<_, Option<Raw>>(i).map(|raw| raw.0);
            assert_eq!(answer.rows[0].get(i), theirs.as_deref(), "{}", column.name);
            assert_eq!(answer.rows[0].bytes(i).as_deref(), theirs.as_deref());
        }
    }
    // One format for each column, of a statement that is cached.
    for _ in 0..2 {
        let query = Query::new("SELECT 1::int4, 1::int4")
            .formats(Formats::PerColumn(&[Format::Binary, Format::Text]));
        let answer = held.exchange().extended(&query).await.unwrap().one().await.unwrap();
        assert_eq!(answer.rows[0].iter().collect::<Vec<_>>(), [Some(&[0, 0, 0, 1][..]), Some(b"1")]);
        let formats: Vec<Format> = answer.columns.unwrap().iter().map(|c| c.format).collect();
        assert_eq!(formats, [Format::Binary, Format::Text]);
    }
    let wrong = Query::new("SELECT 1, 2").formats(Formats::PerColumn(&[Format::Text; 3]));
    let e = held.exchange().extended(&wrong).await.unwrap().one().await.unwrap_err();
    assert_eq!(e.sqlstate(), Some("08P01"));
    still_works(&held).await;
}

#[tokio::test]
async fn columns_tell_their_table_size_and_modifier() {
    let pool = builder().build().unwrap();
    let held = pool.acquire().await.unwrap();
    say(
        held.exchange(),
        "CREATE TEMP TABLE told (gone int, id int8, name varchar(20)); ALTER TABLE told DROP gone",
    )
    .await
    .unwrap();
    let oid =
        value(&ask(held.exchange(), "SELECT 'told'::regclass::oid").await.unwrap()).parse::<u32>().unwrap();
    for answer in [
        say(held.exchange(), "SELECT name, id, id + 1 FROM told").await.unwrap().remove(0),
        ask(held.exchange(), "SELECT name, id, id + 1 FROM told").await.unwrap(),
        ask(held.exchange(), "SELECT name, id, id + 1 FROM told").await.unwrap(),
    ] {
        let columns = answer.columns.unwrap();
        let told: Vec<_> = columns
            .iter()
            .map(|c| (&*c.name, c.table_oid, c.column_id, c.type_oid, c.type_size, c.type_modifier))
            .collect();
        assert_eq!(
            told,
            [("name", oid, 3, 1043, -1, 24), ("id", oid, 2, 20, 8, -1), ("?column?", 0, 0, 20, 8, -1)]
        );
    }
}

#[tokio::test]
async fn parameters_have_the_types_that_the_caller_says() {
    let pool = builder().build().unwrap();
    let held = pool.acquire().await.unwrap();
    let type_of = async |param: Param<'_>| {
        let params = [param];
        let query = Query::new("SELECT pg_typeof($1)::text, $1::text").params(&params);
        let answer = held.exchange().extended(&query).await.unwrap().one().await.unwrap();
        texts(&answer.rows[0])
    };
    let some = |a: &str, b: &str| vec![Some(a.to_owned()), Some(b.to_owned())];
    for _ in 0..2 {
        assert_eq!(type_of(Param { oid: 21, ..Param::text(b"7") }).await, some("smallint", "7"));
        assert_eq!(type_of(Param { oid: 1700, ..Param::text(b"7.0") }).await, some("numeric", "7.0"));
        let binary = Param { oid: 23, format: Format::Binary, value: Some(&[0, 0, 1, 0]) };
        assert_eq!(type_of(binary).await, some("integer", "256"));
        assert_eq!(type_of(Param { oid: 23, ..Param::NULL }).await, vec![Some("integer".into()), None]);
        // Where nothing tells, it is an error to this function; elsewhere the server infers.
        let params = [Param::text(b"7"), Param::text(b"8")];
        let query = Query::new("SELECT $1, $2 + 1::int8").params(&params);
        let answer = held.exchange().extended(&query).await.unwrap().one().await.unwrap();
        assert_eq!(texts(&answer.rows[0]), some("7", "9"));
        assert_eq!(answer.columns.unwrap().iter().map(|c| c.type_oid).collect::<Vec<_>>(), [25, 20]);
    }
    let mixed = [
        Param::text(b"5"),
        Param { oid: 23, format: Format::Binary, value: Some(&[0, 0, 0, 6]) },
        Param::NULL,
    ];
    let query = Query::new("SELECT $1::int4, $2, $3::bool").params(&mixed);
    let answer = held.exchange().extended(&query).await.unwrap().one().await.unwrap();
    assert_eq!(texts(&answer.rows[0]), [Some("5".into()), Some("6".into()), None]);
    // The protocol can count 65,535 of them.
    let texts_of: Vec<String> = (0..65_535).map(|i| i.to_string()).collect();
    let many: Vec<Param<'_>> =
        texts_of.iter().map(|t| Param { oid: 23, ..Param::text(t.as_bytes()) }).collect();
    let query = Query::new("SELECT $1 + $65535").params(&many);
    let answer = held.exchange().extended(&query).await.unwrap().one().await.unwrap();
    assert_eq!(value(&answer), "65534");
    let described = held.exchange().describe("SELECT $1, $2 + 1, $3::uuid", &[16, 0]).await.unwrap();
    assert_eq!(*described.parameters, [16, 23, 2950]);
    let columns: Vec<u32> = described.columns.unwrap().iter().map(|c| c.type_oid).collect();
    assert_eq!(columns, [16, 23, 2950]);
    assert_eq!(held.exchange().describe("CREATE TEMP TABLE x (i int)", &[]).await.unwrap().columns, None);
    let e = held.exchange().describe("SELECT nothing", &[]).await.unwrap_err();
    assert_eq!(e.sqlstate(), Some("42703"));
    still_works(&held).await;
}

#[tokio::test]
async fn several_statements_give_several_results_with_their_tags() {
    let pool = builder().build().unwrap();
    let held = pool.acquire().await.unwrap();
    let sql = "CREATE TEMP TABLE s (i int); INSERT INTO s SELECT generate_series(1, 3); SELECT i FROM s; \
               UPDATE s SET i = i + 1 WHERE i > 1; DELETE FROM s; SELECT 1 WHERE false;; DO $$ BEGIN RAISE NOTICE 'hi'; END $$";
    let answers = say(held.exchange(), sql).await.unwrap();
    let tags: Vec<_> =
        answers.iter().map(|a| a.tag().unwrap()).map(|t| (t.to_string(), t.rows(), t.oid())).collect();
    let tag = |text: &str, rows, oid| (text.to_owned(), rows, oid);
    assert_eq!(
        tags,
        [
            tag("CREATE TABLE", None, None),
            tag("INSERT 0 3", Some(3), Some(0)),
            tag("SELECT 3", Some(3), None),
            tag("UPDATE 2", Some(2), None),
            tag("DELETE 3", Some(3), None),
            tag("SELECT 0", Some(0), None),
            tag("DO", None, None),
        ]
    );
    assert_eq!(answers[2].rows.len(), 3);
    assert_eq!(answers[1].columns, None);
    assert!(answers[5].columns.is_some());
    assert_eq!(answers[6].notices[0].message(), "hi");
    assert_eq!(answers[6].notices[0].severity(), "NOTICE");
    for empty in ["", " ", "-- nothing", ";"] {
        let simple = say(held.exchange(), empty).await.unwrap();
        assert_eq!(simple.iter().map(|a| &a.ending).collect::<Vec<_>>(), [&Ending::EmptyQuery], "{empty:?}");
        assert_eq!(ask(held.exchange(), empty).await.unwrap().ending, Ending::EmptyQuery);
    }
    let e = ask(held.exchange(), "SELECT 1; SELECT 2").await.unwrap_err();
    assert_eq!(e.sqlstate(), Some("42601"));
    // What came before the error is seen by those who read on; the text was one transaction.
    let mut answers = held.exchange().simple("INSERT INTO s VALUES (9); SELECT 1/0; SELECT 2").unwrap();
    assert!(matches!(answers.next().await, Some(Ok(Item::End(Ending::Complete(_))))));
    while let Some(Ok(item)) = answers.next().await {
        assert!(matches!(item, Item::Columns(_)), "{item:?}");
    }
    assert!(answers.next().await.is_none());
    assert_eq!(value(&ask(held.exchange(), "SELECT count(*) FROM s").await.unwrap()), "0");
    let limited =
        held.exchange().extended(&Query::new("SELECT * FROM generate_series(1, 9)").max_rows(4)).await;
    let limited = limited.unwrap().one().await.unwrap();
    assert_eq!((limited.rows.len(), limited.ending), (4, Ending::Suspended));
    still_works(&held).await;
}

#[tokio::test]
async fn errors_have_every_field() {
    let pool = builder().build().unwrap();
    let held = pool.acquire().await.unwrap();
    say(
        held.exchange(),
        "CREATE TEMP TABLE e (id int4 CONSTRAINT small CHECK (id < 10), must int4 NOT NULL)",
    )
    .await
    .unwrap();
    let raise = "DO $$ BEGIN RAISE EXCEPTION SQLSTATE 'U0001' USING MESSAGE = 'mess', DETAIL = 'det', HINT = 'hin', \
         COLUMN = 'col', CONSTRAINT = 'con', DATATYPE = 'dat', TABLE = 'tab', SCHEMA = 'sch'; END $$";
    let internal = "DO $$ BEGIN EXECUTE 'SELECT 1 +'; END $$";
    for sql in [
        "SELECT 1/0",
        "SELECT \u{e4}\u{e4}, nope",
        "INSERT INTO e VALUES (11, 1)",
        "INSERT INTO e VALUES (1, NULL)",
        raise,
        internal,
    ] {
        let theirs = held.batch_execute(sql).await.unwrap_err();
        let db = theirs.as_db_error().unwrap();
        for e in [say(held.exchange(), sql).await.unwrap_err(), ask(held.exchange(), sql).await.unwrap_err()]
        {
            assert_eq!((e.code(), e.sqlstate()), (ErrorCode::Database, Some(db.code().code())));
            let ours = e.detail::<ServerError>().unwrap();
            assert_eq!(ours.code(), db.code().code());
            assert_eq!(ours.message(), db.message());
            assert_eq!((ours.severity(), ours.field(b'S')), ("ERROR", Some(db.severity())));
            assert_eq!((ours.detail(), ours.hint()), (db.detail(), db.hint()));
            assert_eq!((ours.schema(), ours.table(), ours.column()), (db.schema(), db.table(), db.column()));
            assert_eq!((ours.datatype(), ours.constraint()), (db.datatype(), db.constraint()));
            assert_eq!((ours.file(), ours.line()), (db.file(), db.line()));
            assert_eq!(ours.routine(), db.routine());
            use tokio_postgres::error::ErrorPosition;
            let (position, internal) = match db.position() {
                Some(ErrorPosition::Original(at)) => (Some(*at), None),
                Some(ErrorPosition::Internal { position, query }) => {
                    (None, Some((*position, query.as_str())))
                }
                None => (None, None),
            };
            assert_eq!(ours.position(), position, "{sql}");
            assert_eq!(ours.internal_position().zip(ours.internal_query()), internal);
            assert_eq!(ours.context().is_some(), db.where_().is_some());
            assert_eq!(e.to_string(), held.error(held.batch_execute(sql).await.unwrap_err()).to_string());
        }
    }
    still_works(&held).await;
    say(held.exchange(), "SET lc_messages = 'C'").await.unwrap();
    // Notices that came before an error are not lost.
    let mut answers =
        held.exchange().simple("DO $$ BEGIN RAISE WARNING 'before'; RAISE 'after'; END $$").unwrap();
    assert_eq!(answers.collect().await.unwrap_err().message(), "after (SQLSTATE P0001)");
    assert_eq!(answers.notices()[0].message(), "before");
    assert_eq!((answers.notices()[0].severity(), answers.notices()[0].code()), ("WARNING", "01000"));
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_anything_is() {
    let pool = builder().build().unwrap();
    let held = pool.acquire().await.unwrap();
    let before = pool.checkouts()[0].last_sql.as_ref().map(|s| s.text.clone());
    let many = vec![Param::NULL; 65_536];
    let errors = [
        held.exchange().simple("SELECT '\0'").map(drop).unwrap_err(),
        ask(held.exchange(), "SELECT '\0'").await.unwrap_err(),
        held.exchange().extended(&Query::new("SELECT 1").params(&many)).await.map(drop).unwrap_err(),
        held.exchange().copy_in("COPY \0").await.map(drop).unwrap_err(),
        held.exchange().copy_out("COPY \0").await.map(drop).unwrap_err(),
        held.exchange().describe("\0", &[]).await.unwrap_err(),
        held.exchange().after("BEGIN\0").simple("SELECT 1").map(drop).unwrap_err(),
        ask(held.exchange().after("BEGIN\0"), "SELECT 1").await.unwrap_err(),
    ];
    for e in errors {
        assert_eq!(e.code(), ErrorCode::InvalidArgument, "{e}");
    }
    assert_eq!(pool.checkouts()[0].last_sql.as_ref().map(|s| s.text.clone()), before);
    still_works(&held).await;
}

#[tokio::test]
async fn a_statement_in_front_travels_with_the_request() {
    let pool = builder().build().unwrap();
    let held = pool.acquire().await.unwrap();
    let begin = held.exchange().after("BEGIN");
    for _ in 0..2 {
        let answer = ask_with(begin, "SELECT $1::text", &["x"]).await.unwrap();
        assert_eq!((value(&answer), answer.notices.len()), ("x".into(), 0));
        assert_eq!(held.transaction_status(), TransactionStatus::InTransaction);
        assert_eq!(pool.checkouts()[0].last_sql.as_ref().unwrap().text, "SELECT $1::text");
        say(held.exchange(), "ROLLBACK").await.unwrap();
    }
    let answers = say(begin, "SELECT 1; SELECT 2").await.unwrap();
    assert_eq!(answers.iter().map(value).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(held.transaction_status(), TransactionStatus::InTransaction);
    assert_eq!(pool.checkouts()[0].last_sql.as_ref().unwrap().text, "SELECT 1; SELECT 2");
    say(held.exchange(), "ROLLBACK").await.unwrap();
    // Its rows are swallowed, too, and positions are those of the caller's text.
    let odd = held.exchange().after("SELECT 'hidden' -- no ; here");
    assert_eq!(value(&say(odd, "SELECT 'seen'").await.unwrap()[0]), "seen");
    assert_eq!(value(&ask(odd, "SELECT 'seen'").await.unwrap()), "seen");
    let position = |e: Error| e.detail::<ServerError>().unwrap().position();
    assert_eq!(position(say(odd, "SELECT nope").await.unwrap_err()), Some(8));
    assert_eq!(position(ask(odd, "SELECT nope").await.unwrap_err()), Some(8));
    // If it fails, the request is not run.
    let wrong = held.exchange().after("SELECT 1/0");
    say(held.exchange(), "CREATE TEMP TABLE untouched (i int)").await.unwrap();
    assert_eq!(say(wrong, "INSERT INTO untouched VALUES (1)").await.unwrap_err().sqlstate(), Some("22012"));
    assert_eq!(ask(wrong, "INSERT INTO untouched VALUES (1)").await.unwrap_err().sqlstate(), Some("22012"));
    assert_eq!(value(&ask(held.exchange(), "SELECT count(*) FROM untouched").await.unwrap()), "0");
    // The server answers errors of the request itself as ever.
    assert_eq!(ask(begin, "SELECT 1/0").await.unwrap_err().sqlstate(), Some("22012"));
    assert_eq!(held.transaction_status(), TransactionStatus::Failed);
    assert_eq!(ask(held.exchange(), "SELECT 1").await.unwrap_err().sqlstate(), Some("25P02"));
    say(held.exchange(), "ROLLBACK").await.unwrap();
    still_works(&held).await;
}

#[tokio::test]
async fn parameters_of_the_session_can_be_asked() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    assert_eq!(held.parameter("client_encoding").as_deref(), Some("UTF8"));
    assert_eq!(held.parameter("standard_conforming_strings").as_deref(), Some("on"));
    let version = held.query_one("SHOW server_version", &[]).await.unwrap();
    assert_eq!(held.parameter("server_version").as_deref(), Some(version.get::<_, &str>(0)));
    assert_eq!(held.parameter("no_such_thing"), None);
    say(held.exchange(), "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'").await.unwrap();
    assert_eq!(held.parameter("TimeZone").as_deref(), Some("Asia/Tokyo"));
    assert!(held.parameter("DateStyle").unwrap().starts_with("German"));
    held.batch_execute("SET TimeZone = 'Europe/Vienna'").await.unwrap();
    assert_eq!(held.parameter("TimeZone").as_deref(), Some("Europe/Vienna"));
    held.batch_execute("RESET TimeZone; RESET DateStyle").await.unwrap();
    assert_ne!(held.parameter("TimeZone").as_deref(), Some("Europe/Vienna"));
    assert_eq!(held.transaction_status(), TransactionStatus::Idle);
}

#[tokio::test]
async fn over_tls_too() {
    let separator = if url().contains('?') { '&' } else { '?' };
    let pool =
        leakpool::Pool::builder().dsn(&format!("{}{separator}sslmode=require", url())).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(value(&ask(held.exchange(), sql).await.unwrap()), "t");
    let long = ask(held.exchange(), "SELECT repeat('x', 3000000)").await.unwrap();
    assert_eq!(value(&long).len(), 3_000_000);
    still_works(&held).await;
}
