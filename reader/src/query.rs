//! The query string of a read, parsed once.
//!
//! Every parameter out of its range is refused, none is clamped and none is ignored: a filter with a typing error must
//! not answer with everything.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use domain::limits::{PAGE_RECORDS_DEFAULT, PAGE_RECORDS_MAX};
use domain::{ChannelId, ChannelProfile, ReceivedAt, Subtopic, Timestamp};
use percent_encoding::percent_decode_str;
use service::ApiError;
use store::planner::{Comparator, Filter, NumberFilter, Query, Start};
use store::{Direction, TimeRange};

/// A read as asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) limit: usize,
    range: TimeRange,
    direction: Direction,
    filter: Filter,
    start: Start,
}

impl Request {
    /// Parses a query string, as a browser or curl sends it.
    ///
    /// # Errors
    /// 400 that names the first parameter that is unknown, repeated, or out of its range.
    pub(crate) fn parse(query: &str) -> Result<Self, ApiError> {
        let parameters = Parameters::split(query)?;
        if parameters.get("format").is_some_and(|format| format != "messages") {
            return Err(bad("format", "must be messages"));
        }
        let range = TimeRange {
            from: parameters.parse("from", seconds)?.unwrap_or(Timestamp::MIN),
            to: parameters.parse("to", seconds)?,
        };
        let data = parameters.parse("vd", data)?;
        Ok(Self {
            limit: parameters.parse("limit", limit)?.unwrap_or(PAGE_RECORDS_DEFAULT),
            range: if matches!(data, Some(Data::OfNoBytes)) { NO_TIME } else { range },
            direction: parameters.parse("dir", direction)?.unwrap_or(Direction::Descending),
            filter: filter(&parameters, data)?,
            start: start(&parameters)?,
        })
    }

    /// The same, of one channel, as it is at a time: without what has expired.
    pub(crate) fn into_query(self, channel: ChannelId, profile: ChannelProfile, now: ReceivedAt) -> Query {
        let Self { limit, range, direction, filter, start } = self;
        Query { channel, profile, range, cut_off: profile.cut_off(now), direction, filter, limit, start }
    }
}

/// Every parameter there is.
const KNOWN: [&str; 16] = [
    "limit",
    "offset",
    "next",
    "dir",
    "from",
    "to",
    "subtopic",
    "publisher",
    "protocol",
    "name",
    "v",
    "comparator",
    "vs",
    "vb",
    "vd",
    "format",
];

/// The parameters of a query string, decoded; each known, and there once.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn split(query: &str) -> Result<Self, ApiError> {
        let mut parameters = Self(Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| bad(name, "is not valid UTF-8"))?;
            if !KNOWN.contains(&name.as_str()) {
                return Err(bad(&name, &format!("is not a parameter; there are {}", KNOWN.join(", "))));
            }
            if parameters.get(&name).is_some() {
                return Err(bad(&name, "is there more than once"));
            }
            let value = decode(value).ok_or_else(|| bad(&name, "is not valid UTF-8"))?;
            parameters.0.push((name, value));
        }
        Ok(parameters)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter's value by its parser, whose `Err` says what it should have been.
    fn parse<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Result<Option<T>, ApiError> {
        self.get(name).map(parse).transpose().map_err(|problem| bad(name, problem))
    }
}

/// Source: the URL standard's application/x-www-form-urlencoded parser, where `+` is a space.
fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(|decoded| decoded.into_owned())
}

fn filter(parameters: &Parameters, data: Option<Data>) -> Result<Filter, ApiError> {
    let comparator = parameters.parse("comparator", comparator)?.unwrap_or_default();
    Ok(Filter {
        subtopic: parameters.get("subtopic").map(Subtopic::from_stored),
        publisher: parameters.parse("publisher", |text| text.parse().map_err(|_| "is not a UUID"))?,
        protocol: parameters.get("protocol").map(str::to_owned),
        // No record has an empty name.
        name: parameters.get("name").filter(|name| !name.is_empty()).map(str::to_owned),
        number: parameters.parse("v", number)?.map(|number| NumberFilter { comparator, number }),
        text: parameters.get("vs").map(str::to_owned),
        bool: parameters.parse("vb", truth)?,
        data: match data {
            Some(Data::Bytes(bytes)) => Some(bytes),
            Some(Data::OfNoBytes) | None => None,
        },
    })
}

fn start(parameters: &Parameters) -> Result<Start, ApiError> {
    let offset = parameters.parse("offset", offset)?;
    match (offset, parameters.get("next")) {
        (None, None) => Ok(Start::Offset(0)),
        (Some(offset), None) => Ok(Start::Offset(offset)),
        (None, Some(next)) => Ok(Start::Cursor(next.to_owned())),
        (Some(_), Some(_)) => Err(bad("next", "replaces offset: send one of them")),
    }
}

fn limit(text: &str) -> Result<usize, &'static str> {
    const _: () = assert!(PAGE_RECORDS_MAX == 1_000, "the text below says 1000");
    match text.parse() {
        Ok(limit) if (1..=PAGE_RECORDS_MAX).contains(&limit) => Ok(limit),
        _ => Err("must be a whole number from 1 to 1000"),
    }
}

fn offset(text: &str) -> Result<u64, &'static str> {
    // As far as the lists of the API go.
    let offset = text.parse::<i64>().ok().and_then(|offset| u64::try_from(offset).ok());
    offset.ok_or("must be a whole number from 0 to 9223372036854775807")
}

fn seconds(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_bound(text).map_err(
        |_| "must be decimal seconds since the epoch, between -9223372036.854775808 and 9223372036.854775807",
    )
}

fn direction(text: &str) -> Result<Direction, &'static str> {
    match text {
        "desc" | "" => Ok(Direction::Descending),
        "asc" => Ok(Direction::Ascending),
        _ => Err("must be desc or asc"),
    }
}

fn comparator(text: &str) -> Result<Comparator, &'static str> {
    match text {
        "eq" => Ok(Comparator::Equal),
        "lt" => Ok(Comparator::Less),
        "le" => Ok(Comparator::LessOrEqual),
        "gt" => Ok(Comparator::Greater),
        "ge" => Ok(Comparator::GreaterOrEqual),
        _ => Err("must be one of eq, lt, le, gt, ge"),
    }
}

fn number(text: &str) -> Result<f64, &'static str> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or("must be a decimal number that fits a double")
}

fn truth(text: &str) -> Result<bool, &'static str> {
    text.parse().map_err(|_| "must be true or false")
}

/// What `vd` asks for.
enum Data {
    Bytes(Vec<u8>),
    /// base64url whose last character says more than the bytes before it need: no bytes are written so, none are equal.
    OfNoBytes,
}

/// A range that no record is in.
const NO_TIME: TimeRange = TimeRange { from: Timestamp::MIN, to: Some(Timestamp::MIN) };

/// base64url; padding may be there.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn data(text: &str) -> Result<Data, &'static str> {
    let bytes = BASE64URL.decode(text).map_err(|_| "must be base64url")?;
    let canonical = BASE64URL.encode(&bytes) == text.trim_end_matches('=');
    Ok(if canonical { Data::Bytes(bytes) } else { Data::OfNoBytes })
}

fn bad(parameter: &str, problem: &str) -> ApiError {
    ApiError::malformed(format!("{parameter} {problem}")).field(parameter)
}
