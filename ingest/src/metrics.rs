//! What an ingest node measures.

use http::StatusCode;
use instruments::{Counter, Family, Gauge, Histogram, Label as _, declare, label};
use service::ApiError;

label! {
    /// How a publish was answered: accepted, or the code of its refusal.
    pub enum Outcome: "outcome" {
        /// 202: the pack is durable.
        Accepted = "accepted",
        /// 401: no key, or an unknown one.
        Unauthenticated = "unauthenticated",
        /// 403: the thing is not connected to the channel.
        Forbidden = "forbidden",
        /// 415: another content type or encoding.
        UnsupportedMediaType = "unsupported_media_type",
        /// 408: the body did not come in time.
        Timeout = "timeout",
        /// 413: more bytes or records than a pack may have.
        TooLarge = "too_large",
        /// 429: too many requests.
        TooManyRequests = "too_many_requests",
        /// 503: the memory for packs in flight is taken, the log can't take more, or access can't be checked.
        Unavailable = "unavailable",
        /// 400: the subtopic can't be one.
        BadSubtopic = "bad_subtopic",
        /// 400: not JSON, not what its encoding says, or cut short.
        Malformed = "malformed",
        /// 400: the root is not an array.
        NotAPack = "not_a_pack",
        /// 400: no measurement.
        EmptyPack = "empty_pack",
        /// 400: an element that is no object.
        BadRecord = "bad_record",
        /// 400: a field of the wrong type.
        BadType = "bad_type",
        /// 400: a label twice in a record.
        DuplicateField = "duplicate_field",
        /// 400: neither value nor sum.
        NoValue = "no_value",
        /// 400: more than one value.
        ManyValues = "many_values",
        /// 400: a name that can't be one.
        BadName = "bad_name",
        /// 400: a unit that is too long.
        BadUnit = "bad_unit",
        /// 400: a number out of its range.
        BadNumber = "bad_number",
        /// 400: a time out of range.
        TimeRange = "time_range",
        /// 400: a time that the channel keeps no longer.
        Expired = "expired",
        /// 400: data that is not base64url.
        BadData = "bad_data",
        /// 400: an unknown field that must be understood.
        MustUnderstand = "must_understand",
        /// 400: an unknown version of SenML.
        UnsupportedVersion = "unsupported_version",
        /// 400: two versions in one pack.
        VersionChange = "version_change",
        /// Any other answer.
        Other = "other",
    }
}

impl Outcome {
    pub(crate) fn of(refusal: &ApiError) -> Self {
        match refusal.status() {
            StatusCode::UNAUTHORIZED => return Self::Unauthenticated,
            StatusCode::FORBIDDEN => return Self::Forbidden,
            StatusCode::REQUEST_TIMEOUT => return Self::Timeout,
            StatusCode::SERVICE_UNAVAILABLE => return Self::Unavailable,
            _ => {}
        }
        let same = |outcome: &&Self| refusal.has_code(outcome.as_str());
        Self::ALL.iter().find(same).copied().unwrap_or(Self::Other)
    }
}

declare! {
    /// One addition a pack, not a record.
    pub struct IngestMetrics: "ingest" {
        /// Packs answered.
        pub(crate) packs_total: Family<Outcome, Counter>,
        /// Records of accepted packs.
        pub(crate) records_total: Counter,
        /// Bytes of accepted packs, after inflation.
        pub(crate) bytes_total: Counter,
        /// Time from a key that is good to an accepted pack: reading it, checking it and making it durable.
        pub(crate) publish_seconds: Histogram,
        /// Memory set aside for packs on their way into the log.
        pub(crate) in_flight_bytes: Gauge,
        /// Memory that packs on their way into the log may take.
        pub(crate) in_flight_bytes_max: Gauge,
    }
}

#[cfg(test)]
mod tests {
    use domain::senml::ErrorCode;

    use super::*;

    #[test]
    fn every_fault_of_a_pack_is_an_outcome_of_its_own() {
        for code in ErrorCode::ALL {
            let refusal = match code {
                ErrorCode::TooLarge => ApiError::too_large("x"),
                code => ApiError::malformed("x").code(code.as_str()),
            };
            assert_eq!(Outcome::of(&refusal).as_str(), code.as_str());
        }
    }

    #[test]
    fn other_refusals_go_by_their_status() {
        for (refusal, outcome) in [
            (ApiError::unauthenticated("x"), Outcome::Unauthenticated),
            (ApiError::forbidden("x"), Outcome::Forbidden),
            (ApiError::unavailable("x").code("full"), Outcome::Unavailable),
            (ApiError::unsupported_media_type("x"), Outcome::UnsupportedMediaType),
            (ApiError::new(StatusCode::REQUEST_TIMEOUT, "x"), Outcome::Timeout),
            (ApiError::malformed("x"), Outcome::Other),
        ] {
            assert_eq!(Outcome::of(&refusal), outcome);
        }
    }
}
