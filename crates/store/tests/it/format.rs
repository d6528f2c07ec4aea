//! What a directory has to look like to be opened.

use std::fs;

use thalweg_store::{EmbeddedConfig, EmbeddedStore, StoreError};

use crate::home::EmbeddedHome;

fn open(home: &EmbeddedHome) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(home.path(), EmbeddedConfig::default())
}

#[test]
fn a_new_store_says_its_format_and_opens_again() {
    let home = EmbeddedHome::new();
    drop(open(&home).unwrap());
    assert_eq!(fs::read_to_string(home.path().join("FORMAT")).unwrap(), "1\n");
    drop(open(&home).unwrap());
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let home = EmbeddedHome::new();
    fs::write(home.path().join("FORMAT"), "2\n").unwrap();
    let refused = open(&home).unwrap_err();
    assert!(matches!(refused, StoreError::NewerFormat { found: 2, known: 1 }), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        "stored data has format 2, this build reads up to 1: start a newer build"
    );
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_format_that_is_none_is_damage() {
    for text in ["", "0\n", "one\n"] {
        let home = EmbeddedHome::new();
        fs::write(home.path().join("FORMAT"), text).unwrap();
        assert!(matches!(open(&home), Err(StoreError::Damaged(_))), "{text:?}");
    }
    let home = EmbeddedHome::new();
    drop(open(&home).unwrap());
    fs::remove_file(home.path().join("FORMAT")).unwrap();
    assert!(matches!(open(&home), Err(StoreError::Damaged(_))));
}

#[test]
fn a_store_is_open_once() {
    let home = EmbeddedHome::new();
    let first = open(&home).unwrap();
    assert!(matches!(open(&home), Err(StoreError::Unavailable(_))));
    drop(first);
    drop(open(&home).unwrap());
}
