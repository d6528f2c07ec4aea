//! HTTP publish: checks the key, validates the pack, appends it to the log.
