use std::collections::HashSet;

use super::*;

#[track_caller]
fn here() -> &'static Location<'static> {
    Location::caller()
}

fn native(table: &SiteTable, frames: &[usize]) -> SiteId {
    table.native(Location::caller(), frames)
}

#[test]
fn same_stack_same_site_and_different_stacks_different_sites() {
    let table = SiteTable::new();
    let ids: HashSet<u32> = (0..5000).map(|n| native(&table, &[7, n, n * n]).0).collect();
    assert_eq!(ids.len(), 5000);
    for n in 0..5000 {
        let id = native(&table, &[7, n, n * n]);
        assert!(ids.contains(&id.0));
        assert_eq!(table.get(id).addresses(), [7, n, n * n]);
    }
    assert_ne!(native(&table, &[1]), native(&table, &[1, 0]));
    assert_eq!(table.sites().len(), 5002);
}

#[test]
fn same_stack_from_two_places_is_two_sites() {
    let table = SiteTable::new();
    let (one, two) = (here(), here());
    assert_ne!(table.native(one, &[1, 2]), table.native(two, &[1, 2]));
    assert_ne!(table.native(one, &[]), table.native(two, &[]));
    // A second copy of the same place is the same place.
    let copy: &'static Location<'static> = Box::leak(Box::new(*one));
    assert_eq!(table.native(one, &[1, 2]), table.native(copy, &[1, 2]));
}

#[test]
fn a_collision_of_hashes_is_not_the_same_site() {
    let table = SiteTable::new();
    let place = here();
    let ids: HashSet<SiteId> = (0..300).map(|n| table.hashed(42, place, &[n])).collect();
    assert_eq!(ids.len(), 300);
    assert!((0..300).all(|n| table.get(table.hashed(42, place, &[n])).addresses() == [n]));
    assert!(!ids.contains(&table.hashed(42, here(), &[7])));
}

#[test]
fn modes_tell_how_much_is_told_apart() {
    let table = SiteTable::new();
    let place = here();
    let off = table.capture(place, StackCapture::Off, 32);
    assert_eq!(off, SiteId::OFF);
    assert_eq!(table.get(off).location(), None);
    let site = table.capture(place, StackCapture::Site, 32);
    assert_eq!(table.get(site).location(), Some((file!(), place.line())));
    assert!(table.get(site).addresses().is_empty());
    for (depth, most) in [(0, 1), (1, 1), (3, 3), (32, 32), (33, 33), (usize::MAX, 128)] {
        let id = table.capture(place, StackCapture::Full, depth);
        let captured = table.get(id).addresses().len();
        assert!((1..=most).contains(&captured), "{captured} frames at depth {depth}");
    }
}

#[test]
fn a_full_table_folds_stacks_to_their_call_site_then_to_one() {
    let table = SiteTable::with_limit(64);
    let (one, two) = (here(), here());
    let ids: Vec<SiteId> = (0..500).map(|n| table.native(one, &[n])).collect();
    let apart: HashSet<SiteId> = ids.iter().copied().collect();
    assert!(apart.len() > 55 && apart.len() <= 64, "{}", apart.len());
    let folded = table.native(one, &[]);
    assert_eq!(ids[499], folded, "the call site is still known");
    assert_eq!(table.native(one, &[0]), ids[0], "and so are the stacks that came in time");
    assert_ne!(table.native(two, &[1]), folded);

    let hosts: Vec<String> = (0..500).map(|n| format!("/srv/app/{n}.py")).collect();
    let intern = |name: &String| {
        table.intern_host(&[HostFrame::new(name, 1, "f"), HostFrame::new("/srv/app/main.py", 2, "main")])
    };
    let ids: Vec<SiteId> = hosts.iter().map(intern).collect();
    assert_eq!(ids[499], SiteId::OTHER);
    let size = table.interner.len();
    assert_eq!(size, 67, "as many as allowed, OFF, OTHER and LATER");
    for id in ids {
        table.get(id).acquired_inc();
    }
    assert_eq!(table.native(here(), &[1, 2, 3]), SiteId::OTHER);
    assert_eq!(table.interner.len(), size);
    let counted: u64 = table.sites().iter().map(|site| site.acquired()).sum();
    assert_eq!(counted, 500, "nothing is lost");
    assert!(table.sites().iter().any(|site| site.location().is_none()), "OTHER is shown once it counts");
}

#[test]
fn eight_threads_agree_on_every_site() {
    let table = Arc::new(SiteTable::new());
    let place = here();
    let barrier = Arc::new(std::sync::Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (table, barrier) = (table.clone(), barrier.clone());
            std::thread::spawn(move || {
                barrier.wait();
                // Each starts elsewhere, so that all add and find at once.
                let ids = (0..4000).map(|n| (n + thread * 500) % 4000).map(|n| {
                    let id = table.native(place, &[n, n ^ 3]);
                    let site = table.get(id);
                    assert_eq!(site.addresses(), [n, n ^ 3], "an id is good at once");
                    site.acquired_inc();
                    (n, id)
                });
                let mut ids: Vec<_> = ids.collect();
                ids.sort_by_key(|(n, _)| *n);
                ids
            })
        })
        .collect();
    let mut seen: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    seen.dedup();
    assert_eq!(seen.len(), 1, "every thread got the same ids");
    assert_eq!(table.interner.len(), 4003);
    assert!(table.sites().iter().all(|site| site.acquired() == 8));
}

#[test]
fn counters_count_what_they_say() {
    let table = SiteTable::new();
    let site = table.get(native(&table, &[1]));
    site.acquired_inc();
    site.acquired_inc();
    site.leaked_inc();
    site.recovered_inc();
    let counts = [site.acquired(), site.leaked(), site.recovered(), site.force_released()];
    assert_eq!(counts, [2, 1, 1, 0]);
    site.force_released_inc();
    assert_eq!(site.force_released(), 1);
    assert!(format!("{site:?} {table:?}").contains("leaked: 1"));
}

#[test]
fn ids_that_were_never_given_are_other() {
    let table = SiteTable::new();
    for id in [3, 77, 1 << 20, u32::MAX - 64, u32::MAX] {
        assert!(table.get_ref(SiteId(id)).is_none());
        let site = table.get(SiteId(id));
        assert_eq!(site.location(), None);
        assert_eq!(site.resolve().culprit.to_string(), "unknown");
    }
}

#[test]
fn host_frames_are_told_apart_by_all_they_say() {
    let table = SiteTable::new();
    let base = HostFrame::new("/srv/app/orders.py", 42, "process");
    let caller = HostFrame::new("/srv/app/server.py", 7, "handle");
    let id = table.intern_host(&[base, caller]);
    assert_eq!(table.intern_host(&[base, caller]), id);
    let others = [
        vec![base],
        vec![caller, base],
        vec![HostFrame { line: 43, ..base }, caller],
        vec![HostFrame { function: "Process", ..base }, caller],
        vec![HostFrame { file: "/srv/app/order.py", ..base }, caller],
    ];
    for other in &others {
        assert_ne!(table.intern_host(other), id);
    }
    assert_eq!(table.intern_host(&[]), SiteId::OFF);
    assert_eq!(table.get(id).location(), Some(("/srv/app/orders.py", 42)));
    let deep = vec![base; 1000];
    assert_eq!(table.get(table.intern_host(&deep)).resolve().frames.len(), DEEPEST);
}

#[test]
fn the_culprit_of_a_host_stack_is_its_first_frame_of_the_application() {
    let table = SiteTable::new();
    let site = table.get(table.intern_host(&[
        HostFrame::new("/v/lib/python3.13/site-packages/leakpool/pool.py", 88, "connection"),
        HostFrame::new("/v/lib/python3.13/site-packages/starlette/routing.py", 9, "app"),
        HostFrame::new("/srv/app/orders.py", 42, "process"),
        HostFrame::new("/usr/lib/python3.13/asyncio/tasks.py", 300, "step"),
        HostFrame::new("/srv/app/main.py", 3, ""),
    ]));
    assert!(site.resolved().is_none());
    let resolved = site.resolve();
    assert_eq!(resolved.culprit.to_string(), "process (/srv/app/orders.py:42)");
    let shown = "process (/srv/app/orders.py:42)\n… 1 frame of python\n/srv/app/main.py:3";
    assert_eq!(resolved.to_string(), shown);
    assert!(Arc::ptr_eq(&resolved, &site.resolved().unwrap()), "looked up once");
    let framework =
        table.get(table.intern_host(&[HostFrame::new("node:internal/timers", 5, "listOnTimeout")]));
    assert_eq!(framework.resolve().culprit.to_string(), "listOnTimeout (node:internal/timers:5)");
}
