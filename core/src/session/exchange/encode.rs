//! Requests as bytes. Everything that the protocol cannot carry is refused here, before anything is sent.

use bytes::{BufMut, Bytes, BytesMut};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend::{self, BindError};

use super::query::Query;
use super::statement_cache::{Choice, Named};
use super::values::{Format, Formats, Param};
use crate::error::{Error, ErrorCode, Result};

/// The longest message that a server takes (PQ_LARGE_MESSAGE_LIMIT in its source).
const LONGEST: usize = 0x3fff_fffe;
/// What a message holds besides SQL and parameters, at most: 65,535 each of OIDs, formats, lengths, result formats.
const OVERHEAD: usize = 65_535 * 12 + 256;
const MOST: usize = 65_535;

fn invalid(text: String) -> Error {
    Error::new(ErrorCode::InvalidArgument, text)
}

fn fits(what: &str, len: usize) -> Result<()> {
    if len > LONGEST - OVERHEAD {
        return Err(invalid(format!(
            "{what} of {len} bytes is longer than a server takes in one message (1 GiB)"
        )));
    }
    Ok(())
}

/// Refuses a text that no message can hold.
pub(crate) fn check_text(what: &str, text: &str) -> Result<()> {
    if let Some(at) = text.bytes().position(|b| b == 0) {
        return Err(invalid(format!("{what} has a NUL byte at offset {at}; SQL cannot hold one")));
    }
    fits(what, text.len())
}

/// Refuses parameters that no message can hold.
pub(crate) fn check_query(query: &Query<'_>) -> Result<()> {
    let &Query { sql, params, formats, max_rows: _, cached: _ } = query;
    check_text("the SQL text", sql)?;
    check_count("parameters", params.len())?;
    if let Formats::PerColumn(formats) = formats {
        check_count("result formats", formats.len())?;
    }
    let len = params.iter().fold(0_usize, |sum, p| sum.saturating_add(p.value.map_or(0, <[u8]>::len)));
    fits(&format!("{} parameters: a message", params.len()), len)
}

pub(crate) fn check_count(what: &str, count: usize) -> Result<()> {
    if count > MOST {
        return Err(invalid(format!("{count} {what} are more than the {MOST} that the protocol can count")));
    }
    Ok(())
}

/// The checks above leave nothing that can fail here.
fn refused(e: &std::io::Error) -> Error {
    invalid(format!("the request cannot be sent: {e}"))
}

/// A Query.
pub(crate) fn simple(sql: &str) -> Result<Bytes> {
    let mut out = BytesMut::with_capacity(sql.len() + 6);
    frontend::query(sql, &mut out).map_err(|e| refused(&e))?;
    Ok(out.freeze())
}

/// A batch of the extended protocol, message by message.
pub(crate) struct Batch(BytesMut);

impl Batch {
    pub(crate) fn new() -> Batch {
        Batch(BytesMut::with_capacity(256))
    }

    pub(crate) fn close(&mut self, named: &[Named]) -> Result<()> {
        for named in named {
            let (variant, name) = match named {
                Named::Statement(name) => (b'S', name),
                Named::Portal(name) => (b'P', name),
            };
            frontend::close(variant, name, &mut self.0).map_err(|e| refused(&e))?;
        }
        Ok(())
    }

    /// A statement of its own in front, whose results nobody wants.
    pub(crate) fn first(&mut self, sql: &str) -> Result<()> {
        self.parse("", sql, &[])?;
        self.bind("", "", &Query::new(sql))?;
        self.execute("", 0)
    }

    pub(crate) fn parse(&mut self, name: &str, sql: &str, params: &[Param<'_>]) -> Result<()> {
        // Types that the server is to infer need not be counted, and a count that is wrong is then told by the Bind.
        let told = params.iter().rposition(|p| p.oid != 0).map_or(0, |last| last + 1);
        frontend::parse(name, sql, params[..told].iter().map(|p| p.oid), &mut self.0).map_err(|e| refused(&e))
    }

    pub(crate) fn describe_statement(&mut self, name: &str) -> Result<()> {
        frontend::describe(b'S', name, &mut self.0).map_err(|e| refused(&e))
    }

    pub(crate) fn bind(&mut self, portal: &str, statement: &str, query: &Query<'_>) -> Result<()> {
        let Query { params, formats, .. } = *query;
        // One code stands for all; none for text.
        let all = |format: Format| (format == Format::Binary).then_some(Format::Binary.code());
        let one = params.first().map_or(Format::Text, |p| p.format);
        let uniform = params.iter().all(|p| p.format == one);
        let param_formats = all(one)
            .filter(|_| uniform)
            .into_iter()
            .chain(params.iter().filter(|_| !uniform).map(|p| p.format.code()));
        let (every, each) = match formats {
            Formats::All(format) => (all(format), &[][..]),
            Formats::PerColumn(formats) => (None, formats),
        };
        frontend::bind(
            portal,
            statement,
            param_formats,
            params,
            |param, out| {
                Ok(match param.value {
                    Some(value) => {
                        out.put_slice(value);
                        IsNull::No
                    }
                    None => IsNull::Yes,
                })
            },
            every.into_iter().chain(each.iter().map(|f| f.code())),
            &mut self.0,
        )
        .map_err(|e| match e {
            BindError::Conversion(e) => invalid(format!("the request cannot be sent: {e}")),
            BindError::Serialization(e) => refused(&e),
        })
    }

    /// Parse and Describe where it is not known, and Bind.
    pub(crate) fn bind_statement(&mut self, choice: &Choice, portal: &str, query: &Query<'_>) -> Result<()> {
        let name = match choice {
            Choice::Known { name, .. } | Choice::Prepare { name, .. } => &**name,
            Choice::Unnamed => "",
        };
        match choice {
            Choice::Known { .. } => {}
            Choice::Prepare { .. } | Choice::Unnamed => {
                self.parse(name, query.sql, query.params)?;
                self.describe_statement(name)?;
            }
        }
        self.bind(portal, name, query)
    }

    pub(crate) fn execute(&mut self, portal: &str, max_rows: u32) -> Result<()> {
        let most = i32::try_from(max_rows).unwrap_or(i32::MAX);
        frontend::execute(portal, most, &mut self.0).map_err(|e| refused(&e))
    }

    pub(crate) fn sync(mut self) -> Bytes {
        frontend::sync(&mut self.0);
        self.0.freeze()
    }
}

/// The longest piece of copy data in one message; the server does not care where they are cut.
const COPY_PIECE: usize = 1 << 20;

/// CopyData messages for one piece of the sender's.
pub(crate) fn copy_data(data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len() + 5 * (1 + data.len() / COPY_PIECE));
    for piece in data.chunks(COPY_PIECE) {
        out.put_u8(b'd');
        out.put_u32(piece.len() as u32 + 4);
        out.put_slice(piece);
    }
    out.freeze()
}

pub(crate) fn copy_done() -> Bytes {
    let mut out = BytesMut::with_capacity(5);
    frontend::copy_done(&mut out);
    out.freeze()
}

/// A reason with a NUL byte is cut there.
pub(crate) fn copy_fail(reason: &str) -> Bytes {
    let reason = reason.split('\0').next().unwrap_or_default().as_bytes();
    let reason = &reason[..reason.len().min(COPY_PIECE)];
    let mut out = BytesMut::with_capacity(reason.len() + 6);
    out.put_u8(b'f');
    out.put_u32(reason.len() as u32 + 5);
    out.put_slice(reason);
    out.put_u8(0);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_protocol_cannot_carry_is_refused_and_named() {
        let e = check_query(&Query::new("SELECT '\0'")).unwrap_err();
        assert_eq!(e.code(), ErrorCode::InvalidArgument);
        assert_eq!(e.to_string(), "the SQL text has a NUL byte at offset 8; SQL cannot hold one");
        let params = vec![Param::NULL; MOST + 1];
        let e = check_query(&Query::new("SELECT 1").params(&params)).unwrap_err();
        assert_eq!(e.to_string(), "65536 parameters are more than the 65535 that the protocol can count");
        assert!(check_query(&Query::new("SELECT 1").params(&params[1..])).is_ok());
        // The same megabyte over and over: nothing is copied before it is counted.
        let megabyte = vec![b'x'; 1 << 20];
        let params = vec![Param::text(&megabyte); 1024];
        let e = check_query(&Query::new("SELECT 1").params(&params)).unwrap_err();
        assert_eq!(e.code(), ErrorCode::InvalidArgument);
        assert!(e.to_string().contains("1073741824 bytes"), "{e}");
        assert!(check_query(&Query::new("SELECT 1").params(&params[1..])).is_ok());
    }

    #[test]
    fn formats_are_sent_as_shortly_as_possible() {
        let bind = |params: &[Param<'_>], formats: Formats<'_>| {
            let mut batch = Batch::new();
            batch.bind("", "", &Query::new("").params(params).formats(formats)).unwrap();
            batch.0[7..].to_vec()
        };
        let binary = Param { format: Format::Binary, value: Some(b"x"), oid: 0 };
        let one_value = [0, 1, 0, 0, 0, 1, b'x'];
        let with = |front: &[u8], back: &[u8]| [front, &one_value, back].concat();
        assert_eq!(bind(&[Param::text(b"x")], Formats::All(Format::Text)), with(&[0, 0], &[0, 0]));
        assert_eq!(bind(&[binary], Formats::All(Format::Binary)), with(&[0, 1, 0, 1], &[0, 1, 0, 1]));
        assert_eq!(
            bind(&[Param::text(b""), binary], Formats::PerColumn(&[Format::Text, Format::Binary])),
            [0, 2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 2, 0, 0, 0, 1],
        );
        assert_eq!(bind(&[], Formats::PerColumn(&[])), [0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn only_types_that_are_said_are_sent() {
        let parse = |oids: &[u32]| {
            let params: Vec<Param<'_>> = oids.iter().map(|oid| Param { oid: *oid, ..Param::NULL }).collect();
            let mut batch = Batch::new();
            batch.parse("", "", &params).unwrap();
            batch.0[7..].to_vec()
        };
        assert_eq!(parse(&[]), [0, 0]);
        assert_eq!(parse(&[0, 0]), [0, 0]);
        assert_eq!(parse(&[0, 23, 0]), [0, 2, 0, 0, 0, 0, 0, 0, 0, 23]);
    }

    #[test]
    fn long_copy_data_is_cut() {
        let sent = copy_data(&vec![b'x'; COPY_PIECE + 1]);
        assert_eq!(sent.len(), COPY_PIECE + 1 + 10);
        assert_eq!(sent[5 + COPY_PIECE..], [b'd', 0, 0, 0, 5, b'x']);
        assert!(copy_data(b"").is_empty());
        assert_eq!(copy_fail("no\0more")[..], *b"f\0\0\0\x07no\0");
    }
}
