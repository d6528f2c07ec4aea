//! The contract of a [`Store`] as tests, the same for every backend.
//!
//! A backend's tests give a [`Home`] and call [`contract_tests!`](crate::contract_tests); each law begins with a home in
//! which nothing was ever stored. A broken promise is a panic that says which.

mod fixtures;
mod flaky;
pub mod history;
pub mod laws;
mod model;
pub mod pages;
pub mod retention;

use std::sync::Arc;

use async_trait::async_trait;

use crate::contract::Store;

pub use self::fixtures::{channel, number_row, thing};
pub use self::flaky::Flaky;
pub use self::model::Model;

/// A place where a store's data stays while the store is closed.
#[async_trait]
pub trait Home: Send {
    /// Opens the store on the data that is there; what was opened before is closed by now.
    async fn open(&mut self) -> Arc<dyn Store>;

    /// Whether the store is one that keeps positions, and promises what only those do.
    fn keeps_positions(&self) -> bool {
        true
    }
}

/// Makes a test of each law, in a module of its own: `contract_tests!(embedded, EmbeddedHome::new)`.
#[macro_export]
macro_rules! contract_tests {
    ($module:ident, $home:expr) => {
        mod $module {
            use super::*;

            $crate::contract_tests!(@laws $home,
                laws: rows_come_in_order, large_rows_are_read_in_parts, a_scan_goes_on_behind_any_row, the_later_reception_wins,
                a_batch_resolves_its_own_repetitions, another_kind_leaves_nothing_of_the_old,
                replays_count_nothing, counts_hold_at_the_ends_of_time, blocks_are_listed_in_whole_buckets,
                positions_and_rows_survive, a_purged_channel_is_gone_for_ever,
                a_purged_publisher_is_gone_for_ever, purges_and_appends_may_race);
            $crate::contract_tests!(@laws $home,
                pages: a_page_is_bounded_in_bytes, an_offset_is_exact_within_a_second, a_cursor_is_stable_while_rows_come, a_cursor_belongs_to_its_query,
                a_filter_examines_no_more_than_it_may, many_ties_are_read_in_order,
                a_part_of_a_second_is_counted_exactly);
            $crate::contract_tests!(@laws $home,
                retention: what_has_expired_is_neither_shown_nor_counted,
                a_cursor_is_stable_while_the_cut_off_moves, what_has_expired_is_deleted,
                rows_far_ahead_are_deleted_when_they_expire, channels_of_all_classes_keep_to_themselves,
                appends_and_expiry_may_race);
        }
    };
    (@laws $home:expr, $part:ident: $($law:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                $crate::suite::$part::$law(&mut $home()).await;
            }
        )+
    };
}
