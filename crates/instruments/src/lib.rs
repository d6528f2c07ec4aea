//! Metrics: declared once, registered on a registry that is passed, rendered as Prometheus text.
//!
//! A part of the pipeline declares what it measures as a struct of handles ([`declare!`]): a field's name is the end of the
//! metric's name, and its doc comment is the help text that a scrape shows. Labels are closed enums ([`label!`]), so that
//! nobody can make one out of a thing, a channel, a key, a path or an email. There is no global registry.

mod buckets;
mod declare;
mod label;
mod process;
mod registry;

pub use declare::{Family, Instrument, Labels};
pub use label::Label;
pub use metrics::{Counter, Gauge, Histogram};
pub use process::ProcessMetrics;
pub use registry::Registry;
