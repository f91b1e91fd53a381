//! Metadata values: the thirteen types of the GGUF specification and the Rust types they convert to.

use std::fmt;

/// A value of the metadata.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the variants are the types they name")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of the metadata, typed by its elements.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the variants are the element types they name")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(StringArray),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Many strings in one buffer: vocabularies have hundreds of thousands, and one allocation each would be most of the
/// time it takes to open a file.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StringArray {
    text: String,
    /// Where each string ends in `text`.
    ends: Vec<usize>,
}

impl StringArray {
    /// An empty array with room for `strings` strings.
    pub fn with_capacity(strings: usize) -> Self {
        StringArray {
            text: String::new(),
            ends: Vec::with_capacity(strings),
        }
    }

    /// Appends a string.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String number `index`; `None` past the end.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.text[start..end])
    }

    /// The strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator {
        (0..self.len()).map(|i| self.get(i).expect("the index is below the length"))
    }
}

impl<S: AsRef<str>> FromIterator<S> for StringArray {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut array = StringArray::default();
        strings.into_iter().for_each(|s| array.push(s.as_ref()));
        array
    }
}

impl Value {
    /// The value as an integer, where it is one.
    fn integer(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(v) => v.into(),
            Value::I8(v) => v.into(),
            Value::U16(v) => v.into(),
            Value::I16(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::I32(v) => v.into(),
            Value::U64(v) => v.into(),
            Value::I64(v) => v.into(),
            _ => return None,
        })
    }
}

impl Array {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(v) => v.len(),
            Array::I8(v) => v.len(),
            Array::U16(v) => v.len(),
            Array::I16(v) => v.len(),
            Array::U32(v) => v.len(),
            Array::I32(v) => v.len(),
            Array::F32(v) => v.len(),
            Array::Bool(v) => v.len(),
            Array::String(v) => v.len(),
            Array::Array(v) => v.len(),
            Array::U64(v) => v.len(),
            Array::I64(v) => v.len(),
            Array::F64(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the element type.
    pub fn element(&self) -> &'static str {
        match self {
            Array::U8(_) => "u8",
            Array::I8(_) => "i8",
            Array::U16(_) => "u16",
            Array::I16(_) => "i16",
            Array::U32(_) => "u32",
            Array::I32(_) => "i32",
            Array::F32(_) => "f32",
            Array::Bool(_) => "bool",
            Array::String(_) => "string",
            Array::Array(_) => "array",
            Array::U64(_) => "u64",
            Array::I64(_) => "i64",
            Array::F64(_) => "f64",
        }
    }

    /// The elements as integers of type `T`; `None` where they are no integers or one does not fit.
    fn integers<T: TryFrom<i128>>(&self) -> Option<Vec<T>> {
        fn all<S: Copy + Into<i128>, T: TryFrom<i128>>(from: &[S]) -> Option<Vec<T>> {
            from.iter().map(|&v| T::try_from(v.into()).ok()).collect()
        }
        match self {
            Array::U8(v) => all(v),
            Array::I8(v) => all(v),
            Array::U16(v) => all(v),
            Array::I16(v) => all(v),
            Array::U32(v) => all(v),
            Array::I32(v) => all(v),
            Array::U64(v) => all(v),
            Array::I64(v) => all(v),
            // Writers that cannot infer the type of an empty array choose any.
            _ if self.is_empty() => Some(Vec::new()),
            _ => None,
        }
    }
}

/// The type and, for a single number or flag, the value: for messages.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U8(v) => write!(f, "u8 {v}"),
            Value::I8(v) => write!(f, "i8 {v}"),
            Value::U16(v) => write!(f, "u16 {v}"),
            Value::I16(v) => write!(f, "i16 {v}"),
            Value::U32(v) => write!(f, "u32 {v}"),
            Value::I32(v) => write!(f, "i32 {v}"),
            Value::F32(v) => write!(f, "f32 {v}"),
            Value::Bool(v) => write!(f, "bool {v}"),
            Value::String(v) => write!(f, "a string of {} bytes", v.len()),
            Value::Array(v) => write!(f, "an array of {} {}", v.len(), v.element()),
            Value::U64(v) => write!(f, "u64 {v}"),
            Value::I64(v) => write!(f, "i64 {v}"),
            Value::F64(v) => write!(f, "f64 {v}"),
        }
    }
}

/// A Rust type that a metadata value can be read as.
pub trait FromValue<'a>: Sized {
    /// The type in messages, as in "should be a u32".
    const EXPECTED: &'static str;
    /// The value as this type; `None` where it has another type or does not fit.
    fn from_value(value: &'a Value) -> Option<Self>;
}

/// Integers of any width and signedness convert where the number fits.
macro_rules! integers {
    ($($t:ty, $one:literal, $many:literal;)*) => {
        $(
            impl FromValue<'_> for $t {
                const EXPECTED: &'static str = $one;
                fn from_value(value: &Value) -> Option<Self> {
                    Self::try_from(value.integer()?).ok()
                }
            }

            impl FromValue<'_> for Vec<$t> {
                const EXPECTED: &'static str = $many;
                fn from_value(value: &Value) -> Option<Self> {
                    match value {
                        Value::Array(array) => array.integers(),
                        _ => None,
                    }
                }
            }
        )*
    };
}

integers! {
    u32, "a u32", "an array of u32";
    u64, "a u64", "an array of u64";
    i32, "an i32", "an array of i32";
    i64, "an i64", "an array of i64";
    usize, "a size", "an array of sizes";
}

/// f64 and integers round to the nearest f32.
impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "an f32";
    fn from_value(value: &Value) -> Option<Self> {
        f64::from_value(value).map(|v| v as f32)
    }
}

impl FromValue<'_> for f64 {
    const EXPECTED: &'static str = "an f64";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::F32(v) => Some(f64::from(*v)),
            Value::F64(v) => Some(*v),
            _ => value.integer().map(|v| v as f64),
        }
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "a bool";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(v) => Some(*v),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string";
    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::String(v) => Some(v),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a StringArray {
    const EXPECTED: &'static str = "an array of strings";
    fn from_value(value: &'a Value) -> Option<Self> {
        static EMPTY: StringArray = StringArray {
            text: String::new(),
            ends: Vec::new(),
        };
        match value {
            Value::Array(Array::String(v)) => Some(v),
            Value::Array(v) if v.is_empty() => Some(&EMPTY),
            _ => None,
        }
    }
}

impl FromValue<'_> for Vec<f32> {
    const EXPECTED: &'static str = "an array of f32";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Array(Array::F32(v)) => Some(v.clone()),
            Value::Array(Array::F64(v)) => Some(v.iter().map(|&v| v as f32).collect()),
            Value::Array(v) if v.is_empty() => Some(Vec::new()),
            _ => None,
        }
    }
}

/// Integers that are all 0 or 1 count as flags: llama.cpp writes per-layer flags so.
impl FromValue<'_> for Vec<bool> {
    const EXPECTED: &'static str = "an array of bool";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Array(Array::Bool(v)) => Some(v.clone()),
            Value::Array(v) => v
                .integers::<u8>()?
                .into_iter()
                .map(|i| (i < 2).then_some(i == 1))
                .collect(),
            _ => None,
        }
    }
}

/// Rust values as metadata values, for whoever writes files.
macro_rules! into_value {
    ($($t:ty => |$v:ident| $value:expr;)*) => {
        $(
            impl From<$t> for Value {
                fn from($v: $t) -> Value {
                    $value
                }
            }
        )*
    };
}

into_value! {
    u32 => |v| Value::U32(v);
    i32 => |v| Value::I32(v);
    u64 => |v| Value::U64(v);
    f32 => |v| Value::F32(v);
    bool => |v| Value::Bool(v);
    &str => |v| Value::String(v.to_owned());
    String => |v| Value::String(v);
    Array => |v| Value::Array(v);
    StringArray => |v| Value::Array(Array::String(v));
    Vec<u32> => |v| Value::Array(Array::U32(v));
    Vec<i32> => |v| Value::Array(Array::I32(v));
    Vec<f32> => |v| Value::Array(Array::F32(v));
    Vec<bool> => |v| Value::Array(Array::Bool(v));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_convert_where_they_fit() {
        assert_eq!(u32::from_value(&Value::I8(7)), Some(7));
        assert_eq!(u32::from_value(&Value::I8(-7)), None);
        assert_eq!(u32::from_value(&Value::U64(1 << 32)), None);
        assert_eq!(u32::from_value(&Value::F32(1.0)), None);
        assert_eq!(i32::from_value(&Value::U64(5)), Some(5));
        assert_eq!(
            Vec::<u32>::from_value(&Value::Array(Array::I32(vec![1, 2]))),
            Some(vec![1, 2])
        );
        assert_eq!(
            Vec::<u32>::from_value(&Value::Array(Array::I32(vec![1, -2]))),
            None
        );
    }

    #[test]
    fn an_empty_array_is_empty_whatever_its_type() {
        let empty = Value::Array(Array::I32(vec![]));
        assert!(<&StringArray>::from_value(&empty).is_some_and(StringArray::is_empty));
        assert_eq!(Vec::<f32>::from_value(&empty), Some(vec![]));
    }

    #[test]
    fn flags_may_be_written_as_integers() {
        assert_eq!(
            Vec::<bool>::from_value(&vec![1u32, 0].into()),
            Some(vec![true, false])
        );
        assert_eq!(Vec::<bool>::from_value(&vec![2u32].into()), None);
    }

    #[test]
    fn string_arrays_keep_their_strings_apart() {
        let array: StringArray = ["", "a", "", "bc"].into_iter().collect();
        assert_eq!(array.iter().collect::<Vec<_>>(), ["", "a", "", "bc"]);
        assert_eq!(array.get(4), None);
    }
}
