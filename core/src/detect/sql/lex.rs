//! The tokens of SQL (PostgreSQL manual, "Lexical Structure": string constants with doubled quotes, `E''` escapes,
//! continuation on the next line, dollar quoting, nested comments). A text that ends inside a literal is treated as if
//! the literal ended there.

/// A piece of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Space,
    Comment,
    /// `"name"`.
    Quoted,
    /// A string constant with all that continues it.
    Text(Escapes),
    /// `$tag$ … $tag$`.
    Dollar,
    Word,
    Number,
    /// `$1`.
    Parameter,
    Other,
}

/// What a backslash means in a string constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// Itself, unless the session says otherwise (`standard_conforming_strings`).
    None,
    /// `E''`.
    Backslash,
    /// `U&''`.
    Unicode,
}

/// The token at `at`, and its length; `None` at the end.
pub(super) fn token(sql: &str, at: usize) -> Option<(Token, usize)> {
    let (bytes, rest) = (sql.as_bytes(), &sql[at..]);
    let b = *bytes.get(at)?;
    let while_ = |of: fn(u8) -> bool| rest.bytes().take_while(|b| of(*b)).count();
    Some(if b.is_ascii_whitespace() {
        (Token::Space, while_(|b| b.is_ascii_whitespace()))
    } else if rest.starts_with("--") {
        (Token::Comment, rest.find('\n').unwrap_or(rest.len()))
    } else if rest.starts_with("/*") {
        (Token::Comment, comment_end(rest))
    } else if b == b'"' {
        (Token::Quoted, quoted_end(rest, b'"', false))
    } else if let Some((prefix, escapes)) = string_start(rest, bytes, at) {
        (Token::Text(escapes), text_end(rest, prefix, escapes))
    } else if b == b'$' && !previous_is_word(bytes, at) && dollar_tag(rest).is_some() {
        (Token::Dollar, dollar_end(rest))
    } else if b == b'$' && rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
        (Token::Parameter, 1 + rest[1..].bytes().take_while(u8::is_ascii_digit).count())
    } else if is_word_start(b) {
        (Token::Word, while_(is_word))
    } else if b.is_ascii_digit() {
        (Token::Number, while_(|b| is_word(b) || b == b'.'))
    } else {
        (Token::Other, 1)
    })
}

/// What a string constant says, in one piece: without quotes, doubled quotes as one, simple escapes undone.
pub(super) fn content(text: &str, escapes: Escapes) -> String {
    let mut content = String::with_capacity(text.len());
    let mut chars = text.chars().skip_while(|c| *c != '\'').peekable();
    let mut inside = false;
    while let Some(c) = chars.next() {
        match c {
            '\'' if inside && chars.peek() == Some(&'\'') => {
                chars.next();
                content.push('\'');
            }
            '\'' => inside = !inside,
            '\\' if inside && escapes == Escapes::Backslash => content.extend(chars.next()),
            c if inside => content.push(c),
            // Between two pieces.
            _ => {}
        }
    }
    content
}

/// True if a string constant says in numbers what it says.
pub(super) fn has_numeric_escapes(text: &str, escapes: Escapes) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let numeric = match (c, escapes) {
            ('\\', Escapes::Unicode) => true,
            ('\\', Escapes::Backslash) => {
                chars.next().is_some_and(|c| matches!(c, 'x' | 'u' | 'U' | '0'..='7'))
            }
            _ => false,
        };
        if numeric {
            return true;
        }
    }
    false
}

/// True if a string constant has its closing quote.
pub(super) fn is_ended(text: &str) -> bool {
    text.ends_with('\'') && text.bytes().filter(|b| *b == b'\'').count() % 2 == 0
}

/// The end of a string constant with all that continues it: behind white space with a line break, the next quote goes
/// on with the same text.
fn text_end(rest: &str, prefix: usize, escapes: Escapes) -> usize {
    let backslash = escapes == Escapes::Backslash;
    let mut end = prefix + quoted_end(&rest[prefix..], b'\'', backslash);
    while let Some(gap) = continuation(&rest[end..]) {
        end += gap + quoted_end(&rest[end + gap..], b'\'', backslash);
    }
    end
}

/// How much white space (and comments to the end of a line) stands before a quote that continues a string constant.
fn continuation(rest: &str) -> Option<usize> {
    let (mut at, mut broken) = (0, false);
    loop {
        let tail = &rest[at..];
        match *tail.as_bytes().first()? {
            b'\'' => return broken.then_some(at),
            b if b.is_ascii_whitespace() => {
                broken |= matches!(b, b'\n' | b'\r');
                at += 1;
            }
            b'-' if tail.starts_with("--") => at += tail.find('\n')?,
            _ => return None,
        }
    }
}

/// True for a statement that ends a transaction without saying that it rolls back: COMMIT, END, PREPARE TRANSACTION.
pub(crate) fn commits(sql: &str) -> bool {
    let (first, rest) = first_word(sql);
    let is = |word: &str, name: &str| word.eq_ignore_ascii_case(name);
    is(first, "commit") || is(first, "end") || (is(first, "prepare") && is(first_word(rest).0, "transaction"))
}

/// The word at the beginning, behind white space and comments (empty if something else stands there), and what follows.
fn first_word(sql: &str) -> (&str, &str) {
    let mut rest = sql.trim_start();
    loop {
        let skipped = if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment_end(rest)
        } else {
            return rest.split_at(rest.bytes().take_while(|b| is_word(*b)).count());
        };
        rest = rest[skipped..].trim_start();
    }
}

fn is_word_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b >= 0x80
}

fn is_word(b: u8) -> bool {
    is_word_start(b) || b.is_ascii_digit()
}

fn previous_is_word(bytes: &[u8], i: usize) -> bool {
    i > 0 && is_word(bytes[i - 1])
}

/// The length of a string constant's prefix (`E`, `B`, `X`, `N`, `U&`) and what a backslash means in it.
fn string_start(rest: &str, bytes: &[u8], i: usize) -> Option<(usize, Escapes)> {
    let b = rest.as_bytes();
    if b[0] == b'\'' {
        return Some((0, Escapes::None));
    }
    if previous_is_word(bytes, i) {
        return None;
    }
    match (b[0].to_ascii_lowercase(), b.get(1), b.get(2)) {
        (b'e', Some(b'\''), _) => Some((1, Escapes::Backslash)),
        (b'b' | b'x' | b'n', Some(b'\''), _) => Some((1, Escapes::None)),
        (b'u', Some(b'&'), Some(b'\'')) => Some((2, Escapes::Unicode)),
        _ => None,
    }
}

fn quoted_end(rest: &str, quote: u8, escapes: bool) -> usize {
    let b = rest.as_bytes();
    let mut i = 1;
    while i < b.len() {
        if escapes && b[i] == b'\\' {
            i += 2;
        } else if b[i] == quote {
            if b.get(i + 1) == Some(&quote) {
                i += 2;
            } else {
                return i + 1;
            }
        } else {
            i += 1;
        }
    }
    b.len()
}

fn comment_end(rest: &str) -> usize {
    let b = rest.as_bytes();
    let (mut depth, mut i) = (0usize, 0);
    while i + 1 < b.len() {
        match (b[i], b[i + 1]) {
            (b'/', b'*') => (depth, i) = (depth + 1, i + 2),
            (b'*', b'/') => {
                (depth, i) = (depth - 1, i + 2);
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    b.len()
}

/// The `$tag$` that opens a dollar-quoted string.
pub(super) fn dollar_tag(rest: &str) -> Option<&str> {
    let close = rest[1..].find('$')? + 1;
    let tag = &rest[1..close];
    let valid = tag.bytes().all(is_word) && !tag.bytes().next().is_some_and(|b| b.is_ascii_digit());
    valid.then(|| &rest[..=close])
}

fn dollar_end(rest: &str) -> usize {
    let Some(tag) = dollar_tag(rest) else { return rest.len() };
    rest[tag.len()..].find(tag).map_or(rest.len(), |at| tag.len() + at + tag.len())
}
