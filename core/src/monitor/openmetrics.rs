//! The metrics as OpenMetrics text, for Prometheus and everything that scrapes like it.
//!
//! The names are those of OpenTelemetry's semantic conventions for connection pools in their Prometheus form, and
//! `leakpool_…` for what those do not know. One label set per pool, never one per site or file: sites go into the
//! report. What a number means is said once, in its HELP line below.

use std::collections::HashSet;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::status::Metrics;
use crate::detect::stats::{BUCKET_BOUNDS, HistogramSnapshot};

/// The media type of the text, for an HTTP `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const POOL: &str = "db_client_connection_pool_name";
const STATE: &str = "db_client_connection_state";

/// The metrics of several pools as one OpenMetrics text that ends with `# EOF`. Durations are in seconds.
///
/// Two pools of the same name would make two series of the same labels, and a scraper would refuse the whole text:
/// the second one is shown as `name#2`.
///
/// ```
/// assert!(leakpool::monitor::openmetrics::encode(&[]).ends_with("# EOF\n"));
/// ```
pub fn encode(pools: &[Metrics]) -> String {
    let mut seen = HashSet::new();
    let pools = pools
        .iter()
        .map(|metrics| {
            let mut name = metrics.status.name.to_string();
            let mut n = 1;
            while !seen.insert(name.clone()) {
                n += 1;
                name = format!("{}#{n}", metrics.status.name);
            }
            (name, metrics.clone())
        })
        .collect();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Pools(pools)));
    let mut out = String::new();
    // Writing into a string does not fail.
    let _ = text::encode(&mut out, &registry);
    out
}

#[derive(Debug)]
struct Pools(Vec<(String, Metrics)>);

/// How a number is read from a snapshot.
enum Read {
    Counter(fn(&Metrics) -> u64),
    Gauge(fn(&Metrics) -> usize),
    Seconds(fn(&Metrics) -> f64),
    Histogram(fn(&Metrics) -> &HistogramSnapshot),
}

/// Every family but `db_client_connection_count`, which has a state label: name without unit and suffix, help.
const FAMILIES: &[(&str, &str, Read)] = &[
    ("db_client_connection_idle_max", "The most idle connections.", Read::Gauge(|m| m.status.max_size)),
    ("db_client_connection_idle_min", "Connections that are kept warm.", Read::Gauge(|m| m.min_idle)),
    ("db_client_connection_max", "The most connections; 0 = not known.", Read::Gauge(|m| m.status.max_size)),
    (
        "db_client_connection_pending_requests",
        "Acquires that wait for a connection.",
        Read::Gauge(|m| m.status.waiting),
    ),
    (
        "db_client_connection_timeouts",
        "Acquires that ran into their time-out.",
        Read::Counter(|m| m.timeouts),
    ),
    (
        "db_client_connection_create_time",
        "How long it took to make a connection.",
        Read::Histogram(|m| &m.create_time),
    ),
    ("db_client_connection_wait_time", "How long acquires waited.", Read::Histogram(|m| &m.wait_time)),
    ("db_client_connection_use_time", "How long connections were held.", Read::Histogram(|m| &m.use_time)),
    ("leakpool_acquires", "Checkouts that began.", Read::Counter(|m| m.books.acquired)),
    ("leakpool_releases", "Checkouts ended by their holder.", Read::Counter(|m| m.books.released)),
    (
        "leakpool_force_releases",
        "Checkouts that were taken away from their holder.",
        Read::Counter(|m| m.books.force_released),
    ),
    ("leakpool_lost", "Checkouts whose session died while it was held.", Read::Counter(|m| m.books.lost)),
    ("leakpool_leaks", "Checkouts reported as leaks, each once.", Read::Counter(|m| m.leaks)),
    (
        "leakpool_leaks_recovered",
        "Checkouts reported as leaks and released after all.",
        Read::Counter(|m| m.leaks_recovered),
    ),
    (
        "leakpool_leaked_connections",
        "Checkouts that are flagged as leaks now.",
        Read::Gauge(|m| m.status.leaked_now),
    ),
    ("leakpool_late_uses", "Uses of what had been taken away.", Read::Counter(|m| m.late_uses)),
    ("leakpool_late_releases", "Releases of what had been taken away.", Read::Counter(|m| m.late_releases)),
    (
        "leakpool_dirty_releases",
        "Releases with a statement, COPY or transaction open.",
        Read::Counter(|m| m.dirty_releases),
    ),
    ("leakpool_connections_created", "Connections that were made.", Read::Counter(|m| m.created)),
    (
        "leakpool_connection_errors",
        "Attempts to make a connection that failed.",
        Read::Counter(|m| m.create_errors),
    ),
    ("leakpool_connections_removed", "Connections that left the pool.", Read::Counter(|m| m.removed)),
    (
        "leakpool_ending_connections",
        "Sessions that left the pool and still end on the server.",
        Read::Gauge(|m| m.status.ending),
    ),
    (
        "leakpool_oldest_checkout",
        "How long the oldest live checkout has been held; 0 = there is none.",
        Read::Seconds(|m| m.oldest_checkout.unwrap_or_default().as_secs_f64()),
    ),
    (
        "leakpool_events_dropped",
        "Events that were lost because a subscriber was too slow.",
        Read::Counter(|m| m.events_dropped),
    ),
    ("leakpool_sweep_time", "How long the detector's rounds took.", Read::Histogram(|m| &m.sweep_time)),
];

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut count = encoder.encode_descriptor(
            "db_client_connection_count",
            "Open connections: used (checked out or still cleaning up) or idle.",
            None,
            MetricType::Gauge,
        )?;
        for (name, metrics) in &self.0 {
            let status = &metrics.status;
            for (state, n) in [("used", status.in_use + status.returning), ("idle", status.idle)] {
                count.encode_family(&[(POOL, name.as_str()), (STATE, state)])?.encode_gauge(&n)?;
            }
        }
        for (family, help, read) in FAMILIES {
            let (unit, kind) = match read {
                Read::Counter(_) => (None, MetricType::Counter),
                Read::Gauge(_) => (None, MetricType::Gauge),
                Read::Seconds(_) => (Some(&Unit::Seconds), MetricType::Gauge),
                Read::Histogram(_) => (Some(&Unit::Seconds), MetricType::Histogram),
            };
            let mut metric = encoder.encode_descriptor(family, help, unit, kind)?;
            for (name, metrics) in &self.0 {
                let labels = [(POOL, name.as_str())];
                let mut metric = metric.encode_family(&labels)?;
                match read {
                    Read::Counter(read) => {
                        metric.encode_counter::<NoLabelSet, _, f64>(&read(metrics), None)?;
                    }
                    Read::Gauge(read) => metric.encode_gauge(&read(metrics))?,
                    Read::Seconds(read) => metric.encode_gauge(&read(metrics))?,
                    Read::Histogram(read) => {
                        let histogram = read(metrics);
                        let bounds = BUCKET_BOUNDS.iter().copied().chain([f64::INFINITY]);
                        let counts = histogram.buckets.iter().copied().chain(std::iter::repeat(0));
                        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
                        metric.encode_histogram::<NoLabelSet>(
                            histogram.sum.as_secs_f64(),
                            histogram.count,
                            &buckets,
                            None,
                        )?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::metrics;
    use std::collections::HashMap;

    /// A strict reader of the subset that we write: families in one piece, TYPE before samples, suffixes and units
    /// as the type demands, no series twice, buckets cumulated and ending with the count, EOF at the end.
    fn parse(text: &str) -> HashMap<String, f64> {
        let body = text.strip_suffix("# EOF\n").expect("ends with EOF");
        let mut series = HashMap::new();
        let mut families: HashMap<String, String> = HashMap::new();
        let mut family = String::new();
        let mut bucket: Option<(String, f64)> = None;
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let (word, rest) = comment.split_once(' ').expect(line);
                let (name, value) = rest.split_once(' ').expect(line);
                match word {
                    "HELP" => assert!(value.ends_with('.') && !value.contains('\\'), "{line}"),
                    "TYPE" => {
                        assert!(families.insert(name.into(), value.into()).is_none(), "{name} comes twice");
                        family = name.into();
                    }
                    "UNIT" => assert!(name == family && name.ends_with(&format!("_{value}")), "{line}"),
                    other => panic!("{other}"),
                }
                continue;
            }
            let (key, value) = line.rsplit_once(' ').expect(line);
            let value: f64 = value.parse().expect(line);
            let (name, labels) = key.split_once('{').expect(line);
            assert!(labels.ends_with("}") && labels.contains(POOL), "{line}");
            let suffix = name.strip_prefix(family.as_str()).expect(line);
            match (families[&family].as_str(), suffix) {
                ("gauge", "") | ("counter", "_total") | ("histogram", "_sum") => {}
                ("histogram", "_count") => bucket = Some((key.into(), value)),
                ("histogram", "_bucket") => {
                    if labels.contains("le=\"+Inf\"") {
                        assert_eq!(bucket.as_ref().map(|b| b.1), Some(value), "{line}");
                    }
                }
                (kind, suffix) => panic!("{kind} with suffix {suffix:?}: {line}"),
            }
            assert!(value >= 0.0);
            assert!(series.insert(key.to_owned(), value).is_none(), "{key} comes twice");
        }
        series
    }

    #[test]
    fn the_text_is_what_a_scraper_reads() {
        let series = parse(&encode(&[metrics("orders"), metrics("a \"b\"\\\n")]));
        let of = |name: &str, more: &str| {
            let pool = "db_client_connection_pool_name=\"orders\"";
            series[&format!("{name}{{{pool}{more}}}")]
        };
        assert_eq!(of("db_client_connection_count", ",db_client_connection_state=\"used\""), 4.0);
        assert_eq!(of("db_client_connection_count", ",db_client_connection_state=\"idle\""), 1.0);
        assert_eq!(of("db_client_connection_max", ""), 5.0);
        assert_eq!(of("db_client_connection_pending_requests", ""), 2.0);
        assert_eq!(of("db_client_connection_timeouts_total", ""), 7.0);
        assert_eq!(of("db_client_connection_use_time_seconds_count", ""), 2.0);
        assert_eq!(of("db_client_connection_use_time_seconds_sum", ""), 400.002);
        assert_eq!(of("leakpool_leaks_total", ""), 4.0);
        assert_eq!(of("leakpool_force_releases_total", ""), 1.0);
        assert_eq!(of("leakpool_leaked_connections", ""), 3.0);
        assert_eq!(of("leakpool_oldest_checkout_seconds", ""), 90.5);
        assert!(
            series
                .contains_key("leakpool_leaks_total{db_client_connection_pool_name=\"a \\\"b\\\"\\\\\\n\"}")
        );
        let bucket = |le: &str| {
            series[&format!(
                "db_client_connection_wait_time_seconds_bucket{{le=\"{le}\",db_client_connection_pool_name=\"orders\"}}"
            )]
        };
        assert_eq!([bucket("0.001"), bucket("0.005"), bucket("300.0"), bucket("+Inf")], [0.0, 1.0, 1.0, 2.0]);
    }

    #[test]
    fn two_pools_of_one_name_stay_two_series() {
        let text = encode(&[metrics("orders"), metrics("orders"), metrics("orders#2")]);
        let series = parse(&text);
        for name in ["orders", "orders#2", "orders#2#2"] {
            let key = format!("leakpool_leaks_total{{{POOL}=\"{name}\"}}");
            assert!(series.contains_key(&key), "{key}");
        }
    }

    #[test]
    fn no_pool_is_a_valid_text_too() {
        assert!(parse(&encode(&[])).is_empty());
    }
}
