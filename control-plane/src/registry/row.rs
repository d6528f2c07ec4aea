//! Rows as structs: each field is read from the column of its name, on either engine.
//!
//! It does what sqlx's derive does. That one is not used, because sqlx's macros need all of sqlx with its engines and its TLS,
//! built once more for the compiler.

/// Defines a struct, and that a row can be read as it.
macro_rules! row {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$field_attribute:meta])* $field_visibility:vis $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$attribute])*
        $visibility struct $name {
            $($(#[$field_attribute])* $field_visibility $field: $type,)+
        }

        row!(@read $name from sqlx::sqlite::SqliteRow: $($field)+);
        row!(@read $name from sqlx::postgres::PgRow: $($field)+);
    };
    (@read $name:ident from $row:ty: $($field:ident)+) => {
        impl sqlx::FromRow<'_, $row> for $name {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                Ok(Self { $($field: sqlx::Row::try_get(row, stringify!($field))?,)+ })
            }
        }
    };
}

pub(super) use row;
