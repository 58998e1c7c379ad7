use super::*;
use FrameKind::*;

#[test]
fn names_lose_what_only_the_compiler_cares_about() {
    for (name, tidied) in [
        ("app::orders::process", "app::orders::process"),
        ("app::orders::process::{{closure}}", "app::orders::process"),
        ("app::orders::process::{closure#0}::{closure#1}", "app::orders::process"),
        ("<app::Repo as app::Store>::load::<u32>::{closure#0}", "app::Repo::load"),
        ("<app::Repo<alloc::string::String>>::load", "app::Repo::load"),
        (
            "<alloc::boxed::Box<dyn core::ops::Fn() -> u8> as core::ops::Fn<()>>::call",
            "alloc::boxed::Box::call",
        ),
        ("<fn() -> u8 as core::ops::function::FnOnce<()>>::call_once", "<fn() -> u8>::call_once"),
        ("<[u8] as app::Hex>::hex", "<[u8]>::hex"),
        ("<&mut app::Conn as app::Get>::get", "app::Conn::get"),
        (
            "tokio::runtime::task::raw::poll::<app::main::{closure#0}, alloc::sync::Arc<H>>",
            "tokio::runtime::task::raw::poll",
        ),
        ("app::repo::<impl app::Store for app::Pg>::load", "app::repo::load"),
        ("operator<", "operator<"),
        ("a->b>", "a->b>"),
        ("", ""),
        ("{{closure}}", ""),
        ("{async_fn#0}", ""),
        ("app::orders::process::{async_block#1}", "app::orders::process"),
        ("app::{impl#2}::load", "app::{impl#2}::load"),
    ] {
        assert_eq!(tidy(name), tidied, "{name}");
    }
}

#[test]
fn paths_and_names_say_whose_code_it_is() {
    let rust = "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library";
    let cargo = "/home/me/.cargo/registry/src/index-1949cf8c6b5b557f";
    for (function, file, kind, owner, shown) in [
        (Some("app::f"), "src/a.rs".to_string(), User, None, "src/a.rs"),
        (Some("app::f"), "/home/me/app/src/a.rs".to_string(), User, None, "/home/me/app/src/a.rs"),
        (
            Some("tokio::task::spawn"),
            format!("{cargo}/tokio-1.54.1/src/task.rs"),
            Runtime,
            Some("tokio"),
            "tokio-1.54.1/src/task.rs",
        ),
        (
            None,
            format!("{cargo}/futures-util-0.3.31/src/a.rs"),
            Runtime,
            Some("futures_util"),
            "futures-util-0.3.31/src/a.rs",
        ),
        (
            None,
            format!("{cargo}/axum-0.9.0-rc.1/src/a.rs"),
            Dependency,
            Some("axum"),
            "axum-0.9.0-rc.1/src/a.rs",
        ),
        (
            Some("x::y"),
            format!("{cargo}/leakpool-0.1.0/src/pool/mod.rs"),
            Library,
            Some("leakpool"),
            "leakpool-0.1.0/src/pool/mod.rs",
        ),
        (
            Some("leakpool::pool::Pool::acquire"),
            "core/src/pool/mod.rs".to_string(),
            Library,
            Some("leakpool"),
            "core/src/pool/mod.rs",
        ),
        (
            None,
            "/home/me/.cargo/git/checkouts/axum-1a2b3c/9f/axum/src/a.rs".to_string(),
            Dependency,
            Some("axum"),
            "axum-1a2b3c/9f/axum/src/a.rs",
        ),
        (None, "/build/vendor/axum/src/a.rs".to_string(), User, None, "/build/vendor/axum/src/a.rs"),
        (
            Some("axum::serve"),
            "/build/vendor/axum/src/a.rs".to_string(),
            Dependency,
            Some("axum"),
            "/build/vendor/axum/src/a.rs",
        ),
        (
            Some("tokio::spawn"),
            "/build/vendor/tokio/src/a.rs".to_string(),
            Runtime,
            Some("tokio"),
            "/build/vendor/tokio/src/a.rs",
        ),
        (Some("core::option::Option::or_leak"), "src/ext.rs".to_string(), User, None, "src/ext.rs"),
        (Some("std::rt::lang_start"), format!("{rust}/std/src/rt.rs"), Runtime, Some("std"), "std/src/rt.rs"),
        (
            None,
            "/opt/rust/lib/rustlib/src/rust/library/core/src/a.rs".to_string(),
            Runtime,
            Some("core"),
            "core/src/a.rs",
        ),
        (
            Some("start_thread"),
            "./nptl/pthread_create.c".to_string(),
            Runtime,
            Some("libc"),
            "./nptl/pthread_create.c",
        ),
        (Some("main"), "src/main.c".to_string(), User, None, "src/main.c"),
        (
            None,
            "/rust/deps/hashbrown-0.16.0/src/map.rs".to_string(),
            Runtime,
            Some("std"),
            "hashbrown-0.16.0/src/map.rs",
        ),
        (
            None,
            "C:\\Users\\me\\.cargo\\registry\\src\\x\\tokio-1.54.1\\src\\a.rs".to_string(),
            Runtime,
            Some("tokio"),
            "tokio-1.54.1/src/a.rs",
        ),
    ] {
        let origin = native(function, Some(&file));
        assert_eq!(
            (origin.kind, origin.owner.as_deref(), origin.file.as_deref()),
            (kind, owner, Some(shown))
        );
    }
    for (function, kind, owner) in [
        (Some("app::f"), User, None),
        (Some("app_handle_request"), User, None),
        (Some("tokio::spawn"), Runtime, Some("tokio")),
        (Some("start_thread"), Runtime, Some("libc")),
        (Some("leakpool_ffi::acquire"), Library, Some("leakpool_ffi")),
        (Some("main"), Runtime, Some("libc")),
        (Some("__libc_start_main_impl"), Runtime, Some("libc")),
        (None, Unknown, None),
    ] {
        let origin = native(function, None);
        assert_eq!((origin.kind, origin.owner.as_deref()), (kind, owner), "{function:?}");
    }
}

#[test]
fn host_paths_say_whose_code_it_is() {
    for (file, kind, owner) in [
        ("/srv/app/orders.py", User, None),
        ("C:\\app\\orders.py", User, None),
        ("/srv/app/dist/orders.js", User, None),
        ("file:///srv/app/orders.mjs", User, None),
        ("/usr/lib/python3.13/asyncio/tasks.py", Runtime, Some("python")),
        ("C:\\Python313\\Lib\\asyncio\\tasks.py", Runtime, Some("python")),
        ("<frozen importlib._bootstrap>", Runtime, Some("python")),
        ("/srv/venv/lib/python3.13/site-packages/leakpool/pool.py", Library, Some("leakpool")),
        ("/srv/venv/lib/python3.13/site-packages/starlette/routing.py", Dependency, Some("starlette")),
        ("/srv/venv/lib/python3.13/site-packages/six.py", Dependency, Some("six")),
        ("node:internal/process/task_queues", Runtime, Some("node")),
        ("/srv/app/node_modules/express/lib/router.js", Dependency, Some("express")),
        ("/srv/app/node_modules/a/node_modules/@nestjs/core/x.js", Dependency, Some("@nestjs/core")),
        ("/srv/app/node_modules/leakpool/index.js", Library, Some("leakpool")),
        ("/srv/app/node_modules", User, None),
        ("", Unknown, None),
    ] {
        let origin = host(file);
        assert_eq!((origin.kind, origin.owner.as_deref()), (kind, owner), "{file}");
    }
}
