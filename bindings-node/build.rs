//! Tells the linker that Node itself defines the `napi_*` symbols.

fn main() {
    napi_build::setup();
}
