//! `thalweg migrate`: brings what the engines hold up to date, as every start of a role does, and ends.

use std::io::{self, Write as _};

use anyhow::bail;

use crate::cli::Serve;
use crate::serve::cluster;

/// Each engine in turn: what was done is printed.
pub(crate) async fn run(settings: &Serve) -> anyhow::Result<()> {
    let Some(registry) = &settings.cluster.postgres_url else {
        bail!(
            "there is nothing to migrate: THALWEG_POSTGRES_URL is not set, and a data directory is brought up to date by its server"
        );
    };
    let report = control_plane::migrate(registry).await?;
    let applied: Vec<String> = report.applied.iter().map(ToString::to_string).collect();
    let applied =
        if applied.is_empty() { "was up to date".to_owned() } else { format!("took {}", applied.join(", ")) };
    let _ = writeln!(io::stdout(), "registry: {applied}");
    drop(cluster::store(&settings.cluster).await?);
    let _ = writeln!(io::stdout(), "store: up to date");
    cluster::topics(settings).await?;
    let _ = writeln!(io::stdout(), "log: up to date");
    Ok(())
}
