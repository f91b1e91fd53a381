//! The header of one GGUF file: magic, version, metadata, tensor table.
//!
//! Layout (GGUF specification): `GGUF`, u32 version, u64 tensor count, u64 metadata count, the metadata pairs, the
//! tensor infos, padding to `general.alignment`, tensor data. All numbers are little-endian. Versions 2 and 3 have the
//! same layout; 3 added files in big-endian order, which no model in circulation uses and this reader refuses.

use lathe_ir::DType;

use super::TensorInfo;
use super::cursor::Cursor;
use super::metadata::Metadata;
use super::value::{Array, StringArray, Value};
use crate::Error;
use crate::error::shown;

/// Alignment of tensor data where the metadata names none.
const DEFAULT_ALIGNMENT: u32 = 32;
/// The metadata key that sets another.
const ALIGNMENT_KEY: &str = "general.alignment";
/// Largest alignment accepted: far more than any page, and small enough that padding can never overflow.
const MAX_ALIGNMENT: u32 = 1 << 24;
/// The specification's longest key, in bytes.
const MAX_KEY_BYTES: usize = 65535;
/// Dimensions a tensor may have; llama.cpp has the same bound.
const MAX_DIMS: u32 = 4;
/// Arrays of arrays may nest this deep. No known file nests at all; the bound keeps the recursion off the stack's end.
const MAX_DEPTH: u32 = 8;
/// A pair is at least a key length, one byte of key, a type and one byte of value.
const LEAST_PAIR_BYTES: u64 = 8 + 1 + 4 + 1;
/// A tensor info is at least a name length, a dimension count, one dimension, a type and an offset.
const LEAST_INFO_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// What the header of one file says.
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<TensorInfo>,
}

/// Reads the header of `bytes`; `file` names them in errors and `part` is their place in a split set.
pub(super) fn header(bytes: &[u8], file: &str, part: usize) -> Result<Header, Error> {
    let mut cursor = Cursor::new(bytes, file);
    let version = magic(&mut cursor, bytes)?;
    let tensor_count = cursor.u64(|| "the tensor count".into())?;
    let pair_count = cursor.u64(|| "the metadata count".into())?;
    let metadata = pairs(&mut cursor, pair_count)?;
    let mut tensors = infos(&mut cursor, tensor_count, part)?;
    let alignment = alignment(&metadata)?;
    let start = (cursor.position() as u64).next_multiple_of(alignment);
    place(&mut tensors, file, start, alignment, bytes.len() as u64)?;
    Ok(Header {
        version,
        metadata,
        tensors,
    })
}

/// The magic and the version.
fn magic(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Result<u32, Error> {
    let file = || cursor.file().to_owned();
    match bytes.get(..4) {
        None if bytes.is_empty() => {
            return Err(Error::NotGguf {
                file: file(),
                found: "it is empty".into(),
            });
        }
        Some(b"GGUF") => {}
        None => {
            let found = format!("it has only {} bytes", bytes.len());
            return Err(Error::NotGguf { file: file(), found });
        }
        Some(start) => {
            let found = format!("it starts with \"{}\"", start.escape_ascii());
            return Err(Error::NotGguf { file: file(), found });
        }
    }
    cursor.take(4, || "the magic".into())?;
    let version = cursor.u32(|| "the version".into())?;
    match version {
        2 | 3 => Ok(version),
        _ if version != 0 && version.trailing_zeros() >= 16 => Err(Error::BigEndian {
            file: cursor.file().to_owned(),
            version: version.swap_bytes(),
        }),
        _ => Err(Error::Version {
            file: cursor.file().to_owned(),
            version,
        }),
    }
}

/// The metadata pairs.
fn pairs(cursor: &mut Cursor<'_>, count: u64) -> Result<Metadata, Error> {
    let count = cursor.expect(count, LEAST_PAIR_BYTES, || format!("the metadata ({count} keys)"))?;
    let mut metadata = Metadata::new(cursor.file());
    for i in 0..count {
        let key = cursor.string(|| format!("metadata key {i} of {count}"))?;
        let what = || format!("the metadata key `{}`", shown(key));
        let malformed = |problem: String| Error::Malformed {
            file: cursor.file().to_owned(),
            what: what(),
            problem,
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(malformed(format!(
                "its name has {} bytes (1 to {MAX_KEY_BYTES} are allowed)",
                key.len()
            )));
        }
        if metadata.contains(key) {
            return Err(malformed("it stands in the file twice".into()));
        }
        let kind = cursor.u32(what)?;
        let value = value(cursor, kind, key)?;
        metadata.insert(key, value);
    }
    Ok(metadata)
}

/// The value of type number `kind` that `key` has.
fn value(cursor: &mut Cursor<'_>, kind: u32, key: &str) -> Result<Value, Error> {
    let what = || format!("the value of `{}`", shown(key));
    Ok(match kind {
        0 => Value::U8(u8::from_le_bytes(fixed(cursor, what)?)),
        1 => Value::I8(i8::from_le_bytes(fixed(cursor, what)?)),
        2 => Value::U16(u16::from_le_bytes(fixed(cursor, what)?)),
        3 => Value::I16(i16::from_le_bytes(fixed(cursor, what)?)),
        4 => Value::U32(u32::from_le_bytes(fixed(cursor, what)?)),
        5 => Value::I32(i32::from_le_bytes(fixed(cursor, what)?)),
        6 => Value::F32(f32::from_le_bytes(fixed(cursor, what)?)),
        7 => Value::Bool(flag(cursor.take(1, what)?[0], cursor.file(), key)?),
        8 => Value::String(cursor.string(what)?.to_owned()),
        9 => Value::Array(array(cursor, key, 1)?),
        10 => Value::U64(u64::from_le_bytes(fixed(cursor, what)?)),
        11 => Value::I64(i64::from_le_bytes(fixed(cursor, what)?)),
        12 => Value::F64(f64::from_le_bytes(fixed(cursor, what)?)),
        _ => return Err(unknown_type(cursor, kind, key)),
    })
}

/// The array of `key` at nesting depth `depth`: element type, u64 count, elements.
fn array(cursor: &mut Cursor<'_>, key: &str, depth: u32) -> Result<Array, Error> {
    let what = || format!("the array of `{}`", shown(key));
    let kind = cursor.u32(what)?;
    let count = cursor.u64(what)?;
    Ok(match kind {
        0 => Array::U8(numbers(cursor, count, what, u8::from_le_bytes)?),
        1 => Array::I8(numbers(cursor, count, what, i8::from_le_bytes)?),
        2 => Array::U16(numbers(cursor, count, what, u16::from_le_bytes)?),
        3 => Array::I16(numbers(cursor, count, what, i16::from_le_bytes)?),
        4 => Array::U32(numbers(cursor, count, what, u32::from_le_bytes)?),
        5 => Array::I32(numbers(cursor, count, what, i32::from_le_bytes)?),
        6 => Array::F32(numbers(cursor, count, what, f32::from_le_bytes)?),
        7 => {
            let bytes = cursor.take(count, what)?;
            Array::Bool(
                bytes
                    .iter()
                    .map(|&b| flag(b, cursor.file(), key))
                    .collect::<Result<_, _>>()?,
            )
        }
        8 => Array::String(strings(cursor, count, key)?),
        9 => Array::Array(arrays(cursor, count, key, depth)?),
        10 => Array::U64(numbers(cursor, count, what, u64::from_le_bytes)?),
        11 => Array::I64(numbers(cursor, count, what, i64::from_le_bytes)?),
        12 => Array::F64(numbers(cursor, count, what, f64::from_le_bytes)?),
        _ => return Err(unknown_type(cursor, kind, key)),
    })
}

/// `count` strings of the array of `key`.
fn strings(cursor: &mut Cursor<'_>, count: u64, key: &str) -> Result<StringArray, Error> {
    let count = cursor.expect(count, 8, || {
        format!("the array of `{}` ({count} strings)", shown(key))
    })?;
    let mut strings = StringArray::with_capacity(count);
    for i in 0..count {
        strings.push(cursor.string(|| format!("string {i} of {count} of `{}`", shown(key)))?);
    }
    Ok(strings)
}

/// `count` arrays inside the array of `key`, which is at depth `depth`.
fn arrays(cursor: &mut Cursor<'_>, count: u64, key: &str, depth: u32) -> Result<Vec<Array>, Error> {
    if depth == MAX_DEPTH {
        return Err(Error::Malformed {
            file: cursor.file().to_owned(),
            what: format!("the array of `{}`", shown(key)),
            problem: format!("arrays nest deeper than {MAX_DEPTH}"),
        });
    }
    let count = cursor.expect(count, 12, || {
        format!("the array of `{}` ({count} arrays)", shown(key))
    })?;
    (0..count).map(|_| array(cursor, key, depth + 1)).collect()
}

/// `count` numbers of `N` bytes each.
fn numbers<const N: usize, T>(
    cursor: &mut Cursor<'_>,
    count: u64,
    what: impl FnOnce() -> String,
    decode: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, Error> {
    let bytes = cursor.take(count.saturating_mul(N as u64), what)?;
    let (chunks, _) = bytes.as_chunks::<N>();
    Ok(chunks.iter().map(|&c| decode(c)).collect())
}

/// The next `N` bytes.
fn fixed<const N: usize>(cursor: &mut Cursor<'_>, what: impl FnOnce() -> String) -> Result<[u8; N], Error> {
    let bytes = cursor.take(N as u64, what)?;
    Ok(bytes.try_into().expect("as many bytes were taken"))
}

/// A bool: the specification allows the bytes 0 and 1 alone.
fn flag(byte: u8, file: &str, key: &str) -> Result<bool, Error> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::Malformed {
            file: file.to_owned(),
            what: format!("the metadata key `{}`", shown(key)),
            problem: format!("a bool is the byte 0 or 1, not {byte}"),
        }),
    }
}

fn unknown_type(cursor: &Cursor<'_>, kind: u32, key: &str) -> Error {
    Error::Malformed {
        file: cursor.file().to_owned(),
        what: format!("the metadata key `{}`", shown(key)),
        problem: format!("unknown value type {kind} (0 to 12 are known)"),
    }
}

/// `general.alignment`, checked.
fn alignment(metadata: &Metadata) -> Result<u64, Error> {
    let alignment = metadata.opt_u32(ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
        let problem = format!("{alignment} is not a power of two of at most {MAX_ALIGNMENT}");
        return Err(metadata.reject(ALIGNMENT_KEY, problem));
    }
    Ok(alignment.into())
}

/// The tensor infos; offsets are still relative to the data section.
fn infos(cursor: &mut Cursor<'_>, count: u64, part: usize) -> Result<Vec<TensorInfo>, Error> {
    let count = cursor.expect(count, LEAST_INFO_BYTES, || {
        format!("the tensor table ({count} tensors)")
    })?;
    (0..count).map(|i| info(cursor, i, count, part)).collect()
}

/// Tensor info `index` of `count`: name, dimension count, dimensions, type, offset.
fn info(cursor: &mut Cursor<'_>, index: usize, count: usize, part: usize) -> Result<TensorInfo, Error> {
    let name = cursor.string(|| format!("the name of tensor {index} of {count}"))?;
    let what = || format!("tensor `{}`", shown(name));
    let file = cursor.file();
    let malformed = |problem: String| Error::Malformed {
        file: file.to_owned(),
        what: what(),
        problem,
    };
    if name.is_empty() {
        return Err(malformed(format!("tensor {index} of {count} has an empty name")));
    }
    let rank = cursor.u32(what)?;
    if !(1..=MAX_DIMS).contains(&rank) {
        return Err(malformed(format!(
            "it has {rank} dimensions (1 to {MAX_DIMS} are allowed)"
        )));
    }
    let dims = (0..rank)
        .map(|_| cursor.u64(what))
        .collect::<Result<Vec<u64>, Error>>()?;
    let number = cursor.u32(what)?;
    let offset = cursor.u64(what)?;
    let dtype = DType::from_gguf(number).ok_or_else(|| Error::TensorType {
        file: file.to_owned(),
        tensor: shown(name),
        number,
    })?;
    let bytes = size(&dims, dtype).map_err(malformed)?;
    Ok(TensorInfo {
        name: name.to_owned(),
        dims,
        dtype,
        part,
        offset,
        bytes,
    })
}

/// The bytes of a tensor, or what is wrong with its dimensions.
fn size(dims: &[u64], dtype: DType) -> Result<u64, String> {
    if dims.contains(&0) {
        return Err(format!("its dimensions {dims:?} contain 0"));
    }
    let block = dtype.block().map_or(1, |b| u64::from(b.len));
    if !dims[0].is_multiple_of(block) {
        return Err(format!(
            "its rows have {} elements, no multiple of the {block} of a {dtype} block",
            dims[0]
        ));
    }
    let bytes = dims[1..]
        .iter()
        .try_fold(dtype.row_bytes(dims[0]), |bytes, &d| Some(bytes?.checked_mul(d)));
    // Counts are bounded as well as sizes: a type of less than a byte an element has more elements than bytes.
    let elements = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    match (bytes.flatten(), elements) {
        (Some(bytes), Some(elements)) if i64::try_from(bytes.max(elements)).is_ok() => Ok(bytes),
        _ => Err(format!("its dimensions {dims:?} overflow 63 bits")),
    }
}

/// Makes the offsets of `tensors` absolute and checks that each lies within the file and overlaps no other.
fn place(tensors: &mut [TensorInfo], file: &str, start: u64, alignment: u64, end: u64) -> Result<(), Error> {
    for tensor in tensors.iter_mut() {
        if !tensor.offset.is_multiple_of(alignment) {
            let problem = format!(
                "its offset {} is no multiple of the alignment {alignment}",
                tensor.offset
            );
            return Err(tensor.reject(file, problem));
        }
        let offset = tensor.offset.saturating_add(start);
        let have = end.saturating_sub(offset);
        if tensor.bytes > have {
            let what = format!("the data of tensor `{}`", shown(&tensor.name));
            return Err(Error::Truncated {
                file: file.to_owned(),
                what,
                offset,
                need: tensor.bytes,
                have,
            });
        }
        tensor.offset = offset;
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_unstable_by_key(|t| t.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            let problem = format!("its data overlaps that of `{}`", shown(&pair[0].name));
            return Err(pair[1].reject(file, problem));
        }
    }
    Ok(())
}
