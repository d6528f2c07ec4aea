//! A bounded memory of what was used lately.
//!
//! It only ever forgets what can be looked up again; nothing here is the only copy of anything.

use std::collections::HashMap;
use std::hash::Hash;

/// A map that keeps at least the `generation_max` entries used last, and at most twice as many.
///
/// Entries live in two generations: what is used moves to the young one, and when that is full the old one is dropped
/// whole. That costs no list of uses, and one reallocation now and then.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    generation_max: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(generation_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_max }
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation_max && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn forget_if(&mut self, forget: impl Fn(&K) -> bool) {
        self.young.retain(|key, _| !forget(key));
        self.old.retain(|key, _| !forget(key));
    }

    pub(super) fn clear(&mut self) {
        self.young = HashMap::new();
        self.old = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let mut recent = Recent::new(4);
        recent.insert(0, 0);
        for n in 1..100 {
            recent.insert(n, n);
            assert_eq!(recent.get_mut(&0), Some(&mut 0), "used after {n}");
            assert!(recent.young.len() + recent.old.len() <= 8);
        }
        assert_eq!(recent.get_mut(&1), None);
        assert_eq!(recent.get_mut(&99), Some(&mut 99));
    }

    #[test]
    fn an_entry_inserted_again_has_one_value() {
        let mut recent = Recent::new(1);
        recent.insert(1, "a");
        recent.insert(2, "b");
        recent.insert(1, "c");
        assert_eq!(recent.get_mut(&1), Some(&mut "c"));
    }
}
