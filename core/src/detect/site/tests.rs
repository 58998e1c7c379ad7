use super::*;

#[test]
fn the_sources_of_a_crate_are_found_from_any_of_its_modules() {
    for (file, module, root) in [
        ("/srv/core/src/detect/site.rs", "leakpool::detect::site", Some("/srv/core/src/")),
        ("/srv/core/src/detect/site/mod.rs", "leakpool::detect::site", Some("/srv/core/src/")),
        ("C:/srv/core/src/a/b/c.rs", "leakpool::a::b::c", Some("C:/srv/core/src/")),
        ("core/src/site.rs", "leakpool::site", Some("core/src/")),
        ("site.rs", "leakpool::detect::site", None),
    ] {
        assert_eq!(source_root(file, module), root, "{file}");
    }
}

#[test]
fn a_frame_of_any_folder_of_ours_is_the_librarys_and_one_of_the_users_is_not() {
    let ours: [(&str, *const ()); 5] = [
        ("detect", landmark as *const ()),
        ("config", crate::config::duration_from_secs as *const ()),
        ("alert", crate::alert::log_place as *const ()),
        ("error", crate::error::Error::code as *const ()),
        ("pool", crate::pool::Pool::report as *const ()),
    ];
    for (place, function) in ours {
        let frames = symbols(function as usize + 1);
        assert!(frames.iter().any(|f| f.kind == FrameKind::Library), "{place}: {frames:?}");
    }
    // The path counts up to its slash.
    let mut file = String::new();
    backtrace::resolve((landmark as *const () as usize + 1) as *mut c_void, |symbol| {
        file = symbol.filename().map(|file| file.to_string_lossy().into()).unwrap_or_default();
    });
    let root = source_root(&file, "leakpool::detect::site").expect("a test is built with line tables");
    let root = root.trim_end_matches('/');
    assert!(is_ours(&format!("{root}/anywhere/at/all.rs")), "{root}");
    assert!(!is_ours(&format!("{root}-of-mine/app.rs")), "{root}");
    assert!(!is_ours("/home/me/app/src/main.rs"));
}
