//! Structs of handles: what a part of the pipeline measures, in one place.

use std::fmt;
use std::marker::PhantomData;

use metrics::{Counter, Gauge, Histogram};

use crate::label::Label;
use crate::registry::Registry;

/// The labels of one series.
pub type Labels = Vec<(&'static str, String)>;

/// What can be registered under a name.
pub trait Instrument: Sized {
    /// Registers it, with a help text of one line. Registering it again gives another handle of the same series.
    fn register(registry: &Registry, name: &'static str, help: &'static str, labels: Labels) -> Self;

    /// One that measures nothing.
    fn none() -> Self;
}

macro_rules! instrument {
    ($($handle:ident: $register:ident),+) => {
        $(impl Instrument for $handle {
            fn register(registry: &Registry, name: &'static str, help: &'static str, labels: Labels) -> Self {
                registry.$register(name, help, labels)
            }

            fn none() -> Self {
                Self::noop()
            }
        })+
    };
}

instrument!(Counter: counter, Gauge: gauge, Histogram: histogram);

/// One instrument for each value of a label. All are registered at once: a scrape shows a zero before the first event.
#[derive(Clone)]
pub struct Family<L, I> {
    instruments: Box<[I]>,
    label: PhantomData<L>,
}

impl<L: Label, I> Family<L, I> {
    /// The instrument of a value.
    pub fn of(&self, value: L) -> &I {
        &self.instruments[value.index()]
    }
}

impl<L: Label, I: Instrument> Instrument for Family<L, I> {
    fn register(registry: &Registry, name: &'static str, help: &'static str, labels: Labels) -> Self {
        let one = |value: &L| {
            let mut labels = labels.clone();
            labels.push((L::NAME, value.as_str().to_owned()));
            I::register(registry, name, help, labels)
        };
        Self { instruments: L::ALL.iter().map(one).collect(), label: PhantomData }
    }

    fn none() -> Self {
        Self { instruments: L::ALL.iter().map(|_| I::none()).collect(), label: PhantomData }
    }
}

impl<L, I> fmt::Debug for Family<L, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Family(..)")
    }
}

/// Declares a struct of handles. Each field becomes the metric `<prefix>_<field>`, its doc comment the help text; the struct
/// gets `register(&Registry)`, and a `Default` that measures nothing.
///
/// ```
/// use thalweg_instruments::{Counter, Registry, declare};
///
/// declare! {
///     /// What a kettle measures.
///     pub struct KettleMetrics: "kettle" {
///         /// Cups filled.
///         pub cups_total: Counter,
///     }
/// }
///
/// let registry = Registry::new();
/// let metrics = KettleMetrics::register(&registry);
/// metrics.cups_total.increment(2);
/// assert!(registry.render().contains("# HELP kettle_cups_total Cups filled."));
/// assert!(registry.render().contains("kettle_cups_total 2"));
/// ```
#[macro_export]
macro_rules! declare {
    ($(#[$doc:meta])* $vis:vis struct $name:ident : $prefix:literal {
        $($(#[doc = $help:literal])+ $field_vis:vis $field:ident : $instrument:ty),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $($(#[doc = $help])+ $field_vis $field: $instrument),+
        }

        impl $name {
            /// Registers everything in it.
            $vis fn register(registry: &$crate::Registry) -> Self {
                Self {
                    $($field: <$instrument as $crate::Instrument>::register(
                        registry,
                        concat!($prefix, "_", stringify!($field)),
                        concat!($($help),+).trim_ascii(),
                        Vec::new(),
                    )),+
                }
            }
        }

        /// Measures nothing.
        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::Instrument::none()),+ }
            }
        }
    };
}
