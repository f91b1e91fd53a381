//! Bad GGUF files: every rule of the format that a file can break, each with the line that says so, and thousands of
//! damaged copies of a good file, none of which may panic or make the reader allocate much more than the file's size.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use lathe_frontend::Error;
use lathe_frontend::gguf::{Array, GgufFile, Value};
use lathe_frontend::testing::{Family, GgufWriter, Rng, TinyModel};
use lathe_ir::DType;
use proptest::prelude::*;

/// Counts the bytes that the current thread holds and has held at most since the last reset.
struct Counting;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn count(change: i64) {
    // A thread that is ending has no counters any more, and nothing left to measure.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: Every call goes to the system's allocator unchanged; the counters are plain thread-local numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: The caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: The caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` held at once beyond what was held before.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = HELD.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let result = work();
    (result, (PEAK.with(Cell::get) - before).max(0) as u64)
}

/// A small file with every type of value and two tensors.
fn small() -> GgufWriter {
    let mut file = GgufWriter::new();
    file.set("general.architecture", "llama")
        .set("a.u8", Value::U8(1))
        .set("a.i8", Value::I8(-1));
    file.set("a.u16", Value::U16(2))
        .set("a.i16", Value::I16(-2))
        .set("a.u32", 3u32)
        .set("a.i32", -3i32);
    file.set("a.u64", 4u64)
        .set("a.i64", Value::I64(-4))
        .set("a.f32", 0.5f32)
        .set("a.f64", Value::F64(0.25));
    file.set("a.bool", true).set("a.string", "text");
    file.set("a.flags", vec![true, false])
        .set("a.floats", vec![1.0f32, 2.0])
        .set("a.none", Vec::<u32>::new());
    file.set("a.strings", Array::String(["x", "", "yz"].into_iter().collect()));
    file.set(
        "a.nested",
        Array::Array(vec![
            Array::U8(vec![1, 2]),
            Array::Array(vec![Array::I64(vec![-9])]),
        ]),
    );
    file.tensor("t.f32", &[4, 2], DType::F32, vec![0; 32])
        .tensor("t.q4_0", &[32], DType::Q4_0, vec![7; 18]);
    file
}

/// Opens the bytes and, where that works, touches everything in the file.
fn read(bytes: &[u8]) -> Result<usize, Error> {
    let file = GgufFile::from_bytes(bytes, "bad.gguf")?;
    let data: usize = file.tensors().iter().map(|t| file.data(t).len()).sum();
    Ok(data
        + file
            .metadata()
            .iter()
            .map(|(key, value)| key.len() + value.to_string().len())
            .sum::<usize>())
}

/// The message of the error that `bytes` give.
fn message(bytes: &[u8]) -> String {
    let text = read(bytes).expect_err("the file is bad").to_string();
    assert!(text.starts_with("bad.gguf: ") && !text.contains('\n'), "{text}");
    text
}

#[test]
fn a_good_file_reads_back() {
    for version in [2, 3] {
        let file = GgufFile::from_bytes(small().version(version).to_bytes(), "good").unwrap();
        let meta = file.metadata();
        assert_eq!(file.version(), version);
        assert_eq!((meta.u32("a.u8").unwrap(), meta.i32("a.i64").unwrap()), (1, -4));
        assert_eq!(
            (meta.f32("a.f64").unwrap(), meta.bool("a.bool").unwrap()),
            (0.25, true)
        );
        assert_eq!(
            meta.str_array("a.strings").unwrap().iter().collect::<Vec<_>>(),
            ["x", "", "yz"]
        );
        assert!(meta.u32_array("a.none").unwrap().is_empty());
        let nested = Array::Array(vec![
            Array::U8(vec![1, 2]),
            Array::Array(vec![Array::I64(vec![-9])]),
        ]);
        assert_eq!(meta.get("a.nested"), Some(&Value::Array(nested)));
        assert_eq!(file.data(file.tensor("t.q4_0").unwrap()), [7; 18]);
    }
}

#[test]
fn alignment_moves_the_data() {
    for alignment in [1, 8, 256, 4096] {
        let file = GgufFile::from_bytes(small().alignment(alignment).to_bytes(), "aligned").unwrap();
        let tensor = file.require_tensor("t.q4_0").unwrap();
        assert_eq!(tensor.offset % u64::from(alignment), 0);
        assert_eq!(file.data(tensor), [7; 18]);
    }
}

#[test]
fn metadata_errors_name_file_key_and_type() {
    let file = GgufFile::from_bytes(small().to_bytes(), "m.gguf").unwrap();
    let meta = file.metadata();
    let missing = meta.u32("llama.block_count").unwrap_err().to_string();
    assert_eq!(
        missing,
        "m.gguf: the metadata key `llama.block_count` (a u32) is missing"
    );
    let wrong = meta.u32("a.i32").unwrap_err().to_string();
    assert_eq!(
        wrong,
        "m.gguf: the metadata key `a.i32` should be a u32, but is i32 -3"
    );
    let wrong = meta.opt_str("a.floats").unwrap_err().to_string();
    assert_eq!(
        wrong,
        "m.gguf: the metadata key `a.floats` should be a string, but is an array of 2 f32"
    );
    assert_eq!(meta.opt_u32("absent").unwrap(), None);
    let tensor = file.require_tensor("t.x").unwrap_err().to_string();
    assert_eq!(tensor, "m.gguf: the tensor `t.x` is missing");
}

#[test]
fn headers_that_are_not_gguf() {
    assert_eq!(message(b""), "bad.gguf: not a GGUF file: it is empty");
    assert_eq!(message(b"GG"), "bad.gguf: not a GGUF file: it has only 2 bytes");
    assert_eq!(
        message(b"PK\x03\x04rest"),
        "bad.gguf: not a GGUF file: it starts with \"PK\\x03\\x04\""
    );
    assert_eq!(
        message(&small().version(1).to_bytes()),
        "bad.gguf: GGUF version 1 is not supported (2 and 3 are)"
    );
    let big = small().version(3u32.swap_bytes()).to_bytes();
    assert!(
        message(&big).contains("a big-endian GGUF file (version 3)"),
        "{}",
        message(&big)
    );
}

#[test]
fn names_and_keys_must_be_unique() {
    let twice = small().set_twice("a.u8", 2u32).to_bytes();
    assert_eq!(
        message(&twice),
        "bad.gguf: the metadata key `a.u8`: it stands in the file twice"
    );
    let twice = small().tensor("t.f32", &[1], DType::F32, vec![0; 4]).to_bytes();
    assert_eq!(
        message(&twice),
        "bad.gguf: tensor `t.f32`: there is another tensor of this name"
    );
}

#[test]
fn tensors_must_have_sound_dimensions() {
    let with = |dims: &[u64], dtype| message(&small().tensor("t", dims, dtype, vec![]).to_bytes());
    assert_eq!(
        with(&[], DType::F32),
        "bad.gguf: tensor `t`: it has 0 dimensions (1 to 4 are allowed)"
    );
    assert_eq!(
        with(&[1; 5], DType::F32),
        "bad.gguf: tensor `t`: it has 5 dimensions (1 to 4 are allowed)"
    );
    assert_eq!(
        with(&[4, 0], DType::F32),
        "bad.gguf: tensor `t`: its dimensions [4, 0] contain 0"
    );
    let block = "bad.gguf: tensor `t`: its rows have 33 elements, no multiple of the 32 of a q4_0 block";
    assert_eq!(with(&[33], DType::Q4_0), block);
    assert!(with(&[1 << 40, 1 << 40], DType::F32).ends_with("overflow 63 bits"));
    assert!(with(&[u64::MAX], DType::F32).ends_with("overflow 63 bits"));
    assert!(with(&[1 << 20], DType::F32).contains("the data of tensor `t` at byte"));
}

#[test]
fn data_must_not_overlap_and_must_be_aligned() {
    let good = small().to_bytes();
    // The offset of `t.q4_0` is the last number before the padding and the data; it is 32.
    let at = good.windows(8).rposition(|w| w == 32u64.to_le_bytes()).unwrap();
    let with = |offset: u64| {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        message(&bytes)
    };
    assert_eq!(
        with(0),
        "bad.gguf: tensor `t.q4_0`: its data overlaps that of `t.f32`"
    );
    assert_eq!(
        with(33),
        "bad.gguf: tensor `t.q4_0`: its offset 33 is no multiple of the alignment 32"
    );
    assert!(with(1 << 40).contains("needs 18 bytes, but 0 are left"));
    assert!(with(u64::MAX - 31).contains("the data of tensor `t.q4_0` at byte"));
}

#[test]
fn values_must_follow_the_format() {
    for alignment in [0u32, 3, 1 << 31] {
        let text = message(&small().set("general.alignment", alignment).to_bytes());
        assert!(
            text.contains("`general.alignment`") && text.contains("power of two"),
            "{text}"
        );
    }
    assert!(message(&small().set("general.alignment", "32").to_bytes()).contains("should be a u32"));
    assert!(message(&small().set("", 1u32).to_bytes()).contains("its name has 0 bytes"));
    let deep = (0..9).fold(Array::U8(vec![]), |inner, _| Array::Array(vec![inner]));
    assert!(message(&small().set("deep", deep).to_bytes()).contains("arrays nest deeper than 8"));
    assert!(
        message(&replace(&small().to_bytes(), b"text", b"te\xfft")).contains("not valid UTF-8 (byte 2 of 4)")
    );
    // After the key `a.bool` come the type, 7, and the byte.
    let flag = replace(
        &small().to_bytes(),
        b"a.bool\x07\0\0\0\x01",
        b"a.bool\x07\0\0\0\x02",
    );
    assert!(message(&flag).contains("`a.bool`: a bool is the byte 0 or 1, not 2"));
    let kind = replace(
        &small().to_bytes(),
        b"a.bool\x07\0\0\0\x01",
        b"a.bool\x0d\0\0\0\x01",
    );
    assert!(message(&kind).contains("`a.bool`: unknown value type 13"));
    let dtype = replace(
        &small().to_bytes(),
        b"t.q4_0\x01\0\0\0\x20\0\0\0\0\0\0\0\x02",
        b"t.q4_0\x01\0\0\0\x20\0\0\0\0\0\0\0\x63",
    );
    assert_eq!(
        message(&dtype),
        "bad.gguf: tensor `t.q4_0` has the unknown element type 99"
    );
    let hostile = small()
        .set("a\nb", Value::Array(Array::Bool(vec![])))
        .set_twice("a\nb", 1u32)
        .to_bytes();
    assert_eq!(
        message(&hostile),
        "bad.gguf: the metadata key `a\\u{a}b`: it stands in the file twice"
    );
}

/// `bytes` with the only place where `old` stands replaced by `new`, of the same length.
fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let places: Vec<usize> = (0..=bytes.len() - old.len())
        .filter(|&i| bytes[i..].starts_with(old))
        .collect();
    assert_eq!(places.len(), 1, "{}", old.escape_ascii());
    let mut bytes = bytes.to_vec();
    bytes[places[0]..places[0] + new.len()].copy_from_slice(new);
    bytes
}

/// How many times a file's size reading it may take at most, its own copy included: the densest things in a file are
/// empty strings (8 bytes, as an end 8), array headers (12 bytes, as a vector 32, growing twofold) and tensor infos.
const AMPLIFICATION: u64 = 24;

/// Reads damaged bytes: whatever comes, no panic, and little memory.
fn survives(bytes: &[u8]) {
    let (result, peak) = peak_of(|| read(bytes));
    let bound = AMPLIFICATION * bytes.len() as u64 + 4096;
    assert!(peak <= bound, "{} bytes made the reader hold {peak}", bytes.len());
    if let Err(error) = result {
        let text = error.to_string();
        assert!(
            text.starts_with("bad.gguf: ") && !text.contains('\n') && text.len() < 600,
            "{text}"
        );
    }
}

#[test]
fn huge_counts_cost_nothing() {
    let good = small().to_bytes();
    for at in 8..good.len() - 8 {
        for count in [u64::MAX, i64::MAX as u64, 1 << 32, 1 << 24, good.len() as u64] {
            let mut bytes = good.clone();
            bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            survives(&bytes);
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    let mut file = small();
    let good = file.to_bytes();
    let data = GgufFile::from_bytes(good.clone(), "good")
        .unwrap()
        .tensor("t.q4_0")
        .unwrap()
        .clone();
    for length in 0..(data.offset + data.bytes) as usize {
        let (result, peak) = peak_of(|| read(&good[..length]));
        assert!(result.is_err(), "{length} of {} bytes", good.len());
        assert!(peak <= AMPLIFICATION * length as u64 + 4096);
    }
    // Without tensors nothing has to follow the header, not even its padding.
    file.remove_tensor("t.f32").remove_tensor("t.q4_0");
    assert!(read(&file.to_bytes()).is_ok());
}

#[test]
fn dense_files_stay_small_in_memory() {
    let empty_strings = Array::String((0..100_000).map(|_| "").collect());
    survives(&GgufWriter::new().set("s", empty_strings).to_bytes());
    let empty_arrays = Array::Array((0..100_000).map(|_| Array::U8(vec![])).collect());
    survives(&GgufWriter::new().set("a", empty_arrays).to_bytes());
    let mut keys = GgufWriter::new();
    for i in 0..20_000 {
        keys.set_twice(&format!("{i}"), Value::U8(0));
    }
    survives(&keys.to_bytes());
    let mut tensors = GgufWriter::new();
    for i in 0..20_000 {
        tensors.tensor(&format!("{i}"), &[1], DType::I8, vec![0]);
    }
    survives(&tensors.alignment(1).to_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Flipped bytes, many or few, in a file with every type of value.
    #[test]
    fn damaged_files_are_survived(seed: u64, flips in 1usize..12, cut in 0.0f64..1.0) {
        let mut bytes = small().to_bytes();
        let mut rng = Rng::new(seed);
        if seed % 4 == 0 {
            bytes.truncate((bytes.len() as f64 * cut) as usize);
        }
        for _ in 0..flips.min(bytes.len()) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        survives(&bytes);
    }

    /// One flipped bit in the header of a whole model.
    #[test]
    fn damaged_models_are_survived(seed: u64) {
        static MODEL: std::sync::OnceLock<(Vec<u8>, u64)> = std::sync::OnceLock::new();
        let (model, header) = MODEL.get_or_init(|| {
            let recipe = TinyModel { layers: 1, width: 32, heads: 2, kv_heads: 1, ff: 32, ..TinyModel::new(Family::Qwen2) };
            let bytes = recipe.writer().to_bytes();
            let file = GgufFile::from_bytes(bytes.clone(), "model").unwrap();
            let header = file.tensors().iter().map(|t| t.offset).min().unwrap();
            (bytes, header)
        });
        let mut bytes = model.clone();
        let mut rng = Rng::new(seed);
        bytes[rng.below(*header) as usize] ^= 1 << rng.below(8);
        survives(&bytes);
    }
}
