//! Errors of the core as the plain objects that `lib/errors.js` makes JavaScript errors of.

use leakpool::exchange::ServerError;
use napi::JsValue;
use napi::bindgen_prelude::*;

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
    }
    Ok(object)
}

/// The fields of an error or a notice, by their letters in the protocol.
pub(crate) fn fields<'env>(env: Env, fields: &leakpool::exchange::Fields) -> Result<Object<'env>> {
    let mut object = Object::new(&env)?;
    for (letter, text) in fields.iter() {
        object.set(char::from(letter).to_string(), text)?;
    }
    Ok(object)
}

/// What a function returns to have the plain object thrown.
pub(crate) fn thrown(env: Env, error: &leakpool::Error) -> Error {
    match to_js(env, error) {
        Ok(object) => Error::from(object.to_unknown()),
        Err(e) => e,
    }
}
