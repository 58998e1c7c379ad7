//! The soname of the shared library: what programs that link with it ask for at run time.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Before 1.0 a minor version may break the ABI, so it is the number that counts.
    let unix = std::env::var_os("CARGO_CFG_UNIX").is_some();
    let apple = std::env::var("CARGO_CFG_TARGET_VENDOR").is_ok_and(|vendor| vendor == "apple");
    if unix && !apple {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libleakpool.so.0");
    }
}
