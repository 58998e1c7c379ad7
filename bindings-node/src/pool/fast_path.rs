//! The two functions that every checkout calls, past `napi`'s wrappers: those cost more than what is done in them (0.26 µs
//! a call against 0.08). Each function of JavaScript has its pool as its data, so that nothing has to be unwrapped.

use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use napi::bindgen_prelude::*;
use napi::{check_status, sys};

use super::state::PoolState;

/// `{ tryAcquire, release }` of one pool. See `native.d.ts`.
pub(crate) fn functions<'env>(env: &'env Env, pool: &Rc<PoolState>) -> Result<Object<'env>> {
    let mut object = Object::new(env)?;
    object.set("tryAcquire", function(env, c"tryAcquire", try_acquire, pool)?)?;
    object.set("release", function(env, c"release", release, pool)?)?;
    Ok(object)
}

type Callback = unsafe extern "C" fn(sys::napi_env, sys::napi_callback_info) -> sys::napi_value;

fn function<'env>(
    env: &'env Env,
    name: &CStr,
    callback: Callback,
    pool: &Rc<PoolState>,
) -> Result<Unknown<'env>> {
    let data: *mut c_void = Box::into_raw(Box::new(pool.clone())).cast();
    let mut value = ptr::null_mut();
    let made = {
        let length = name.to_bytes().len() as isize;
        // SAFETY: a valid environment, a text with its length; `data` lives until `drop_pool`, which is called when the
        // function can be called no more.
        check_status!(unsafe {
            sys::napi_create_function(env.raw(), name.as_ptr(), length, Some(callback), data, &raw mut value)
        })
    };
    let owned = made.and_then(|()| {
        // SAFETY: the function that was just made.
        check_status!(unsafe {
            sys::napi_add_finalizer(env.raw(), value, data, Some(drop_pool), ptr::null_mut(), ptr::null_mut())
        })
    });
    if let Err(e) = owned {
        // SAFETY: made above, and nobody else will drop it: the function, if there is one, is shown to nobody.
        drop(unsafe { Box::from_raw(data.cast::<Rc<PoolState>>()) });
        return Err(e);
    }
    // SAFETY: a value of this environment.
    Ok(unsafe { Unknown::from_raw_unchecked(env.raw(), value) })
}

unsafe extern "C" fn drop_pool(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: the box that `function` made; called once, for the function's end.
    drop(unsafe { Box::from_raw(data.cast::<Rc<PoolState>>()) });
}

/// The pool of the function that is called, and the first arguments; missing ones are `undefined`.
///
/// # Safety
/// Only in a callback that `function` has made, with what it was given; the pool lives as long as the call.
unsafe fn called<'a, const N: usize>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
) -> Option<(&'a Rc<PoolState>, [sys::napi_value; N])> {
    let mut count = N;
    let mut arguments = [ptr::null_mut(); N];
    let mut data = ptr::null_mut();
    // SAFETY: room for as many arguments as `count` says.
    let status = unsafe {
        sys::napi_get_cb_info(
            env,
            info,
            &raw mut count,
            arguments.as_mut_ptr(),
            ptr::null_mut(),
            &raw mut data,
        )
    };
    if status != sys::Status::napi_ok {
        return None;
    }
    // SAFETY: the box that `function` made.
    Some((unsafe { &*data.cast::<Rc<PoolState>>() }, arguments))
}

/// A boolean of ours; what is none counts as false.
///
/// # Safety
/// A value of this environment.
unsafe fn flag(env: sys::napi_env, value: sys::napi_value) -> bool {
    let mut flag = false;
    // SAFETY: the caller's promise.
    unsafe { sys::napi_get_value_bool(env, value, &raw mut flag) };
    flag
}

fn number(env: sys::napi_env, number: i32) -> sys::napi_value {
    let mut value = ptr::null_mut();
    // SAFETY: the environment of the call.
    unsafe { sys::napi_create_int32(env, number, &raw mut value) };
    value
}

/// `tryAcquire(later)`: the slot that is checked out now, or -1.
unsafe extern "C" fn try_acquire(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: this is such a callback.
    let Some((pool, [later])) = (unsafe { called::<1>(env, info) }) else { return number(env, -1) };
    // SAFETY: an argument of this call.
    let later = unsafe { flag(env, later) };
    let slot = catch_unwind(AssertUnwindSafe(|| pool.try_acquire(Env::from_raw(env), later)));
    number(env, slot.unwrap_or(-1))
}

/// `release(slot, broken)`: 0, 1 or 2.
unsafe extern "C" fn release(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: this is such a callback.
    let Some((pool, [slot, broken])) = (unsafe { called::<2>(env, info) }) else { return number(env, 2) };
    let mut index = u32::MAX;
    // SAFETY: an argument of this call; what is no number leaves a slot that does not exist.
    unsafe { sys::napi_get_value_uint32(env, slot, &raw mut index) };
    // SAFETY: an argument of this call.
    let broken = unsafe { flag(env, broken) };
    let released = catch_unwind(AssertUnwindSafe(|| pool.release(Env::from_raw(env), index, broken)));
    number(env, released.unwrap_or(2))
}
