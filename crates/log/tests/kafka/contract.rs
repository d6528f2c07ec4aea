//! The contract suite on a real broker.

use crate::site::site;

thalweg_log::contract!(on_a_broker, site());
