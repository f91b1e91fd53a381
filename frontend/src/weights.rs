//! The weight table: which tensors of a file a graph reads, under which names, and how their bytes are served.
//!
//! A tensor keeps its name less a trailing `.weight`; biases keep `.bias`. The table also serves what a graph needs and
//! no file holds: vectors in F32 whatever their float type is, tensors with a scale of their own (`NAME.scale`)
//! multiplied out, and constants that an architecture computes. Shapes are checked when a tensor is declared, so that a
//! table that is complete serves every weight of its graph.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use lathe_ir::backend::{WeightData, WeightSource};
use lathe_ir::types::{Dim, TensorType};
use lathe_ir::{DType, quant};

use crate::Error;
use crate::error::shown;
use crate::gguf::{GgufFile, TensorInfo};

/// Makes the bytes of a tensor that no file holds: `tensor.bytes` bytes, rows one after another, always the same ones.
pub type Generator = fn(&TensorInfo) -> Vec<u8>;

/// The weights that a graph reads.
pub struct ModelWeights {
    file: GgufFile,
    /// Makes the tensors' bytes where the file has a table of tensors and nothing else.
    generator: Option<Generator>,
    entries: HashMap<String, Entry>,
    /// Tensors of the file that something reads, or that are known to be without effect.
    used: HashSet<String>,
}

/// A weight that the table serves.
struct Entry {
    ty: TensorType,
    data: Data,
}

/// Where the bytes of a weight come from.
enum Data {
    /// The tensor of this name, as it is.
    Stored(String),
    /// The tensor of this name, in F32 and multiplied by a number.
    Scaled(String, f32),
    /// Computed, F32.
    Computed(Vec<f32>),
}

impl ModelWeights {
    /// A table over `file` that declares nothing yet.
    pub fn new(file: GgufFile) -> ModelWeights {
        ModelWeights {
            file,
            generator: None,
            entries: HashMap::new(),
            used: HashSet::new(),
        }
    }

    /// The same over a file that is a table of tensors alone, whose bytes `generator` makes whenever they are asked for.
    pub fn generated(file: GgufFile, generator: Generator) -> ModelWeights {
        ModelWeights {
            generator: Some(generator),
            ..ModelWeights::new(file)
        }
    }

    /// The file.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// Whether the file has a tensor of this name (with its suffix).
    pub fn has(&self, tensor: &str) -> bool {
        self.file.tensor(tensor).is_some()
    }

    /// Declares the matrix `NAME.weight` of `rows` rows of `columns`; the type is that of the file, or F32 where there is
    /// a `scale` to multiply it by.
    ///
    /// # Errors
    /// It is missing, has another shape or a type that nothing can compute with.
    pub fn matrix(
        &mut self,
        name: &str,
        rows: u32,
        columns: u32,
        scale: Option<f32>,
    ) -> Result<TensorType, Error> {
        let tensor = format!("{name}.weight");
        let info = self.shaped(&tensor, &[columns.into(), rows.into()])?;
        let dtype = info.dtype;
        if !quant::is_supported(dtype) {
            return Err(info.reject(self.file.name(), unsupported_type(dtype)));
        }
        let (dtype, data) = match scale {
            Some(_) if !dtype.is_float() => {
                let problem = format!("a {dtype} tensor with a scale of its own is not supported (f16 is)");
                return Err(info.reject(self.file.name(), problem));
            }
            Some(scale) => (DType::F32, Data::Scaled(tensor, scale)),
            None => (dtype, Data::Stored(tensor)),
        };
        Ok(self.declare(
            name,
            TensorType::matrix(u64::from(rows), columns.into(), dtype),
            data,
        ))
    }

    /// Declares the vector `tensor` (with its suffix, which `.weight` loses in the weight's name) of `len` elements,
    /// multiplied by `scale`; its type is F32.
    ///
    /// # Errors
    /// It is missing, has another length or no float type.
    pub fn vector(&mut self, tensor: &str, len: u32, scale: f32) -> Result<TensorType, Error> {
        let info = self.shaped(tensor, &[len.into()])?;
        let data = match info.dtype {
            DType::F32 if scale == 1.0 => Data::Stored(tensor.to_owned()),
            DType::F32 | DType::F16 | DType::Bf16 => Data::Scaled(tensor.to_owned(), scale),
            other => {
                let problem = format!("a vector of type {other} is not supported (f32, f16 and bf16 are)");
                return Err(info.reject(self.file.name(), problem));
            }
        };
        let name = weight_name(tensor).to_owned();
        Ok(self.declare(&name, TensorType::new([u64::from(len)], DType::F32), data))
    }

    /// Declares a vector that no file holds.
    pub fn constant(&mut self, name: &str, values: Vec<f32>) -> TensorType {
        let ty = TensorType::new([values.len() as u64], DType::F32);
        self.declare(name, ty, Data::Computed(values))
    }

    /// The scale that the file has for the tensor `NAME.weight` (`NAME.scale`, one F32), less one of 1.
    ///
    /// # Errors
    /// It is not one finite F32.
    pub fn scale(&mut self, name: &str) -> Result<Option<f32>, Error> {
        let tensor = format!("{name}.scale");
        let Some(info) = self.file.tensor(&tensor) else {
            return Ok(None);
        };
        let bytes = (info.dtype == DType::F32).then(|| self.bytes(info));
        let value = bytes
            .and_then(|b| <[u8; 4]>::try_from(&*b).ok())
            .map(f32::from_le_bytes);
        let Some(value) = value.filter(|v| v.is_finite()) else {
            return Err(info.reject(self.file.name(), "a tensor's scale is one finite f32"));
        };
        self.used.insert(tensor);
        Ok(Some(value).filter(|&v| v != 1.0))
    }

    /// Marks tensors that may be in the file and have no effect on the computation.
    pub fn ignore(&mut self, tensor: &str) {
        self.used.insert(tensor.to_owned());
    }

    /// The values of a declared vector.
    ///
    /// # Panics
    /// Nothing of this name is declared.
    pub fn values(&self, name: &str) -> Vec<f32> {
        let data = self.weight(name).expect("the vector is declared");
        data.bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    }

    /// The type of a declared weight.
    pub fn ty(&self, name: &str) -> Option<&TensorType> {
        self.entries.get(name).map(|e| &e.ty)
    }

    /// Checks that the file has no tensor that nothing declared: a model with more parts than its architecture knows
    /// would otherwise compute something else than it was trained for.
    ///
    /// # Errors
    /// Names the first such tensor.
    pub fn finish(&self, architecture: &str) -> Result<(), Error> {
        match self.file.tensors().iter().find(|t| !self.used.contains(&t.name)) {
            None => Ok(()),
            Some(extra) => {
                let problem = format!(
                    "the architecture `{architecture}` has no use for it (dims {:?})",
                    extra.dims
                );
                Err(extra.reject(self.file.name(), problem))
            }
        }
    }

    /// The tensor of this name, which must have these dims (GGUF order; trailing ones may be left out).
    fn shaped(&self, tensor: &str, dims: &[u64]) -> Result<&TensorInfo, Error> {
        let info = self.file.require_tensor(tensor)?;
        let (head, tail) = info.dims.split_at(dims.len().min(info.dims.len()));
        if head != dims || tail.iter().any(|&d| d != 1) {
            let problem = format!("it has the dims {:?}, but {dims:?} were expected", info.dims);
            return Err(info.reject(self.file.name(), problem));
        }
        Ok(info)
    }

    fn declare(&mut self, name: &str, ty: TensorType, data: Data) -> TensorType {
        if let Data::Stored(tensor) | Data::Scaled(tensor, _) = &data {
            self.used.insert(tensor.clone());
        }
        self.entries
            .insert(name.to_owned(), Entry { ty: ty.clone(), data });
        ty
    }

    /// The bytes of a tensor.
    fn bytes(&self, info: &TensorInfo) -> Cow<'_, [u8]> {
        match self.generator {
            Some(generate) => Cow::Owned(generate(info)),
            None => Cow::Borrowed(self.file.data(info)),
        }
    }

    /// A tensor in F32, multiplied by `scale`.
    fn decoded(&self, info: &TensorInfo, scale: f32) -> Vec<u8> {
        let bytes = self.bytes(info);
        let value = |i: usize| match info.dtype {
            DType::F32 => f32::from_le_bytes(bytes[4 * i..][..4].try_into().expect("four bytes")),
            DType::F16 => half::f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32(),
            DType::Bf16 => half::bf16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32(),
            other => unreachable!("a scaled {other} tensor is refused when it is declared"),
        };
        (0..info.elements() as usize)
            .flat_map(|i| (value(i) * scale).to_le_bytes())
            .collect()
    }
}

impl WeightSource for ModelWeights {
    fn weight(&self, name: &str) -> Option<WeightData<'_>> {
        let Entry { ty, data } = self.entries.get(name)?;
        let stored = |tensor: &str| {
            self.file
                .tensor(tensor)
                .expect("it was there when it was declared")
        };
        let bytes = match data {
            Data::Stored(tensor) => self.bytes(stored(tensor)),
            Data::Scaled(tensor, scale) => Cow::Owned(self.decoded(stored(tensor), *scale)),
            Data::Computed(values) => Cow::Owned(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        let rows = match ty.dims[..] {
            [Dim::Const(rows), _] => rows,
            _ => 1,
        };
        let columns = ty.columns().expect("declared weights have constant dims");
        Some(WeightData {
            dtype: ty.dtype,
            rows,
            columns,
            bytes,
        })
    }

    fn release(&self, name: &str, bytes: Range<u64>) {
        let (tensor, bytes) = match self.entries.get(name).map(|e| &e.data) {
            Some(Data::Stored(tensor)) => (tensor, bytes),
            // What was asked for is decoded from all of the tensor.
            Some(Data::Scaled(tensor, _)) => (tensor, 0..u64::MAX),
            Some(Data::Computed(_)) | None => return,
        };
        if let Some(info) = self.file.tensor(tensor).filter(|_| self.generator.is_none()) {
            self.file.release(info, bytes);
        }
    }
}

/// The name of a tensor in a graph.
pub fn weight_name(tensor: &str) -> &str {
    tensor.strip_suffix(".weight").unwrap_or(tensor)
}

/// What is wrong with a matrix of type `dtype`, and what would work.
fn unsupported_type(dtype: DType) -> String {
    let known: Vec<&str> = DType::GGUF
        .iter()
        .filter(|&&t| quant::is_supported(t))
        .map(|t| t.keyword())
        .collect();
    format!(
        "the element type {dtype} is not supported; these are: {}",
        shown(&known.join(", "))
    )
}
