//! The metadata of a file: keys in file order, with typed access whose errors name the file and the key.

use std::collections::HashMap;

use super::value::{FromValue, StringArray, Value};
use crate::Error;
use crate::error::shown;

/// The key-value pairs of a file.
#[derive(Clone, Debug)]
pub struct Metadata {
    file: String,
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

/// Declares a required and an optional getter a type.
macro_rules! getters {
    ($($name:ident, $opt:ident: $t:ty, $what:literal;)*) => {
        $(
            #[doc = concat!("The value of `key` as ", $what, ".\n\n# Errors\nThe key is missing or its value is something else.")]
            pub fn $name(&self, key: &str) -> Result<$t, Error> {
                self.require(key)
            }

            #[doc = concat!("The value of `key` as ", $what, "; `None` where there is no such key.\n\n# Errors\nIts value is something else.")]
            pub fn $opt(&self, key: &str) -> Result<Option<$t>, Error> {
                self.optional(key)
            }
        )*
    };
}

impl Metadata {
    /// No pairs yet; `file` names the file in errors.
    pub fn new(file: impl Into<String>) -> Self {
        Metadata {
            file: file.into(),
            entries: Vec::new(),
            index: HashMap::new(),
        }
    }

    /// Appends a pair; hands back `false`, and changes nothing, where the key is there already.
    pub fn insert(&mut self, key: &str, value: Value) -> bool {
        if self.index.contains_key(key) {
            return false;
        }
        self.index.insert(key.to_owned(), self.entries.len());
        self.entries.push((key.to_owned(), value));
        true
    }

    /// The file that the pairs come from, as errors name it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The pairs in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&i| &self.entries[i].1)
    }

    /// Whether there is a key of this name.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// The value of `key` as a `T`.
    ///
    /// # Errors
    /// The key is missing or its value is something else.
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, Error> {
        self.optional(key)?.ok_or_else(|| Error::MissingKey {
            file: self.file.clone(),
            key: shown(key),
            expected: T::EXPECTED,
        })
    }

    /// The value of `key` as a `T`; `None` where there is no such key.
    ///
    /// # Errors
    /// Its value is something else.
    pub fn optional<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        T::from_value(value).map(Some).ok_or_else(|| Error::KeyType {
            file: self.file.clone(),
            key: shown(key),
            expected: T::EXPECTED,
            found: value.to_string(),
        })
    }

    getters! {
        u32, opt_u32: u32, "a `u32`, from an integer of any width that fits";
        u64, opt_u64: u64, "a `u64`, from an integer of any width that fits";
        i32, opt_i32: i32, "an `i32`, from an integer of any width that fits";
        usize, opt_usize: usize, "a `usize`, from an integer of any width that fits";
        f32, opt_f32: f32, "an `f32`, from any number";
        bool, opt_bool: bool, "a `bool`";
        str, opt_str: &str, "a string";
        str_array, opt_str_array: &StringArray, "an array of strings";
        u32_array, opt_u32_array: Vec<u32>, "an array of `u32`, from integers of any width that fit";
        i32_array, opt_i32_array: Vec<i32>, "an array of `i32`, from integers of any width that fit";
        f32_array, opt_f32_array: Vec<f32>, "an array of `f32`";
        bool_array, opt_bool_array: Vec<bool>, "an array of `bool`";
    }

    /// The error for a value of `key` that is well typed but not one that can be used: `problem` says why.
    pub fn reject(&self, key: &str, problem: impl Into<String>) -> Error {
        Error::Malformed {
            file: self.file.clone(),
            what: format!("the metadata key `{}`", shown(key)),
            problem: problem.into(),
        }
    }
}
