//! Writes GGUF files, also such as break the format's rules: the reader's tests need those.

use std::io;
use std::path::{Path, PathBuf};

use lathe_ir::DType;

use crate::gguf::{Array, Value};

/// One tensor to write.
#[derive(Clone, Debug)]
struct Tensor {
    name: String,
    dims: Vec<u64>,
    dtype: DType,
    data: Vec<u8>,
}

/// A GGUF file under construction.
#[derive(Clone, Debug)]
pub struct GgufWriter {
    version: u32,
    alignment: u32,
    metadata: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

impl Default for GgufWriter {
    fn default() -> Self {
        GgufWriter {
            version: 3,
            alignment: 32,
            metadata: Vec::new(),
            tensors: Vec::new(),
        }
    }
}

impl GgufWriter {
    /// An empty file of version 3 with the default alignment of 32.
    pub fn new() -> Self {
        GgufWriter::default()
    }

    /// Sets the version in the header; the layout stays that of versions 2 and 3.
    pub fn version(&mut self, version: u32) -> &mut Self {
        self.version = version;
        self
    }

    /// Sets the alignment of tensor data, in bytes, not 0, and the key that says so.
    pub fn alignment(&mut self, alignment: u32) -> &mut Self {
        assert_ne!(alignment, 0, "nothing can be aligned to 0");
        self.alignment = alignment;
        self.set("general.alignment", alignment)
    }

    /// Sets a key, in place where it is there already.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        match self.metadata.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
        self
    }

    /// Appends a key even where it is there already, which makes the file invalid.
    pub fn set_twice(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.metadata.push((key.to_owned(), value.into()));
        self
    }

    /// Removes a key, where it is there.
    pub fn unset(&mut self, key: &str) -> &mut Self {
        self.metadata.retain(|(k, _)| k != key);
        self
    }

    /// Appends a tensor: `dims[0]` is the length of a row, `data` its bytes. Nothing is checked.
    pub fn tensor(&mut self, name: &str, dims: &[u64], dtype: DType, data: Vec<u8>) -> &mut Self {
        self.tensors.push(Tensor {
            name: name.to_owned(),
            dims: dims.to_owned(),
            dtype,
            data,
        });
        self
    }

    /// Removes all tensors of this name.
    pub fn remove_tensor(&mut self, name: &str) -> &mut Self {
        self.tensors.retain(|t| t.name != name);
        self
    }

    /// The names of the tensors, in file order.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|t| t.name.as_str())
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self.version, self.alignment, &self.metadata, &self.tensors)
    }

    /// Writes the file to `path`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, self.to_bytes())
    }

    /// Writes the model as `count` files into `folder`, as llama.cpp's `gguf-split` names and marks them, the tensors
    /// spread evenly; hands back the path of the first.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_split(&self, folder: impl AsRef<Path>, stem: &str, count: u16) -> io::Result<PathBuf> {
        let path = |no: u16| {
            folder
                .as_ref()
                .join(format!("{stem}-{:05}-of-{count:05}.gguf", no + 1))
        };
        let each = self.tensors.len().div_ceil(usize::from(count).max(1)).max(1);
        let mut chunks = self.tensors.chunks(each);
        for no in 0..count {
            let mut metadata = if no == 0 {
                self.metadata.clone()
            } else {
                Vec::new()
            };
            metadata.push(("split.no".into(), Value::U16(no)));
            metadata.push(("split.count".into(), Value::U16(count)));
            metadata.push((
                "split.tensors.count".into(),
                Value::I32(self.tensors.len() as i32),
            ));
            // The first file alone says how it is aligned; the others have the default.
            let alignment = if no == 0 { self.alignment } else { 32 };
            std::fs::write(
                path(no),
                encode(
                    self.version,
                    alignment,
                    &metadata,
                    chunks.next().unwrap_or_default(),
                ),
            )?;
        }
        Ok(path(0))
    }
}

/// The bytes of one file.
fn encode(version: u32, alignment: u32, metadata: &[(String, Value)], tensors: &[Tensor]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(version.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        string(&mut out, key);
        out.extend(value_number(value).to_le_bytes());
        put_value(&mut out, value);
    }
    let alignment = alignment as usize;
    let mut offset = 0;
    for tensor in tensors {
        string(&mut out, &tensor.name);
        out.extend((tensor.dims.len() as u32).to_le_bytes());
        tensor.dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
        out.extend(
            tensor
                .dtype
                .gguf_number()
                .expect("an element type that files may have")
                .to_le_bytes(),
        );
        out.extend((offset as u64).to_le_bytes());
        offset = (offset + tensor.data.len()).next_multiple_of(alignment);
    }
    for tensor in tensors {
        out.resize(out.len().next_multiple_of(alignment), 0);
        out.extend(&tensor.data);
    }
    out.resize(out.len().next_multiple_of(alignment), 0);
    out
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The number of a value's type.
fn value_number(value: &Value) -> u32 {
    match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) => 8,
        Value::Array(_) => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => string(out, v),
        Value::Array(v) => put_array(out, v),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
    }
}

/// The number of the type of an array's elements.
fn element_number(array: &Array) -> u32 {
    match array {
        Array::U8(_) => 0,
        Array::I8(_) => 1,
        Array::U16(_) => 2,
        Array::I16(_) => 3,
        Array::U32(_) => 4,
        Array::I32(_) => 5,
        Array::F32(_) => 6,
        Array::Bool(_) => 7,
        Array::String(_) => 8,
        Array::Array(_) => 9,
        Array::U64(_) => 10,
        Array::I64(_) => 11,
        Array::F64(_) => 12,
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(element_number(array).to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(v) => out.extend(v),
        Array::I8(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U16(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I16(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::Bool(v) => out.extend(v.iter().map(|&x| u8::from(x))),
        Array::String(v) => v.iter().for_each(|x| string(out, x)),
        Array::Array(v) => v.iter().for_each(|x| put_array(out, x)),
        Array::U64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
    }
}
