//! Load tools and benches: the ledger load tool, and ratios against bare parts.
