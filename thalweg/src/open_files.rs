//! How many files and connections the system lets this process have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files besides connections: those of the log, the store and the registry, with room to spare.
const OTHER_FILES: u64 = 1_000;

/// Raises the soft limit to the hard one (the soft one is low for the sake of old programs that can't have more), and says so if
/// the connections that the settings allow do not fit.
pub(crate) fn raise_limit(connections_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    let files_max = getrlimit(Resource::Nofile).current;
    let wanted = (connections_max as u64).saturating_add(OTHER_FILES);
    if let Some(files_max) = files_max.filter(|files_max| *files_max < wanted) {
        tracing::warn!(
            files_max,
            connections_max,
            "the system allows fewer open files than there may be connections: lower --connections-max, or raise the \
             limit (ulimit -n, LimitNOFILE=)"
        );
    }
}
