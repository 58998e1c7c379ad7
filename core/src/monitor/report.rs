//! The spoken leak report. One stack per site, the facts in the order in which one asks for them.
//!
//! Both texts symbolise stacks, which is slow the first time: never ask for them from a thread that
//! serves requests, nor with a lock held.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::status::Metrics;
use crate::detect::event::{CheckoutInfo, spoken};
use crate::detect::facts::Activity;
use crate::detect::site::Site;
use crate::detect::verdict::Verdict;

/// The longest SQL in a report, in characters.
const MOST_SQL: usize = 400;
/// The most checkouts of one site that are listed one by one.
const MOST_OF_A_SITE: usize = 5;

/// Checkouts by the `file:line` where they were acquired, in the order in which each place comes first.
pub(crate) fn by_place<'a>(
    checkouts: impl IntoIterator<Item = &'a CheckoutInfo>,
) -> Vec<(String, Vec<&'a CheckoutInfo>)> {
    let mut places: Vec<(String, Vec<&CheckoutInfo>)> = Vec::new();
    let mut index = HashMap::new();
    for checkout in checkouts {
        let place = checkout.site.place();
        let at = *index.entry(place.clone()).or_insert_with(|| {
            places.push((place, Vec::new()));
            places.len() - 1
        });
        places[at].1.push(checkout);
    }
    places
}

/// What a holder does: `executing for 3 s`, `idle in transaction for 12 min`.
pub(crate) fn doing(checkout: &CheckoutInfo) -> String {
    let since = checkout.executing_for.or(checkout.idle_for);
    let words = match checkout.activity {
        Activity::Stalled => "stalled (the server waits for the client)",
        Activity::Executing
        | Activity::Idle
        | Activity::IdleInTransaction
        | Activity::IdleInFailedTransaction
        | Activity::Unknown => checkout.activity.words(),
    };
    since.map_or_else(|| words.to_owned(), |since| format!("{words} for {}", spoken(since)))
}

/// A text on one line: white space folded, control characters shown as spaces, cut after `most` characters.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    let mut count = 0;
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            gap = count > 0;
            continue;
        }
        let needed = 1 + usize::from(gap);
        if count + needed > most {
            out.push('…');
            break;
        }
        if gap {
            out.push(' ');
        }
        out.push(c);
        count += needed;
        gap = false;
    }
    out
}

/// What a site's past tells about a flagged checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Its flagged checkouts do not come back.
    Leaks,
    /// They always came back in the end: it is slow.
    Slow,
}

/// A site's counters at one moment.
#[derive(Debug, Clone, Copy)]
struct Record {
    acquired: u64,
    leaked: u64,
    recovered: u64,
    force_released: u64,
}

impl Record {
    fn of(site: &Site) -> Record {
        Record {
            acquired: site.acquired(),
            leaked: site.leaked(),
            recovered: site.recovered(),
            force_released: site.force_released(),
        }
    }

    /// Of one place, which may have been reached by several stacks: each is a site of its own.
    fn of_place(checkouts: &[&CheckoutInfo]) -> Record {
        let mut sites: Vec<&Arc<Site>> = checkouts.iter().map(|c| &c.site).collect();
        sites.sort_by_key(|site| Arc::as_ptr(site));
        sites.dedup_by_key(|site| Arc::as_ptr(site));
        let all = |count: fn(&Site) -> u64| sites.iter().map(|site| count(site)).sum();
        Record {
            acquired: all(Site::acquired),
            leaked: all(Site::leaked),
            recovered: all(Site::recovered),
            force_released: all(Site::force_released),
        }
    }

    /// Slow, if nothing had to be taken back, and more came back than are out.
    fn habit(self) -> Habit {
        let open = self.leaked.saturating_sub(self.recovered);
        if self.force_released == 0 && self.recovered > 0 && self.recovered >= open {
            Habit::Slow
        } else {
            Habit::Leaks
        }
    }

    fn text(self, out: Option<usize>) -> String {
        let out = out.map_or_else(String::new, |n| format!("{n} out now; "));
        format!(
            "{out}so far acquired {}, reported as leaked {}, recovered {}, force-released {}",
            self.acquired, self.leaked, self.recovered, self.force_released
        )
    }
}

fn headline(checkout: &CheckoutInfo, record: Record) -> &'static str {
    match (checkout.verdict, record.habit()) {
        (Verdict::Proven, _) => "connection leaked (proven: it cannot be reached any more)",
        (_, Habit::Slow) => "connection held for long (this place has always released in the end: slow?)",
        (_, Habit::Leaks) => "connection leak",
    }
}

/// Who, what, since when: the lines of one checkout, each with `indent` before it.
fn facts(text: &mut String, checkout: &CheckoutInfo, indent: &str) {
    let _ = write!(text, "{indent}held for {}, {}", spoken(checkout.held), doing(checkout));
    if let Some(expected) = checkout.expected {
        let _ = write!(text, ", announced as {}", spoken(expected));
    }
    if checkout.listening {
        text.push_str(", listening");
    }
    if checkout.owner_ended {
        text.push_str("; the task or thread that acquired it has ended");
    }
    let _ = write!(text, "\n{indent}");
    match &checkout.last_sql {
        Some(sql) => {
            let _ = write!(text, "last SQL, {} ago: {}", spoken(sql.age), one_line(&sql.text, MOST_SQL));
        }
        None => text.push_str("no SQL seen"),
    }
    let _ = write!(text, "\n{indent}checkout {}", checkout.id);
    if let Some(pid) = checkout.backend_pid {
        let _ = write!(text, ", server process {pid}");
    }
    if let Some(label) = &checkout.label {
        let _ = write!(text, ", label {label:?}");
    }
    if let Some(owner) = &checkout.owner {
        let _ = write!(text, ", acquired by {owner:?}");
    }
    text.push('\n');
}

fn stack(text: &mut String, site: &Site, indent: &str) {
    let resolved = site.resolve().to_string();
    if resolved.trim().is_empty() {
        return;
    }
    let _ = writeln!(text, "{indent}acquired at:");
    for line in resolved.lines() {
        let _ = writeln!(text, "{indent}  {line}");
    }
}

/// One leaked checkout, as the log shows it: the culprit line, the facts, the site's record, the stack. Several
/// lines, no line break at the end. Symbolises: slow the first time for a site.
pub fn leak_text(checkout: &CheckoutInfo) -> String {
    let record = Record::of(&checkout.site);
    let mut text = format!(
        "{}: {}\n  pool {:?}\n",
        headline(checkout, record),
        checkout.site.resolve().culprit,
        &*checkout.pool
    );
    facts(&mut text, checkout, "  ");
    let _ = writeln!(text, "  this place: {}", record.text(None));
    stack(&mut text, &checkout.site, "  ");
    text.truncate(text.trim_end().len());
    text
}

/// The whole report of a pool: its status and books, then each site with flagged checkouts (most of them first),
/// with one stack each, then the other holders, a line per place. Symbolises: slow the first time for a site.
///
/// `checkouts` are all live checkouts of the pool.
pub(crate) fn report(metrics: &Metrics, checkouts: &[CheckoutInfo]) -> String {
    let mut text = metrics.status.to_string();
    if let Some(oldest) = metrics.oldest_checkout {
        let _ = write!(text, "; the oldest checkout is {} old", spoken(oldest));
    }
    let books = &metrics.books;
    let _ = writeln!(
        text,
        "\nbooks: {} acquired = {} released + {} force-released + {} lost + {} active; reported as leaked: {} ({:.2} % of \
         the acquires), recovered: {}",
        books.acquired,
        books.released,
        books.force_released,
        books.lost,
        books.active(),
        metrics.leaks,
        metrics.leak_rate,
        metrics.leaks_recovered,
    );

    let (flagged, others): (Vec<_>, Vec<_>) =
        checkouts.iter().partition(|c| c.reported || c.verdict.is_leak());
    let all: HashMap<String, Vec<&CheckoutInfo>> = by_place(checkouts).into_iter().collect();
    let mut places = by_place(flagged);
    places.sort_by_key(|(_, at)| std::cmp::Reverse(at.len()));
    if places.is_empty() {
        text.push_str("no leaks\n");
    }
    for (place, at) in &places {
        let Some(first) = at.first() else { continue };
        let out = all.get(place).unwrap_or(at);
        let record = Record::of_place(out);
        let heading = match record.habit() {
            Habit::Leaks => "LEAK",
            Habit::Slow => "SLOW (has always released in the end)",
        };
        let _ = writeln!(text, "\n{heading}: {}", first.site.resolve().culprit);
        for checkout in at.iter().take(MOST_OF_A_SITE) {
            facts(&mut text, checkout, "  ");
        }
        if at.len() > MOST_OF_A_SITE {
            let _ = writeln!(text, "  and {} more", at.len() - MOST_OF_A_SITE);
        }
        let _ = writeln!(text, "  this place: {}", record.text(Some(out.len())));
        stack(&mut text, &first.site, "  ");
    }

    if !others.is_empty() {
        text.push_str("\nother holders:\n");
        for (place, at) in by_place(others) {
            let Some(first) = at.iter().max_by_key(|c| c.held) else { continue };
            let longest = if at.len() > 1 { "the longest " } else { "" };
            let _ = writeln!(
                text,
                "  {} at {place}: {longest}held for {}, {}, {}",
                at.len(),
                spoken(first.held),
                doing(first),
                first.verdict
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::{executing, leaked, metrics, site};

    fn record(site: &Site, leaked: u64, recovered: u64, force_released: u64) {
        (0..leaked).for_each(|_| site.leaked_inc());
        (0..recovered).for_each(|_| site.recovered_inc());
        (0..force_released).for_each(|_| site.force_released_inc());
    }

    #[test]
    fn a_leak_is_told_in_the_order_in_which_one_asks() {
        let mut leak = leaked(3, &site(42), 725);
        leak.label = Some("nightly import".into());
        leak.owner = Some("Task-7".into());
        leak.owner_ended = true;
        record(&leak.site, 1, 0, 0);
        assert_eq!(
            leak_text(&leak),
            "connection leak: app::orders::process (src/orders.rs:42)\n  pool \"orders\"\n  \
             held for 12 min 5 s, idle in transaction for 12 min 5 s; the task or thread that acquired it has \
             ended\n  \
             last SQL, 12 min 5 s ago: UPDATE orders SET state = 'paid'\n  \
             checkout 3.1, server process 4711, label \"nightly import\", acquired by \"Task-7\"\n  \
             this place: so far acquired 1, reported as leaked 1, recovered 0, force-released 0\n  \
             acquired at:\n    app::orders::process (src/orders.rs:42)\n    app::main (src/main.rs:7)"
        );
    }

    #[test]
    fn a_place_that_always_releases_is_slow_and_one_that_does_not_is_a_leak() {
        for (leaked, recovered, forced, habit) in [
            (1, 0, 0, Habit::Leaks),
            (4, 3, 0, Habit::Slow),
            (4, 2, 0, Habit::Slow),
            (4, 1, 0, Habit::Leaks),
            (9, 8, 1, Habit::Leaks),
        ] {
            let site = site(42);
            record(&site, leaked, recovered, forced);
            assert_eq!(Record::of(&site).habit(), habit, "{leaked} {recovered} {forced}");
        }
        let slow = leaked(0, &site(42), 60);
        record(&slow.site, 4, 3, 0);
        assert!(leak_text(&slow).starts_with("connection held for long"));
        let mut proven = slow.clone();
        proven.verdict = Verdict::Proven;
        assert!(leak_text(&proven).starts_with("connection leaked (proven"));
    }

    #[test]
    fn a_report_has_one_stack_for_each_leaking_place() {
        let (a, b, c) = (site(42), site(99), site(7));
        record(&a, 20, 0, 0);
        record(&b, 3, 2, 0);
        let mut all: Vec<_> = (0..20).map(|n| leaked(n, &a, 100)).collect();
        all.push(leaked(30, &b, 60));
        all.push(executing(31, &c, 8));
        let text = report(&metrics("orders"), &all);
        assert_eq!(text.matches("acquired at:").count(), 2, "{text}");
        assert_eq!(text.matches("server process").count(), 6, "five of the first place, one of the second");
        assert!(text.contains("LEAK: app::orders::process (src/orders.rs:42)"), "{text}");
        assert!(text.contains("  and 15 more\n  this place: 20 out now;"), "{text}");
        assert!(
            text.contains("SLOW (has always released in the end): app::orders::process (src/orders.rs:99)")
        );
        assert!(
            text.contains("other holders:\n  1 at src/orders.rs:7: held for 8 s, executing for 8 s, busy")
        );
        assert!(text.starts_with(
            "pool \"orders\": 4 of 5 in use (80 %), 1 idle, 2 waiting; 3 flagged as leaked; the oldest checkout \
             is 1 min 30 s old\nbooks: 100 acquired = 95 released + 1 force-released + 0 lost + 4 active; reported as \
             leaked: 4 (4.00 % of the acquires), recovered: 0\n"
        ));
        assert!(report(&metrics("orders"), &[]).ends_with("no leaks\n"));
    }

    #[test]
    fn a_place_that_several_stacks_reach_has_one_record() {
        // Each call of `site` has a table of its own, so these are two sites at one place, each acquired once.
        let (a, b) = (site(42), site(42));
        record(&a, 2, 1, 0);
        record(&b, 1, 0, 0);
        let text = report(&metrics("orders"), &[leaked(0, &a, 100), leaked(1, &a, 90), leaked(2, &b, 80)]);
        assert!(text.contains("3 out now; so far acquired 2, reported as leaked 3, recovered 1,"), "{text}");
    }

    #[test]
    fn text_is_folded_into_one_line_and_cut() {
        assert_eq!(one_line("  SELECT\n\t1  \u{1b}[0m ", 80), "SELECT 1 [0m");
        assert_eq!(one_line("äöü äöü", 5), "äöü ä…");
        assert_eq!(one_line("äöü äöü", 7), "äöü äöü");
        assert_eq!(one_line("äöü ä", 4), "äöü…");
        assert_eq!(one_line("", 3), "");
    }
}
