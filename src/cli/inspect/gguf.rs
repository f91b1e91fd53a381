//! The stage before all others: what the model file says, metadata and tensors.

use lathe_frontend::gguf::{Array, GgufFile, Value};
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// Elements of an array that are shown.
const ELEMENTS: usize = 8;
/// Characters of a string that the text form shows.
const CHARACTERS: usize = 96;

/// The file as text: a line a key, a line a tensor.
pub fn text(file: &GgufFile) -> String {
    let mut out = format!(
        "gguf v{}: {} keys, {} tensors, {} files\n",
        file.version(),
        file.metadata().len(),
        file.tensors().len(),
        file.parts().len()
    );
    for (key, value) in file.metadata().iter() {
        let (ty, length, value) = parts(value);
        let length = length.map_or(String::new(), |n| format!("[{n}]"));
        let _ = writeln!(
            out,
            "  {} : {ty}{length} = {}",
            key.escape_debug(),
            shortened(&value)
        );
    }
    for tensor in file.tensors() {
        let dims: Vec<String> = tensor.dims.iter().rev().map(u64::to_string).collect();
        let _ = writeln!(
            out,
            "  tensor {} : [{}]{}  ; {} bytes at {} of file {}",
            tensor.name.escape_debug(),
            dims.join(", "),
            tensor.dtype,
            tensor.bytes,
            tensor.offset,
            tensor.part
        );
    }
    out
}

/// `{version, metadata: {KEY: {type, length?, value}}, tensors: [{name, dims, type, part, offset, bytes}]}`; dims have the
/// rows first, and arrays end after their first elements.
pub fn json(file: &GgufFile) -> Json {
    let entry = |(key, value): (&str, &Value)| {
        let (ty, length, value) = parts(value);
        let mut entry = json!({"type": ty, "value": value});
        if let Some(length) = length {
            entry["length"] = length.into();
        }
        (key.to_owned(), entry)
    };
    let metadata: serde_json::Map<String, Json> = file.metadata().iter().map(entry).collect();
    let tensors = file.tensors().iter().map(|t| {
        let dims: Vec<u64> = t.dims.iter().rev().copied().collect();
        json!({"name": t.name, "dims": dims, "type": t.dtype.to_string(), "part": t.part, "offset": t.offset,
            "bytes": t.bytes})
    });
    json!({"version": file.version(), "metadata": metadata, "tensors": tensors.collect::<Vec<_>>()})
}

/// The type of a value, the length of an array, and what is shown of it.
fn parts(value: &Value) -> (&'static str, Option<usize>, Json) {
    match value {
        Value::U8(v) => ("u8", None, (*v).into()),
        Value::I8(v) => ("i8", None, (*v).into()),
        Value::U16(v) => ("u16", None, (*v).into()),
        Value::I16(v) => ("i16", None, (*v).into()),
        Value::U32(v) => ("u32", None, (*v).into()),
        Value::I32(v) => ("i32", None, (*v).into()),
        Value::U64(v) => ("u64", None, (*v).into()),
        Value::I64(v) => ("i64", None, (*v).into()),
        Value::F32(v) => ("f32", None, float(f64::from(*v), v)),
        Value::F64(v) => ("f64", None, float(*v, v)),
        Value::Bool(v) => ("bool", None, (*v).into()),
        Value::String(v) => ("string", None, v.as_str().into()),
        Value::Array(array) => (array.element(), Some(array.len()), elements(array)),
    }
}

/// A float as JSON has it; what JSON has no number for is a string.
fn float(value: f64, shown: &impl std::fmt::Display) -> Json {
    match value.is_finite() {
        true => serde_json::from_str(&shown.to_string()).unwrap_or_else(|_| value.into()),
        false => shown.to_string().into(),
    }
}

/// The first elements of an array.
fn elements(array: &Array) -> Json {
    fn first<T>(values: &[T], json: impl Fn(&T) -> Json) -> Json {
        values.iter().take(ELEMENTS).map(json).collect()
    }
    match array {
        Array::U8(v) => first(v, |&v| v.into()),
        Array::I8(v) => first(v, |&v| v.into()),
        Array::U16(v) => first(v, |&v| v.into()),
        Array::I16(v) => first(v, |&v| v.into()),
        Array::U32(v) => first(v, |&v| v.into()),
        Array::I32(v) => first(v, |&v| v.into()),
        Array::U64(v) => first(v, |&v| v.into()),
        Array::I64(v) => first(v, |&v| v.into()),
        Array::F32(v) => first(v, |v| float(f64::from(*v), v)),
        Array::F64(v) => first(v, |v| float(*v, v)),
        Array::Bool(v) => first(v, |&v| v.into()),
        Array::String(v) => v.iter().take(ELEMENTS).map(Json::from).collect(),
        // What is nested deeper is counted, not shown.
        Array::Array(v) => first(v, |v| format!("{}[{}]", v.element(), v.len()).into()),
    }
}

/// A value on one line of bounded length.
fn shortened(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_shortened_between_characters() {
        let text = shortened(&"é".repeat(200).into());
        assert_eq!(text.chars().count(), CHARACTERS + 1);
        assert_eq!(
            elements(&Array::U8((0..100).collect())),
            json!([0, 1, 2, 3, 4, 5, 6, 7])
        );
        assert_eq!(shortened(&"short".into()), "\"short\"");
    }

    #[test]
    fn floats_have_the_digits_of_their_type() {
        assert_eq!(parts(&Value::F32(0.1)).2.to_string(), "0.1");
        assert_eq!(parts(&Value::F32(f32::NAN)).2, json!("NaN"));
    }
}
