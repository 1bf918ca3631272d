//! A map of bounded size: what a process that lives long remembers of what it was asked for.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// Keeps the entries that were added or found last, at most `most` and at least half of that. There are two
/// generations: when the younger one is full, it replaces the older one.
#[derive(Debug)]
pub struct Recent<K, V> {
    most: usize,
    younger: HashMap<K, V>,
    older: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            younger: HashMap::new(),
            older: HashMap::new(),
        }
    }

    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if let Some(value) = self.younger.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.older.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub fn insert(&mut self, key: K, value: V) {
        self.older.remove(&key);
        let is_full = self.younger.len() >= self.most / 2;
        if is_full && !self.younger.contains_key(&key) {
            self.older = mem::take(&mut self.younger);
        }
        self.younger.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_bounded_and_what_was_used_last_stays() {
        let mut recent = Recent::new(100);
        recent.insert(u64::MAX, 7);
        for number in 0..10_000 {
            recent.insert(number, number);
            // It is found again and again.
            assert_eq!(recent.get(&u64::MAX), Some(7), "{number}");
            assert!(recent.younger.len() + recent.older.len() <= 100);
            for earlier in number.saturating_sub(20)..=number {
                assert_eq!(recent.get(&earlier), Some(earlier));
            }
        }
        assert_eq!(recent.get(&5), None);
        recent.insert(9_999, 1);
        assert_eq!(recent.get(&9_999), Some(1));
    }
}
