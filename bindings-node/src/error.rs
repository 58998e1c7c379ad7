//! Errors of the core as the plain objects that `lib/errors.js` makes JavaScript errors of.

use std::error::Error as StdError;
use std::io;

use leakpool::exchange::ServerError;
use leakpool::{Exhausted, Revocation};
use napi::JsValue;
use napi::bindgen_prelude::*;
use tokio_postgres::error::{DbError, ErrorPosition};

use crate::info;

/// `NativeError` of `native.d.ts`.
pub(crate) fn to_js<'env>(env: Env, error: &leakpool::Error) -> Result<Object<'env>> {
    let mut object = Object::new(&env)?;
    object.set("code", error.code().name())?;
    object.set("message", error.message())?;
    if let Some(sqlstate) = error.sqlstate() {
        object.set("sqlstate", sqlstate)?;
    }
    if let Some(server) = error.detail::<ServerError>() {
        object.set("fields", fields(env, server)?)?;
    } else if let Some(db) = find::<tokio_postgres::Error>(error).and_then(|e| e.as_db_error()) {
        object.set("fields", fields_of_driver(env, db)?)?;
    }
    if let Some(exhausted) = error.detail::<Exhausted>() {
        object.set("details", info::exhausted(exhausted, &info::nobody).to_string())?;
    }
    if let Some(revocation) = error.detail::<Revocation>() {
        object.set("details", info::revocation(revocation, &info::nobody).to_string())?;
    }
    if let Some(io) = find::<io::Error>(error)
        && let Some(errno) = errno(io)
    {
        object.set("errno", errno)?;
    }
    Ok(object)
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(found) = e.downcast_ref() {
            return Some(found);
        }
        next = e.source();
    }
    None
}

/// What Node calls it in `error.code`.
fn errno(e: &io::Error) -> Option<&'static str> {
    Some(match e.kind() {
        io::ErrorKind::ConnectionRefused => "ECONNREFUSED",
        io::ErrorKind::ConnectionReset => "ECONNRESET",
        io::ErrorKind::ConnectionAborted => "ECONNABORTED",
        io::ErrorKind::TimedOut => "ETIMEDOUT",
        io::ErrorKind::HostUnreachable => "EHOSTUNREACH",
        io::ErrorKind::NetworkUnreachable => "ENETUNREACH",
        io::ErrorKind::NotFound => "ENOENT",
        io::ErrorKind::PermissionDenied => "EACCES",
        io::ErrorKind::BrokenPipe => "EPIPE",
        _ => return None,
    })
}

/// The fields of an error or a notice, by their letters in the protocol.
pub(crate) fn fields<'env>(env: Env, fields: &leakpool::exchange::Fields) -> Result<Object<'env>> {
    let mut object = Object::new(&env)?;
    for (letter, text) in fields.iter() {
        object.set(char::from(letter).to_string(), text)?;
    }
    Ok(object)
}

/// The same of an error that came while connecting.
fn fields_of_driver<'env>(env: Env, db: &DbError) -> Result<Object<'env>> {
    let mut object = Object::new(&env)?;
    let (position, internal) = match db.position() {
        Some(ErrorPosition::Original(at)) => (Some(at.to_string()), None),
        Some(ErrorPosition::Internal { position, query }) => {
            (None, Some((position.to_string(), query.as_str())))
        }
        None => (None, None),
    };
    let line = db.line().map(|line| line.to_string());
    for (letter, text) in [
        ("S", Some(db.severity())),
        ("C", Some(db.code().code())),
        ("M", Some(db.message())),
        ("D", db.detail()),
        ("H", db.hint()),
        ("P", position.as_deref()),
        ("p", internal.as_ref().map(|(at, _)| at.as_str())),
        ("q", internal.as_ref().map(|(_, query)| *query)),
        ("W", db.where_()),
        ("s", db.schema()),
        ("t", db.table()),
        ("c", db.column()),
        ("d", db.datatype()),
        ("n", db.constraint()),
        ("F", db.file()),
        ("L", line.as_deref()),
        ("R", db.routine()),
    ] {
        if let Some(text) = text {
            object.set(letter, text)?;
        }
    }
    Ok(object)
}

/// What a function returns to have it thrown: an `Error` whose `native` is the plain object, since Node-API's wrapper
/// throws errors alone.
pub(crate) fn thrown(env: Env, error: &leakpool::Error) -> Error {
    let make = || {
        let mut thrown = env.create_error(Error::new(Status::GenericFailure, error.message()))?;
        thrown.set("native", to_js(env, error)?)?;
        Ok(Error::from(thrown.to_unknown()))
    };
    make().unwrap_or_else(|e: Error| e)
}
