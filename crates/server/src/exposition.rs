//! The two forms of metrics as text: `OpenMetrics`, which the library writes, and the older one of Prometheus.
//!
//! Whoever does not ask for the newer gets the older, as from etcd: simple scrapers know nothing else.
//! See prometheus.io/docs/instrumenting/exposition_formats.

use std::borrow::Cow;

/// What is sent to those that ask for it.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What is sent to everybody else.
pub(crate) const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a request's `Accept` asks for `OpenMetrics`.
pub(crate) fn asks_for_open_metrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named =
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
        is_named && parts.all(|part| part.strip_prefix("q=").is_none_or(|quality| quality.parse() != Ok(0.0)))
    })
}

/// The older form of a text. There a counter is named as its samples are, with `_total`, and neither units nor an end are said.
pub(crate) fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(said) = line.strip_prefix("# ") else {
            text.extend([line, "\n"]);
            continue;
        };
        let mut words = said.splitn(3, ' ');
        let (word, name, rest) = (words.next(), words.next(), words.next().unwrap_or_default());
        match (word, name) {
            (Some("HELP"), Some(name)) => {
                // The type follows the help.
                let kind = lines.peek().and_then(|next| next.strip_prefix("# TYPE ")?.strip_prefix(name));
                let name = plain_name(name, kind.unwrap_or_default().trim());
                text.extend(["# HELP ", &name, " ", rest, "\n"]);
            }
            (Some("TYPE"), Some(name)) => {
                let kind = if rest == "unknown" { "untyped" } else { rest };
                text.extend(["# TYPE ", &plain_name(name, kind), " ", kind, "\n"]);
            }
            _ => {}
        }
    }
    text
}

fn plain_name<'a>(name: &'a str, kind: &str) -> Cow<'a, str> {
    if kind == "counter" { format!("{name}_total").into() } else { name.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    #[test]
    fn the_older_form_is_as_prometheus_defines_it() {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        counter.inc();
        registry.register("requests", "Requests", counter);
        registry.register_with_unit("age", "How old", Unit::Seconds, Gauge::<i64>::default());
        let histogram = Histogram::new([0.5]);
        histogram.observe(0.25);
        registry.register("took", "How long", histogram);
        let mut newer = String::new();
        encode(&mut newer, &registry).unwrap();
        assert_eq!(
            plain(&newer),
            "# HELP requests_total Requests.\n\
             # TYPE requests_total counter\n\
             requests_total 1\n\
             # HELP age_seconds How old.\n\
             # TYPE age_seconds gauge\n\
             age_seconds 0\n\
             # HELP took How long.\n\
             # TYPE took histogram\n\
             took_sum 0.25\n\
             took_count 1\n\
             took_bucket{le=\"0.5\"} 1\n\
             took_bucket{le=\"+Inf\"} 1\n"
        );
    }

    #[test]
    fn the_newer_form_is_only_for_those_that_ask() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert!(asks_for_open_metrics(prometheus));
        for other in ["", "*/*", "text/plain", "application/openmetrics-text;q=0", "text/openmetrics"] {
            assert!(!asks_for_open_metrics(other), "{other}");
        }
    }
}
