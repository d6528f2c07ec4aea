//! Which parts of the pipeline a process runs.

use clap::ValueEnum;

/// A part of the pipeline that can run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Takes what things publish.
    Ingest,
    /// Moves what was published into the store.
    Writer,
    /// Answers what is asked of the store.
    Reader,
    /// Keeps users, things, channels, and who may do what.
    ControlPlane,
    /// Delivers to webhooks what was published.
    Webhooks,
}

impl Role {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Writer => "writer",
            Self::Reader => "reader",
            Self::ControlPlane => "control-plane",
            Self::Webhooks => "webhooks",
        }
    }
}
