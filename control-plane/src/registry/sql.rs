//! Statements: a text that both engines understand, and the values that are bound in it.
//!
//! There is one text for each query, whatever engine it runs on; nothing here or above knows which one that is. A text is
//! fixed, with its places written `$1`, `$2`, or it is put together, and then the engine says how a place is written.
//! Values are only ever bound.

use std::fmt::{Display, Write as _};

use sqlx::{Arguments, AssertSqlSafe, Encode, SqlSafeStr as _, SqlStr, Type};
use uuid::Uuid;

/// What can be bound.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Integer(i64),
    Text(Option<String>),
    Bytes(Vec<u8>),
    Id(Option<Uuid>),
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_owned())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        Self::Id(Some(id))
    }
}

impl From<Option<Uuid>> for Value {
    fn from(id: Option<Uuid>) -> Self {
        Self::Id(id)
    }
}

/// A statement with its values.
#[derive(Debug)]
pub(super) struct Sql {
    text: Text,
    values: Vec<Value>,
    /// Whether connections keep it prepared: of texts of which there are few.
    pub(super) is_kept: bool,
}

#[derive(Debug)]
enum Text {
    Fixed(&'static str),
    /// The places of values are bytes of the text before which one stands.
    Built {
        text: String,
        places: Vec<usize>,
    },
}

/// A statement of a fixed text, with its values still to be bound.
pub(super) fn sql(text: &'static str) -> Sql {
    Sql { text: Text::Fixed(text), values: Vec::new(), is_kept: true }
}

impl Sql {
    /// Binds the next value of a fixed text: the first is its `$1`.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// The text, with each place that was put into it written as the engine writes it; the first is place 1.
    pub(super) fn text(&self, write_place: impl Fn(&mut String, usize)) -> SqlStr {
        let (text, places) = match &self.text {
            Text::Fixed(text) => return text.into_sql_str(),
            Text::Built { text, places } => (text, places),
        };
        let mut whole = String::with_capacity(text.len() + 6 * places.len());
        let mut written = 0;
        for (index, &place) in places.iter().enumerate() {
            whole.push_str(&text[written..place]);
            write_place(&mut whole, index + 1);
            written = place;
        }
        whole.push_str(&text[written..]);
        AssertSqlSafe(whole).into_sql_str()
    }

    /// The values, as an engine takes them.
    pub(super) fn values<A>(&self) -> A
    where
        A: Arguments,
        for<'v> i64: Encode<'v, A::Database> + Type<A::Database>,
        for<'v> Option<&'v str>: Encode<'v, A::Database> + Type<A::Database>,
        for<'v> &'v [u8]: Encode<'v, A::Database> + Type<A::Database>,
        for<'v> Option<Uuid>: Encode<'v, A::Database> + Type<A::Database>,
    {
        let mut arguments = A::default();
        for value in &self.values {
            let added = match value {
                Value::Integer(integer) => arguments.add(*integer),
                Value::Text(text) => arguments.add(text.as_deref()),
                Value::Bytes(bytes) => arguments.add(bytes.as_slice()),
                Value::Id(id) => arguments.add(*id),
            };
            added.expect("numbers, texts, bytes and ids of bounded sizes can be bound");
        }
        arguments
    }
}

/// A statement whose text is put together. Only texts of ours are pushed; what others wrote is bound.
#[derive(Debug)]
pub(super) struct SqlBuilder {
    text: String,
    places: Vec<usize>,
    values: Vec<Value>,
}

impl SqlBuilder {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), places: Vec::new(), values: Vec::new() }
    }

    /// Goes on with a text.
    pub(super) fn push(&mut self, text: impl Display) -> &mut Self {
        write!(self.text, "{text}").expect("a text can be appended to");
        self
    }

    /// Goes on with a value.
    pub(super) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.places.push(self.text.len());
        self.values.push(value.into());
        self
    }

    /// `VALUES (…), (…)`: of each item the values that `bind` gives it. There has to be an item.
    pub(super) fn push_values<I>(
        &mut self,
        items: I,
        mut bind: impl FnMut(&mut List<'_>, I::Item),
    ) -> &mut Self
    where
        I: IntoIterator,
    {
        for (index, item) in items.into_iter().enumerate() {
            self.push(if index == 0 { "VALUES (" } else { ", (" });
            bind(&mut List { sql: self, is_empty: true }, item);
            self.push(")");
        }
        self
    }

    /// ` IN (…)`. There has to be a value.
    pub(super) fn push_in<V: Into<Value>>(&mut self, values: impl IntoIterator<Item = V>) -> &mut Self {
        self.push(" IN (");
        let mut list = List { sql: self, is_empty: true };
        for value in values {
            list.bind(value);
        }
        self.push(")")
    }

    /// The statement, one of few that differ in nothing but their values.
    pub(super) fn build(self) -> Sql {
        let text = Text::Built { text: self.text, places: self.places };
        Sql { text, values: self.values, is_kept: true }
    }

    /// The statement, one of very many: no connection keeps it prepared.
    pub(super) fn build_once(self) -> Sql {
        Sql { is_kept: false, ..self.build() }
    }
}

/// Values with commas between them.
pub(super) struct List<'s> {
    sql: &'s mut SqlBuilder,
    is_empty: bool,
}

impl List<'_> {
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        if !self.is_empty {
            self.sql.push(", ");
        }
        self.is_empty = false;
        self.sql.push_bind(value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &Sql) -> [String; 2] {
        let marks = sql.text(|text, _| text.push('?'));
        let numbers = sql.text(|text, place| write!(text, "${place}").unwrap());
        [marks.as_str().to_owned(), numbers.as_str().to_owned()]
    }

    #[test]
    fn places_are_written_as_the_engine_writes_them() {
        let mut sql = SqlBuilder::new("SELECT id FROM things WHERE owner_id");
        sql.push_in([Uuid::nil(), Uuid::max()]).push(" AND name = ").push_bind("?");
        let wanted = [
            "SELECT id FROM things WHERE owner_id IN (?, ?) AND name = ?",
            "SELECT id FROM things WHERE owner_id IN ($1, $2) AND name = $3",
        ];
        assert_eq!(texts(&sql.build()), wanted);
        let mut sql = SqlBuilder::new("INSERT INTO t (a, b) ");
        sql.push_values([1, 2], |row, item| {
            row.bind(item).bind("x");
        });
        let wanted =
            ["INSERT INTO t (a, b) VALUES (?, ?), (?, ?)", "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4)"];
        assert_eq!(texts(&sql.build_once()), wanted);
        assert_eq!(texts(&super::sql("SELECT $1, '?'").bind(1)), ["SELECT $1, '?'"; 2]);
    }
}
