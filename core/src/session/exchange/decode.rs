//! What the backend's messages hold. Everything here takes bytes from the network: a body that is cut short or makes
//! no sense is an error value, never a panic, and nothing is allocated on the word of a length that was not checked.

use std::sync::Arc;

use bytes::Bytes;

use super::values::{Column, Format, RawRow, RowBlock, Tag};
use crate::net::framing::{Body, Malformed, back, backend_message};

/// Cuts the first message off: its tag and its body. `None` if there is none; what follows it stays.
pub(crate) fn message(bytes: &mut Bytes) -> Result<Option<(u8, Bytes)>, Malformed> {
    let Some(end) = backend_message(bytes)?.filter(|end| *end <= bytes.len()) else { return Ok(None) };
    let tag = bytes[0];
    Ok(Some((tag, bytes.split_to(end).slice(5..))))
}

fn format(code: i16) -> Result<Format, Malformed> {
    match code {
        0 => Ok(Format::Text),
        1 => Ok(Format::Binary),
        _ => Err(Malformed),
    }
}

/// RowDescription.
pub(crate) fn columns(body: &[u8]) -> Result<Arc<[Column]>, Malformed> {
    let mut body = Body::of(body);
    let count = body.u16()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        columns.push(Column {
            name: String::from_utf8_lossy(body.cstr()?).into(),
            table_oid: body.u32()?,
            column_id: body.i16()?,
            type_oid: body.u32()?,
            type_size: body.i16()?,
            type_modifier: body.i32()?,
            format: format(body.i16()?)?,
        });
    }
    body.end()?;
    Ok(columns.into())
}

/// ParameterDescription.
pub(crate) fn parameters(body: &[u8]) -> Result<Arc<[u32]>, Malformed> {
    let mut body = Body::of(body);
    let count = body.u16()?;
    let mut oids = Vec::new();
    for _ in 0..count {
        oids.push(body.u32()?);
    }
    body.end()?;
    Ok(oids.into())
}

/// Cuts off the rows at the front, each of which must have this many values. `None` if there is none.
pub(crate) fn rows(bytes: &mut Bytes, columns: usize) -> Result<Option<RowBlock>, Malformed> {
    let (mut len, mut end) = (0, 0);
    while bytes.get(end) == Some(&back::DATA_ROW)
        && let Some(message) = backend_message(&bytes[end..])?
    {
        let next = end + message;
        let Some(body) = bytes.get(end + 5..next) else { break };
        if check_row(body)? != columns {
            return Err(Malformed);
        }
        (len, end) = (len + 1, next);
    }
    Ok((len > 0).then(|| RowBlock::new(len, bytes.split_to(end))))
}

/// How many values a DataRow has.
fn check_row(body: &[u8]) -> Result<usize, Malformed> {
    let mut body = Body::of(body);
    let len = body.u16()?;
    for _ in 0..len {
        match body.i32()? {
            -1 => {}
            n => {
                body.take(usize::try_from(n).map_err(|_| Malformed)?)?;
            }
        }
    }
    body.end()?;
    Ok(usize::from(len))
}

/// DataRow. Walked once, so that whoever reads the row later meets no surprise.
pub(crate) fn row(mut bytes: Bytes) -> Result<RawRow, Malformed> {
    check_row(&bytes)?;
    let len = Body::of(&bytes).u16()?;
    Ok(RawRow::new(len, bytes.split_off(2)))
}

/// CommandComplete.
pub(crate) fn tag(body: &[u8]) -> Result<Tag, Malformed> {
    let mut body = Body::of(body);
    let tag = Tag::new(String::from_utf8_lossy(body.cstr()?).into());
    body.end()?;
    Ok(tag)
}

/// CopyInResponse and CopyOutResponse: the format of all of it and of each column.
pub(crate) fn copy_formats(body: &[u8]) -> Result<(Format, Vec<Format>), Malformed> {
    let mut body = Body::of(body);
    let overall = format(i16::from(body.u8()?))?;
    let count = body.u16()?;
    let mut formats = Vec::new();
    for _ in 0..count {
        formats.push(format(body.i16()?)?);
    }
    body.end()?;
    Ok((overall, formats))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fields::Fields;

    /// xorshift64*: the same garbage in every run.
    struct Seeded(u64);

    impl Seeded {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
        }
    }

    fn all(body: &[u8]) -> usize {
        let row = row(Bytes::copy_from_slice(body));
        if let Ok(row) = &row {
            assert_eq!(row.iter().count(), row.len());
            assert_eq!(row.get(row.len()), None);
            let _ = format!("{row:?}");
        }
        [
            columns(body).is_ok(),
            parameters(body).is_ok(),
            row.is_ok(),
            tag(body).map(|t| (t.rows(), t.oid(), t.command().len())).is_ok(),
            copy_formats(body).is_ok(),
            Fields::decode(body).map(|f| (f.position(), f.to_string())).is_ok(),
            message(&mut Bytes::copy_from_slice(body)).is_ok_and(|m| m.is_some()),
        ]
        .into_iter()
        .filter(|ok| *ok)
        .count()
    }

    fn samples() -> Vec<Vec<u8>> {
        let mut columns = vec![0, 2];
        for name in [&b"id\0"[..], b"n\xc3\xa4me\0"] {
            columns.extend_from_slice(name);
            columns.extend_from_slice(&[0, 0, 64, 1, 0, 1, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 1]);
        }
        vec![
            columns,
            vec![0, 2, 0, 0, 0, 23, 0, 0, 0, 25],
            vec![0, 3, 0, 0, 0, 2, b'h', b'i', 255, 255, 255, 255, 0, 0, 0, 0],
            b"INSERT 0 5\0".to_vec(),
            vec![1, 0, 2, 0, 1, 0, 1],
            b"SERROR\0VERROR\0C22012\0Mdivision by zero\0P8\0\0".to_vec(),
            vec![b'Z', 0, 0, 0, 5, b'I'],
        ]
    }

    #[test]
    fn every_sample_is_understood_and_none_of_its_stumps() {
        let samples = samples();
        assert_eq!(columns(&samples[0]).unwrap()[1].name.as_ref(), "näme");
        assert_eq!(*parameters(&samples[1]).unwrap(), [23, 25]);
        let r = row(samples[2].clone().into()).unwrap();
        assert_eq!(r.iter().collect::<Vec<_>>(), [Some(&b"hi"[..]), None, Some(b"")]);
        assert_eq!((r.get(0), r.get(1), r.get(2)), (Some(&b"hi"[..]), None, Some(&b""[..])));
        assert_eq!(copy_formats(&samples[4]).unwrap(), (Format::Binary, vec![Format::Binary; 2]));
        assert_eq!(Fields::decode(&samples[5]).unwrap().code(), "22012");
        let decoders: [fn(&[u8]) -> bool; 7] = [
            |b| columns(b).is_ok(),
            |b| parameters(b).is_ok(),
            |b| row(Bytes::copy_from_slice(b)).is_ok(),
            |b| tag(b).is_ok(),
            |b| copy_formats(b).is_ok(),
            |b| Fields::decode(b).is_ok(),
            |b| message(&mut Bytes::copy_from_slice(b)).is_ok_and(|m| m.is_some()),
        ];
        for (sample, decoder) in samples.iter().zip(decoders) {
            assert!(decoder(sample));
            for len in 0..sample.len() {
                assert!(!decoder(&sample[..len]), "{len} bytes of {sample:?}");
            }
            if sample[0] != b'Z' {
                assert!(!decoder(&[&sample[..], b"x"].concat()), "{sample:?} and more");
            }
        }
    }

    #[test]
    fn rows_are_cut_off_together() {
        let row = [&[b'D', 0, 0, 0, 15][..], &[0, 2, 0, 0, 0, 1, b'x', 255, 255, 255, 255]].concat();
        let bytes = [&row[..], &row, &row[..9]].concat();
        let mut rest = Bytes::from(bytes.clone());
        let block = rows(&mut rest, 2).unwrap().unwrap();
        assert_eq!((block.len(), block.messages().len(), rest.len()), (2, 32, 9));
        for row in &block {
            assert_eq!(row.collect::<Vec<_>>(), [Some(&b"x"[..]), None]);
        }
        assert_eq!(block.iter().count(), 2);
        assert_eq!(rows(&mut rest, 2), Ok(None), "half a row waits for its rest");
        assert_eq!(rows(&mut Bytes::from(bytes), 3), Err(Malformed), "it has two values");
        assert_eq!(rows(&mut Bytes::from_static(b"C\0\0\0\x05\0"), 0), Ok(None));
        let short = [&row[..12], &[0, 0, 0, 9]].concat();
        assert_eq!(rows(&mut short.into(), 2), Err(Malformed));
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        let mut random = Seeded(72);
        let samples = samples();
        let mut understood = 0;
        for round in 0..200_000_usize {
            let mut body = samples[round % samples.len()].clone();
            for _ in 0..1 + random.next() % 3 {
                let at = random.next() as usize % body.len();
                body[at] = random.next() as u8;
            }
            body.truncate(1 + random.next() as usize % (body.len() + 8));
            understood += all(&body);
            let noise: Vec<u8> = (0..random.next() % 40).map(|_| (random.next() % 4) as u8).collect();
            understood += all(&noise);
        }
        assert!(understood > 1000, "the garbage was too far off to test anything: {understood}");
    }

    #[test]
    fn a_length_of_gigabytes_allocates_nothing() {
        assert!(row(Bytes::from_static(&[255, 255, 127, 255, 255, 255])).is_err());
        assert!(row(Bytes::from_static(&[0, 1, 128, 0, 0, 0])).is_err());
        assert_eq!(message(&mut Bytes::from_static(&[b'D', 255, 255, 255, 255, 0])), Err(Malformed));
        assert_eq!(message(&mut Bytes::from_static(&[b'D', 0, 0, 0, 3, 0])), Err(Malformed));
        assert_eq!(rows(&mut Bytes::from_static(&[b'D', 255, 255, 255, 255, 0]), 1), Err(Malformed));
    }
}
