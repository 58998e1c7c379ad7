//! Packing rows for JavaScript: the values of many rows as numbers in two arrays and one string, which `lib/decode.js`
//! turns into objects. Creating each value natively would cost a call into V8 for each of them.
//!
//! The layout, which `lib/decode.js` mirrors. JavaScript says for each column how it wants its values, by a [`Kind`];
//! a row is then a record of fixed size in `ints` (from [`HEADER`] on) and one in `doubles`:
//!
//! - In `ints`: one word of NULL bits for each 31 columns (bit `i` of word `w`: column `31 w + i`); then for each column
//!   what its kind says there.
//! - In the string: the texts of all columns that have one, one after the other, row by row. Their lengths are in
//!   `ints`, in UTF-16 units.
//!
//! A piece ends with the row that makes its string longer than [`TEXT`]: the parts of a string share its memory in V8,
//! so whoever keeps one value keeps its piece.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::str;
use std::sync::Arc;

use leakpool::exchange::{Column, RowBlock};

/// Words of `ints` in front of the records: rows in this piece; the column that could not be packed, or -1; 1 if there
/// are rows left.
const HEADER: usize = 3;
/// Columns to a word of NULL bits. Not 32: a word is then always a small integer in V8.
const BITS: usize = 31;
/// The length of a piece's string that ends it.
const TEXT: usize = 16 * 1024;

/// The longest string that V8 makes.
const LONGEST: usize = (1 << 29) - 24;
/// Instead of a column: the texts of one row are longer than that.
const TOO_LONG: i32 = -2;

/// How JavaScript wants the values of a column. The numbers are those of `lib/kinds.js`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The text. `ints`: its length; -1 = NULL.
    Text,
    /// A signed integer: `ints`.
    Int,
    /// An unsigned integer of 32 bits: `ints`, as signed.
    Unsigned,
    /// A double: `doubles`.
    Double,
    /// `t` or `f`: 1 or 0 in `ints`.
    Bool,
    /// A time with an offset: milliseconds since 1970 in `doubles`, cut to whole ones.
    Instant,
    /// A time without one: its date in `ints` as year * 512 + month * 32 + day, then its milliseconds of the day.
    Clock,
    /// A date: as the first of [`Kind::Clock`].
    Date,
    /// Bytes, given as hexadecimal digits after `\x`: as text, each byte one character. `ints`: how many; -1 = NULL.
    Hex,
    /// Bytes as they came (binary results): as for [`Kind::Hex`].
    Raw,
}

impl Kind {
    const fn from_code(code: u8) -> Option<Kind> {
        Some(match code {
            0 => Kind::Text,
            1 => Kind::Int,
            2 => Kind::Unsigned,
            3 => Kind::Double,
            4 => Kind::Bool,
            5 => Kind::Instant,
            6 => Kind::Clock,
            7 => Kind::Date,
            8 => Kind::Hex,
            9 => Kind::Raw,
            _ => return None,
        })
    }

    /// How many words of `ints`, and how many of `doubles`, a value takes.
    const fn size(self) -> (usize, usize) {
        match self {
            Kind::Text | Kind::Int | Kind::Unsigned | Kind::Bool | Kind::Date | Kind::Hex | Kind::Raw => {
                (1, 0)
            }
            Kind::Clock => (2, 0),
            Kind::Double | Kind::Instant => (0, 1),
        }
    }
}

/// What JavaScript asked for makes no sense: the two sides of the layout disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Not one kind for each column, or one that does not exist.
    Kinds,
    /// The arrays cannot hold a single row.
    Room,
}

/// A piece's string.
#[derive(Debug)]
pub(crate) enum Text {
    /// One byte a character: Latin-1.
    Narrow(Vec<u8>),
    /// UTF-16.
    Wide(Vec<u16>),
}

impl Text {
    fn len(&self) -> usize {
        match self {
            Text::Narrow(text) => text.len(),
            Text::Wide(text) => text.len(),
        }
    }

    /// Adds UTF-8 (what is not is replaced, as Node does it) and returns its length in UTF-16 units.
    fn push(&mut self, value: &[u8]) -> usize {
        if value.is_ascii() {
            return self.push_bytes(value);
        }
        match String::from_utf8_lossy(value) {
            Cow::Borrowed(text) => self.push_str(text),
            Cow::Owned(text) => self.push_str(&text),
        }
    }

    fn push_str(&mut self, value: &str) -> usize {
        let before = self.len();
        if let Text::Narrow(text) = self {
            if value.chars().all(|c| u32::from(c) <= 0xff) {
                text.extend(value.chars().map(|c| c as u8));
                return text.len() - before;
            }
            *self = Text::Wide(text.iter().map(|b| u16::from(*b)).collect());
        }
        if let Text::Wide(text) = self {
            text.extend(value.encode_utf16());
        }
        self.len() - before
    }

    /// Adds bytes, each as a character.
    fn push_bytes(&mut self, value: &[u8]) -> usize {
        match self {
            Text::Narrow(text) => text.extend_from_slice(value),
            Text::Wide(text) => text.extend(value.iter().map(|b| u16::from(*b))),
        }
        value.len()
    }

    /// Adds the bytes that hexadecimal digits stand for.
    fn push_hex(&mut self, digits: &[u8]) -> Option<usize> {
        let (pairs, []) = digits.as_chunks::<2>() else { return None };
        for [high, low] in pairs {
            let byte = nibble(*high)? << 4 | nibble(*low)?;
            match self {
                Text::Narrow(text) => text.push(byte),
                Text::Wide(text) => text.push(u16::from(byte)),
            }
        }
        Some(pairs.len())
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Text::Narrow(text) => text.truncate(len),
            Text::Wide(text) => text.truncate(len),
        }
    }
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// The rows of one result that JavaScript has not taken yet. They may be taken while more are still to come.
#[derive(Debug)]
pub(crate) struct Rows {
    columns: Arc<[Column]>,
    /// In the front one, those before `at` have been taken.
    blocks: VecDeque<RowBlock>,
    at: usize,
}

impl Rows {
    pub(crate) fn new(columns: Arc<[Column]>) -> Rows {
        Rows { columns, blocks: VecDeque::new(), at: 0 }
    }

    pub(crate) fn columns(&self) -> &Arc<[Column]> {
        &self.columns
    }

    pub(crate) fn push(&mut self, block: RowBlock) {
        self.blocks.push_back(block);
    }

    /// The values of the next row (each its length and its bytes), and where it ends.
    fn next(&self) -> Option<(&[u8], usize)> {
        let rest = self.blocks.front()?.messages().get(self.at..)?;
        // Tag and length of the message, the count of values.
        let (&[_, a, b, c, d, _, _], _) = rest.split_first_chunk()?;
        let len = u32::from_be_bytes([a, b, c, d]) as usize + 1;
        Some((rest.get(7..len)?, self.at + len))
    }

    /// The rows up to there are taken.
    fn taken(&mut self, end: usize) {
        self.at = end;
        if self.blocks.front().is_some_and(|block| block.messages().len() <= end) {
            self.blocks.pop_front();
            self.at = 0;
        }
    }

    /// Packs as many rows as fit and returns their texts. If a value cannot be what its kind says (a date before
    /// Christ, a `DateStyle` that is not ISO), its row is left, and the header names its column: JavaScript then asks
    /// for that column as text.
    pub(crate) fn pack(
        &mut self,
        kinds: &[u8],
        ints: &mut [i32],
        doubles: &mut [f64],
    ) -> Result<Text, Mismatch> {
        let kinds = kinds.iter().map(|code| Kind::from_code(*code)).collect::<Option<Vec<Kind>>>();
        let kinds = kinds.filter(|kinds| kinds.len() == self.columns.len()).ok_or(Mismatch::Kinds)?;
        let masks = kinds.len().div_ceil(BITS);
        let (width, height) =
            kinds.iter().map(|kind| kind.size()).fold((masks, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let (header, records) = ints.split_first_chunk_mut::<HEADER>().ok_or(Mismatch::Room)?;
        if records.len() < width || doubles.len() < height {
            return Err(Mismatch::Room);
        }
        // A row without columns takes no room: the header's count is all there is to say.
        let most = records.len().checked_div(width).unwrap_or(i32::MAX as usize);
        let most = doubles.len().checked_div(height).map_or(most, |fit| most.min(fit));
        let mut text = Text::Narrow(Vec::new());
        let mut failed = None;
        let mut packed = 0;
        while packed < most && text.len() < TEXT {
            let Some((row, end)) = self.next() else { break };
            let ints = &mut records[packed * width..][..width];
            let doubles = &mut doubles[packed * height..][..height];
            let before = text.len();
            if let Err(column) = pack_row(row, &kinds, masks, ints, doubles, &mut text) {
                text.truncate(before);
                failed = Some(column);
                break;
            }
            self.taken(end);
            packed += 1;
        }
        if text.len() > LONGEST {
            *header = [0, TOO_LONG, 0];
            return Ok(Text::Narrow(Vec::new()));
        }
        let small = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        *header = [small(packed), failed.map_or(-1, small), i32::from(self.next().is_some())];
        Ok(text)
    }
}

/// Packs one row, or tells the column whose value is not what it should be.
fn pack_row(
    mut row: &[u8],
    kinds: &[Kind],
    masks: usize,
    ints: &mut [i32],
    mut doubles: &mut [f64],
    text: &mut Text,
) -> Result<(), usize> {
    let (nulls, mut ints) = ints.split_at_mut(masks);
    nulls.fill(0);
    for (column, kind) in kinds.iter().enumerate() {
        let (a, b) = kind.size();
        let int = ints.split_off_mut(..a).ok_or(column)?;
        let double = doubles.split_off_mut(..b).ok_or(column)?;
        let (len, rest) = row.split_first_chunk().ok_or(column)?;
        row = rest;
        match usize::try_from(i32::from_be_bytes(*len)) {
            Ok(len) => {
                let (value, rest) = row.split_at_checked(len).ok_or(column)?;
                row = rest;
                pack_value(value, *kind, int, double, text).ok_or(column)?;
            }
            Err(_) => match kind {
                Kind::Text | Kind::Hex | Kind::Raw => int[0] = -1,
                Kind::Int
                | Kind::Unsigned
                | Kind::Double
                | Kind::Bool
                | Kind::Instant
                | Kind::Clock
                | Kind::Date => {
                    nulls[column / BITS] |= 1 << (column % BITS);
                }
            },
        }
    }
    Ok(())
}

/// `None`: it is not what its kind says.
fn pack_value(
    value: &[u8],
    kind: Kind,
    ints: &mut [i32],
    doubles: &mut [f64],
    text: &mut Text,
) -> Option<()> {
    let length = |n: usize| i32::try_from(n).ok();
    match kind {
        Kind::Text => ints[0] = length(text.push(value))?,
        Kind::Raw => ints[0] = length(text.push_bytes(value))?,
        Kind::Hex => ints[0] = length(text.push_hex(value.strip_prefix(b"\\x")?)?)?,
        Kind::Int => ints[0] = number(value)?,
        Kind::Unsigned => ints[0] = number::<u32>(value)?.cast_signed(),
        Kind::Double => doubles[0] = number(value)?,
        Kind::Bool => {
            ints[0] = match value {
                b"t" => 1,
                b"f" => 0,
                _ => return None,
            }
        }
        Kind::Date => ints[0] = Day::parse(value)?.packed(),
        Kind::Clock => {
            let (day, rest) = Day::and_time(value)?;
            let (ms, rest) = time(rest)?;
            if !rest.is_empty() {
                return None;
            }
            ints.copy_from_slice(&[day.packed(), ms]);
        }
        Kind::Instant => {
            let (day, rest) = Day::and_time(value)?;
            let (ms, rest) = time(rest)?;
            let at = day.since_1970() * 86_400_000 + i64::from(ms) - offset(rest)?;
            doubles[0] = at as f64;
        }
    }
    Some(())
}

fn number<T: str::FromStr>(value: &[u8]) -> Option<T> {
    str::from_utf8(value).ok()?.parse().ok()
}

/// A day of the Gregorian calendar in the years 100 to 9999. JavaScript takes years below 100 for others, and longer
/// ones need a slower look anyway: both are left to it.
#[derive(Debug, Clone, Copy)]
struct Day {
    year: i32,
    month: i32,
    day: i32,
}

impl Day {
    fn parse(value: &[u8]) -> Option<Day> {
        let &[a, b, c, d, b'-', e, f, b'-', g, h] = value else { return None };
        let day = Day { year: two(a, b)? * 100 + two(c, d)?, month: two(e, f)?, day: two(g, h)? };
        (day.year >= 100).then_some(day)
    }

    /// And what follows it after a space.
    fn and_time(value: &[u8]) -> Option<(Day, &[u8])> {
        let (day, rest) = value.split_at_checked(10)?;
        Some((Day::parse(day)?, rest.strip_prefix(b" ")?))
    }

    fn packed(self) -> i32 {
        self.year * 512 + self.month * 32 + self.day
    }

    /// Days since 1970-01-01, by the count of days in eras of 400 years that begin in March.
    fn since_1970(self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let (era, of_era) = (year / 400, year % 400);
        let month = i64::from((self.month + 9) % 12);
        let of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }
}

fn two(a: u8, b: u8) -> Option<i32> {
    let digit = |d: u8| d.is_ascii_digit().then(|| i32::from(d - b'0'));
    Some(digit(a)? * 10 + digit(b)?)
}

/// Milliseconds of the day, and what follows the time.
fn time(value: &[u8]) -> Option<(i32, &[u8])> {
    let (&[a, b, b':', c, d, b':', e, f], mut rest) = value.split_first_chunk()? else { return None };
    let seconds = two(a, b)? * 3600 + two(c, d)? * 60 + two(e, f)?;
    let mut ms = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=6).contains(&digits) {
            return None;
        }
        let (digits, after) = fraction.split_at(digits);
        // What `pg-types` gets by floating point, for every fraction of up to six digits.
        ms = number::<i32>(digits)? * 10_i32.pow(6 - digits.len() as u32) / 1000;
        rest = after;
    }
    Some((seconds * 1000 + ms, rest))
}

/// The milliseconds of an offset: `+02`, `-03:30`, `+00:19:32`.
fn offset(value: &[u8]) -> Option<i64> {
    let (sign, rest) = value.split_first()?;
    let seconds = match *rest {
        [a, b] => two(a, b)? * 3600,
        [a, b, b':', c, d] => two(a, b)? * 3600 + two(c, d)? * 60,
        [a, b, b':', c, d, b':', e, f] => two(a, b)? * 3600 + two(c, d)? * 60 + two(e, f)?,
        _ => return None,
    };
    match sign {
        b'+' => Some(i64::from(seconds) * 1000),
        b'-' => Some(i64::from(seconds) * -1000),
        _ => None,
    }
}
