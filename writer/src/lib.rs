//! Moves entries from the log into the store.
