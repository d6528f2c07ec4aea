//! The registry: every series of one process, and its text for a scrape.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::buckets;
use crate::declare::Labels;

/// Every series of one process. Cheap to clone; all clones are the same.
///
/// Samples of histograms wait in memory until they are counted: call [`Registry::upkeep`] about once a second.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    before_scrape: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

/// What the facade wants to be told about a registration. Nobody filters by it.
static METADATA: Metadata<'static> = Metadata::new("thalweg", Level::INFO, None);

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        let expected = "there are buckets";
        let mut builder = PrometheusBuilder::new().set_buckets(buckets::OTHERS).expect(expected);
        for (suffix, buckets) in buckets::BY_SUFFIX {
            let matcher = Matcher::Suffix(suffix.to_owned());
            builder = builder.set_buckets_for_metric(matcher, buckets).expect(expected);
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        Self(Arc::new(Inner { recorder, handle, before_scrape: Mutex::default() }))
    }

    /// Has this done before each scrape: for gauges that are cheaper to read off than to keep.
    pub fn before_scrape(&self, read: impl Fn() + Send + Sync + 'static) {
        self.0.before_scrape.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(read));
    }

    /// Everything as Prometheus text, version 0.0.4.
    pub fn render(&self) -> String {
        for read in &*self.0.before_scrape.lock().unwrap_or_else(PoisonError::into_inner) {
            read();
        }
        self.0.handle.render()
    }

    /// Counts the samples of histograms that wait in memory.
    pub fn upkeep(&self) {
        self.0.handle.run_upkeep();
    }

    pub(crate) fn counter(&self, name: &'static str, help: &'static str, labels: Labels) -> Counter {
        self.0.recorder.describe_counter(name.into(), None, help.into());
        self.0.recorder.register_counter(&key(name, labels), &METADATA)
    }

    pub(crate) fn gauge(&self, name: &'static str, help: &'static str, labels: Labels) -> Gauge {
        self.0.recorder.describe_gauge(name.into(), None, help.into());
        self.0.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    pub(crate) fn histogram(&self, name: &'static str, help: &'static str, labels: Labels) -> Histogram {
        self.0.recorder.describe_histogram(name.into(), None, help.into());
        self.0.recorder.register_histogram(&key(name, labels), &METADATA)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry(..)")
    }
}

fn key(name: &'static str, labels: Labels) -> Key {
    let labels: Vec<Label> = labels.into_iter().map(|(name, value)| Label::new(name, value)).collect();
    Key::from_parts(name, labels)
}

#[cfg(test)]
mod tests {
    use crate::{Counter, Family, Gauge, Histogram, Registry, declare, label};

    label! {
        enum Fuel: "fuel" {
            Gas = "gas",
            Wood = "wood",
        }
    }

    declare! {
        struct StoveMetrics: "stove" {
            /// Pots heated. The text
            /// goes on.
            pots_total: Family<Fuel, Counter>,
            /// Heat now.
            heat: Gauge,
            /// Time to boil.
            boil_seconds: Histogram,
            /// Eggs in a pot.
            eggs: Histogram,
        }
    }

    #[test]
    fn a_scrape_shows_every_series_with_its_help_and_type() {
        let registry = Registry::new();
        let stove = StoveMetrics::register(&registry);
        let heat = stove.heat.clone();
        registry.before_scrape(move || heat.set(7.5));
        stove.pots_total.of(Fuel::Wood).increment(3);
        stove.boil_seconds.record(0.003);
        stove.eggs.record(6.0);
        registry.upkeep();
        stove.eggs.record(200.0);
        let text = registry.render();
        for line in [
            "# HELP stove_pots_total Pots heated. The text goes on.",
            "# TYPE stove_pots_total counter",
            "stove_pots_total{fuel=\"gas\"} 0",
            "stove_pots_total{fuel=\"wood\"} 3",
            "# TYPE stove_heat gauge",
            "stove_heat 7.5",
            "# TYPE stove_boil_seconds histogram",
            "stove_boil_seconds_bucket{le=\"0.0025\"} 0",
            "stove_boil_seconds_bucket{le=\"0.005\"} 1",
            "stove_eggs_bucket{le=\"10\"} 1",
            "stove_eggs_bucket{le=\"+Inf\"} 2",
            "stove_eggs_sum 206",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in:\n{text}");
        }
    }

    #[test]
    fn what_is_not_registered_measures_nothing_and_takes_everything() {
        let stove = StoveMetrics::default();
        stove.pots_total.of(Fuel::Gas).increment(1);
        stove.boil_seconds.record(1.0);
        assert!(!Registry::new().render().contains("stove"));
    }
}
