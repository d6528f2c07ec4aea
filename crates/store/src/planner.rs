//! Answers queries (range, filter, page, cursor, total) over any [`Store`](crate::Store).
