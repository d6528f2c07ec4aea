//! Which rows a query asks for, besides their time.
//!
//! Pure: a row matches or does not, whatever came before it.

use domain::{Subtopic, ThingId, Value};

use crate::contract::Row;

/// Conditions on a row; all that are set must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Published to exactly this subtopic; the empty one is the channel itself.
    pub subtopic: Option<Subtopic>,
    /// Published by this thing.
    pub publisher: Option<ThingId>,
    /// Came by the protocol of this name. A name that no protocol has matches nothing.
    pub protocol: Option<String>,
    /// Has exactly this resolved name.
    pub name: Option<String>,
    /// Measured a number (`v`) that compares so. The comparator is for numbers only: the other kinds are compared for
    /// being equal.
    pub number: Option<NumberFilter>,
    /// Measured exactly this text (`vs`).
    pub text: Option<String>,
    /// Measured this boolean (`vb`).
    pub bool: Option<bool>,
    /// Measured exactly these bytes (`vd`).
    pub data: Option<Vec<u8>>,
}

/// A condition on a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumberFilter {
    /// How the row's number has to compare.
    pub comparator: Comparator,
    /// To what.
    pub number: f64,
}

/// How a row's number compares to the filter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Comparator {
    /// `eq`: it is the same number.
    #[default]
    Equal,
    /// `lt`: it is less.
    Less,
    /// `le`: it is less or the same.
    LessOrEqual,
    /// `gt`: it is greater.
    Greater,
    /// `ge`: it is greater or the same.
    GreaterOrEqual,
}

impl NumberFilter {
    fn matches(self, number: f64) -> bool {
        match self.comparator {
            Comparator::Equal => number == self.number,
            Comparator::Less => number < self.number,
            Comparator::LessOrEqual => number <= self.number,
            Comparator::Greater => number > self.number,
            Comparator::GreaterOrEqual => number >= self.number,
        }
    }
}

impl Filter {
    /// Whether it lets every row through.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether all conditions hold for the row.
    pub fn matches(&self, row: &Row) -> bool {
        let record = &row.record;
        holds(&self.publisher, |publisher| row.publisher == *publisher)
            && holds(&self.subtopic, |subtopic| row.subtopic == *subtopic)
            && holds(&self.name, |name| record.name == *name)
            && holds(&self.protocol, |protocol| row.protocol.as_str() == protocol)
            && holds(
                &self.number,
                |filter| matches!(record.value, Some(Value::Number(number)) if filter.matches(number)),
            )
            && holds(&self.text, |text| matches!(&record.value, Some(Value::Text(stored)) if stored == text))
            && holds(&self.bool, |bool| matches!(record.value, Some(Value::Bool(stored)) if stored == *bool))
            && holds(&self.data, |data| matches!(&record.value, Some(Value::Data(stored)) if stored == data))
    }
}

fn holds<T>(condition: &Option<T>, check: impl FnOnce(&T) -> bool) -> bool {
    condition.as_ref().is_none_or(check)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Protocol, ReceivedAt, Record, Timestamp};

    fn row(value: Value) -> Row {
        Row {
            publisher: ThingId::from_bytes([1; 16]),
            subtopic: Subtopic::from_stored("a.b"),
            protocol: Protocol::Http,
            received: ReceivedAt::from_micros(1),
            record: Record {
                name: "n".into(),
                unit: "u".into(),
                time: Timestamp::from_nanos(0),
                value: Some(value),
                sum: None,
                update_time: None,
            },
        }
    }

    #[test]
    fn a_number_compares_as_asked() {
        let table = [
            (Comparator::Equal, [false, true, false]),
            (Comparator::Less, [true, false, false]),
            (Comparator::LessOrEqual, [true, true, false]),
            (Comparator::Greater, [false, false, true]),
            (Comparator::GreaterOrEqual, [false, true, true]),
        ];
        for (comparator, expected) in table {
            let filter =
                Filter { number: Some(NumberFilter { comparator, number: 2.0 }), ..Filter::default() };
            let matches = [1.0, 2.0, 3.0].map(|number| filter.matches(&row(Value::Number(number))));
            assert_eq!(matches, expected, "{comparator:?}");
            assert!(!filter.matches(&row(Value::Text("2".into()))), "{comparator:?}");
        }
    }

    #[test]
    fn every_condition_has_to_hold() {
        let row = row(Value::Bool(true));
        let matching = Filter {
            subtopic: Some(Subtopic::from_stored("a.b")),
            publisher: Some(ThingId::from_bytes([1; 16])),
            protocol: Some("http".into()),
            name: Some("n".into()),
            bool: Some(true),
            ..Filter::default()
        };
        assert!(matching.matches(&row));
        let with = |change: fn(&mut Filter)| {
            let mut filter = matching.clone();
            change(&mut filter);
            filter.matches(&row)
        };
        assert!(!with(|filter| filter.subtopic = Some(Subtopic::from_stored("a"))));
        assert!(!with(|filter| filter.publisher = Some(ThingId::from_bytes([2; 16]))));
        assert!(!with(|filter| filter.protocol = Some("mqtt".into())));
        assert!(!with(|filter| filter.name = Some("N".into())));
        assert!(!with(|filter| filter.bool = Some(false)));
        assert!(!with(|filter| filter.text = Some("true".into())));
        assert!(!with(|filter| filter.data = Some(vec![1])));
    }
}
