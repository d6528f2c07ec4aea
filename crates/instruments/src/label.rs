//! Labels whose values are known when the program is built.

/// A closed set of values of one label.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value.
    const ALL: &'static [Self];

    /// The value as a scrape shows it.
    fn as_str(self) -> &'static str;

    /// The value's place in [`Self::ALL`].
    fn index(self) -> usize;
}

/// Declares an enum that is a [`Label`]: `label! { pub enum Step: "step" { Read = "read", Commit = "commit" } }`.
#[macro_export]
macro_rules! label {
    ($(#[$doc:meta])* $vis:vis enum $label:ident : $name:literal {
        $($(#[$value_doc:meta])* $value:ident = $text:literal),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $label {
            $($(#[$value_doc])* $value),+
        }

        impl $crate::Label for $label {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text),+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
