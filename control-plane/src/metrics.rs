//! What the control plane measures.

use instruments::{Counter, Family, Gauge, declare, label};

label! {
    /// How the check of a password ended.
    pub enum PasswordCheck: "outcome" {
        /// It was the password.
        Passed = "passed",
        /// It was not, or nobody has this email.
        Failed = "failed",
        /// It was not made: there were too many failures (429).
        Limited = "limited",
        /// It was not made: too many others wait (503).
        Busy = "busy",
    }
}

declare! {
    /// The control plane.
    pub struct ControlPlaneMetrics: "control_plane" {
        /// Passwords checked, by POST /tokens and by PATCH /password.
        pub(crate) password_checks_total: Family<PasswordCheck, Counter>,
        /// Requests that wait for a password's hash, or have one computed.
        pub(crate) password_hashes_waiting: Gauge,
        /// Changes of access that were published to the change feed.
        pub(crate) changes_published_total: Counter,
        /// Times that changes of access could not be published; they are tried again.
        pub(crate) publish_errors_total: Counter,
        /// Place in the change feed behind what this process published last.
        pub(crate) feed_position: Gauge,
        /// Deleted things and channels whose records are still to be deleted.
        pub(crate) purges_pending: Gauge,
        /// Blocks of expired records that were deleted.
        pub(crate) expired_blocks_total: Counter,
        /// Times that expired records could not be deleted; they are tried again.
        pub(crate) sweep_errors_total: Counter,
        /// When expired records were last looked for in every channel that has a retention, in seconds since the Unix epoch;
        /// 0 before the first time.
        pub(crate) last_sweep_timestamp_seconds: Gauge,
    }
}
