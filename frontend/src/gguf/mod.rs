//! GGUF files: metadata, the tensor table and the bytes of the tensors.
//!
//! [`GgufFile`] is one model: a file, or all the files of a split set. Everything in a file is untrusted: counts,
//! lengths and offsets are checked against the file before they are used, and opening a file allocates no more than a
//! small multiple of its header. What the keys and tensors mean is not here but in the architectures.
//!
//! Source: the GGUF specification in the ggml repository (`docs/gguf.md`), versions 2 and 3.

mod cursor;
mod map;
mod metadata;
mod parse;
mod split;
mod value;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lathe_ir::DType;

use crate::Error;
use crate::error::shown;
use map::Bytes;
pub use metadata::Metadata;
pub use split::files_of;
pub use value::{Array, FromValue, StringArray, Value};

/// One tensor of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorInfo {
    /// Its name, unique in the model.
    pub name: String,
    /// Its dimensions in GGUF's order, one to four, none 0: `dims[0]` is the length of a row in elements.
    pub dims: Vec<u64>,
    /// The type of its elements.
    pub dtype: DType,
    /// The file of a split set that holds it, from 0.
    pub part: usize,
    /// Where its data starts in that file, in bytes from the start of the file.
    pub offset: u64,
    /// How many bytes its data has.
    pub bytes: u64,
}

impl TensorInfo {
    /// The number of elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// The number of rows: the product of all dimensions but the first.
    pub fn rows(&self) -> u64 {
        self.dims[1..].iter().product()
    }

    /// The error for this tensor of `file`: `problem` says what is wrong with it.
    pub fn reject(&self, file: &str, problem: impl Into<String>) -> Error {
        Error::Malformed {
            file: file.to_owned(),
            what: format!("tensor `{}`", shown(&self.name)),
            problem: problem.into(),
        }
    }
}

/// One file of a model.
struct Part {
    path: PathBuf,
    bytes: Bytes,
}

/// A GGUF model, mapped: one file, or all the files of a split set.
pub struct GgufFile {
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    parts: Vec<Part>,
}

impl GgufFile {
    /// Opens the model at `path`: a single file, or the first file of a split set
    /// (`NAME-00001-of-0000N.gguf`, whose other files stand beside it).
    ///
    /// The files stay mapped as long as the value lives; they must not be changed in that time.
    ///
    /// # Errors
    /// A file cannot be read or breaks a rule of the format.
    pub fn open(path: impl AsRef<Path>) -> Result<GgufFile, Error> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes = map(path, &name)?;
        let header = parse::header(&bytes, &name, 0)?;
        let mut file = GgufFile::from_header(
            header,
            Part {
                path: path.to_owned(),
                bytes,
            },
        )?;
        split::join(&mut file)?;
        // Headers of large vocabularies are megabytes, and what they say is in memory by now.
        for part in &file.parts {
            part.bytes.release(0..part.bytes.len());
        }
        Ok(file)
    }

    /// Reads a model that is in memory already; `name` stands for the file in errors. It cannot be one of a split set.
    ///
    /// # Errors
    /// The bytes break a rule of the format.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>, name: &str) -> Result<GgufFile, Error> {
        let bytes = Bytes::Owned(bytes.into());
        let header = parse::header(&bytes, name, 0)?;
        let file = GgufFile::from_header(
            header,
            Part {
                path: PathBuf::from(name),
                bytes,
            },
        )?;
        split::refuse(&file)?;
        Ok(file)
    }

    /// A model that is described and not there: metadata, and tensors by name, dims in GGUF's order and type, without
    /// data. [`GgufFile::data`] must not be called on it.
    ///
    /// # Errors
    /// Two tensors have the same name, or one's rows are no whole blocks of its type or too long to count.
    pub fn described(
        metadata: Metadata,
        tensors: impl IntoIterator<Item = (String, Vec<u64>, DType)>,
    ) -> Result<GgufFile, Error> {
        let name = metadata.file().to_owned();
        let tensors = tensors.into_iter().map(|(tensor, dims, dtype)| {
            let mut info = TensorInfo {
                name: tensor,
                dims,
                dtype,
                part: 0,
                offset: 0,
                bytes: 0,
            };
            let rows = info.dims.iter().skip(1).try_fold(1u64, |n, &d| n.checked_mul(d));
            let row = info.dims.first().and_then(|&n| dtype.row_bytes(n));
            let bytes = rows.zip(row).and_then(|(rows, row)| rows.checked_mul(row));
            info.bytes = bytes.ok_or_else(|| {
                let problem = format!("rows of {:?} elements do not fit the type {dtype}", info.dims);
                info.reject(&name, problem)
            })?;
            Ok(info)
        });
        let header = parse::Header {
            version: 3,
            metadata,
            tensors: tensors.collect::<Result<_, Error>>()?,
        };
        let part = Part {
            path: PathBuf::from(&name),
            bytes: Bytes::Owned(Vec::new()),
        };
        GgufFile::from_header(header, part)
    }

    fn from_header(header: parse::Header, part: Part) -> Result<GgufFile, Error> {
        let parse::Header {
            version,
            metadata,
            tensors,
        } = header;
        let mut file = GgufFile {
            version,
            metadata,
            tensors: Vec::new(),
            index: HashMap::new(),
            parts: vec![part],
        };
        file.add(tensors)?;
        Ok(file)
    }

    /// Appends the tensors of one file, whose names must be new.
    fn add(&mut self, tensors: Vec<TensorInfo>) -> Result<(), Error> {
        self.tensors.reserve(tensors.len());
        for tensor in tensors {
            if self
                .index
                .insert(tensor.name.clone(), self.tensors.len())
                .is_some()
            {
                let file = self.parts[tensor.part].path.display().to_string();
                return Err(tensor.reject(&file, "there is another tensor of this name"));
            }
            self.tensors.push(tensor);
        }
        Ok(())
    }

    /// The path that the model was opened by; for one in memory, its name.
    pub fn path(&self) -> &Path {
        &self.parts[0].path
    }

    /// The files of the model: one, or all of a split set in order.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.parts.iter().map(|p| p.path.as_path())
    }

    /// The model as errors name it: the path that it was opened by.
    pub fn name(&self) -> &str {
        self.metadata.file()
    }

    /// The GGUF version: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata; of a split set, that of the first file.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&i| &self.tensors[i])
    }

    /// The tensor of this name, which must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn require_tensor(&self, name: &str) -> Result<&TensorInfo, Error> {
        self.tensor(name).ok_or_else(|| Error::MissingTensor {
            file: self.name().to_owned(),
            tensor: shown(name),
        })
    }

    /// The raw data of a tensor of this file: `tensor.bytes` bytes, rows one after another.
    ///
    /// # Panics
    /// `tensor` comes from another file that has more parts or larger ones.
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        let start = tensor.offset as usize;
        &self.parts[tensor.part].bytes[start..start + tensor.bytes as usize]
    }

    /// Lets the system drop the memory that holds `bytes` of a tensor of this file, as far as they are mapped; reading
    /// them again reads the file again.
    pub fn release(&self, tensor: &TensorInfo, bytes: Range<u64>) {
        let (start, end) = (bytes.start.min(tensor.bytes), bytes.end.min(tensor.bytes));
        if let Some(part) = self.parts.get(tensor.part).filter(|_| start < end) {
            let at = |offset: u64| (tensor.offset + offset) as usize;
            part.bytes.release(at(start)..at(end));
        }
    }
}

impl fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GgufFile")
            .field("path", &self.path())
            .field("version", &self.version)
            .field("metadata", &self.metadata.len())
            .field("tensors", &self.tensors.len())
            .field("parts", &self.parts.len())
            .finish()
    }
}

/// Maps the file at `path`, which errors call `name`.
fn map(path: &Path, name: &str) -> Result<Bytes, Error> {
    Bytes::map(path).map_err(|source| Error::Io {
        file: name.to_owned(),
        action: "open",
        source,
    })
}
