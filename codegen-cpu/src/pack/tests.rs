//! Packs tensors whose values say where they were, and looks where they are.

use super::*;
use lathe_ir::DType;
use lathe_ir::backend::WeightData;
use lathe_ir::graph::RowOrder;
use lathe_ir::layout::{PackedLayout, unpack_row};
use lathe_ir::plan::{SectionDecl, SectionForm};
use lathe_ir::quant::quantize;
use lathe_ir::types::TensorType;
use std::borrow::Cow;
use std::ops::Range;

/// A matrix and a vector; `value` of each element by row and column.
struct Source {
    dtype: DType,
    rows: u64,
    columns: u64,
}

fn value(row: u64, column: u64) -> f32 {
    (row as f32 - 20.0) * 0.5 + (column % 7) as f32
}

impl WeightSource for Source {
    fn weight(&self, name: &str) -> Option<WeightData<'_>> {
        let (rows, columns, dtype) = match name {
            "matrix" => (self.rows, self.columns, self.dtype),
            "bias" => (1, self.rows, DType::F16),
            _ => return None,
        };
        let values: Vec<f32> = match name {
            "bias" => (0..columns).map(|i| i as f32).collect(),
            _ => (0..rows * columns)
                .map(|i| value(i / columns, i % columns))
                .collect(),
        };
        let bytes = Cow::Owned(quantize(dtype, &values).unwrap());
        Some(WeightData {
            dtype,
            rows,
            columns,
            bytes,
        })
    }
}

fn plan(source: &Source, order: RowOrder, heads: u32, dims: u32) -> Plan {
    let mut plan = Plan::default();
    let matrix = TensorType::matrix(source.rows, source.columns, source.dtype);
    let bias = TensorType::new([source.rows], DType::F16);
    for (weight, ty, form) in [
        ("matrix", matrix, SectionForm::Panels),
        ("bias", bias, SectionForm::Vector),
    ] {
        let weight = weight.to_owned();
        plan.sections.push(SectionDecl {
            weight,
            ty,
            form,
            order,
            heads,
            dims,
        });
    }
    plan
}

fn pack(source: &Source, plan: &Plan, threads: usize) -> Result<PackedWeights, Error> {
    PackedWeights::pack(plan, source, &mut ThreadPool::new(threads).unwrap(), None)
}

/// The row of the file that each packed row holds, and the same of the vector.
fn packed_rows(source: &Source, plan: &Plan) -> Vec<u64> {
    let packed = pack(source, plan, 3).unwrap();
    let sections: Vec<Section> = plan.sections.ids().collect();
    let layout = PackedLayout::of(source.dtype, source.rows, source.columns).unwrap();
    let panels = &packed.section(sections[0])[..layout.bytes() as usize];
    let bias = &packed.section(sections[1])[..4 * source.rows as usize];
    let bias = bias
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()) as u64);
    let mut row = vec![0.0; source.columns as usize];
    let rows = (0..source.rows).map(|packed_row| {
        unpack_row(&layout, panels, packed_row, &mut row).unwrap();
        let found = (0..source.rows).find(|&r| (row[0] - value(r, 0)).abs() < 0.2);
        found.expect("the row is one of the file's")
    });
    let rows: Vec<u64> = rows.collect();
    assert_eq!(rows, bias.collect::<Vec<_>>());
    rows
}

#[test]
fn rows_go_where_their_order_says() {
    for dtype in [DType::F32, DType::Bf16, DType::Q8_0] {
        let source = Source {
            dtype,
            rows: 40,
            columns: 64,
        };
        let natural = packed_rows(&source, &plan(&source, RowOrder::Natural, 0, 0));
        assert_eq!(natural, (0..40).collect::<Vec<_>>());
        let halves = packed_rows(&source, &plan(&source, RowOrder::RopeHalf, 4, 6));
        assert_eq!(
            halves[..20],
            [
                0, 2, 4, 1, 3, 5, 6, 7, 8, 9, 10, 12, 14, 11, 13, 15, 16, 17, 18, 19
            ]
        );
    }
}

/// All packed bytes.
fn all(packed: &PackedWeights) -> &[u8] {
    &packed.section(Section::new(0))[..packed.bytes() as usize]
}

#[test]
fn chunks_cut_panels_and_vectors_anywhere() {
    use lathe_ir::layout::pack_rows;
    // Panels of 1042 KiB and vectors of 400 bytes: chunks begin inside of panels, and hold parts of several sections.
    let source = Source {
        dtype: DType::F32,
        rows: 100,
        columns: 16672,
    };
    let mut plan = plan(&source, RowOrder::Natural, 0, 0);
    for _ in 0..4 {
        for section in [0, 1] {
            let section = plan.sections[Section::new(section)].clone();
            plan.sections.push(section);
        }
    }
    let packed = pack(&source, &plan, 2).unwrap();
    assert!(packed.bytes() > 3 * CHUNK && !packed.bytes().is_multiple_of(CHUNK));
    let layout = PackedLayout::of(source.dtype, source.rows, source.columns).unwrap();
    let data = source.weight("matrix").unwrap();
    let mut panels = vec![0; layout.bytes() as usize];
    pack_rows(
        &layout,
        source.dtype,
        &data.bytes,
        |row| row,
        0..layout.panels(),
        &mut panels,
    )
    .unwrap();
    let bias: Vec<u8> = (0..source.rows).flat_map(|i| (i as f32).to_le_bytes()).collect();
    for (number, section) in plan.sections.ids().enumerate() {
        let want = if number % 2 == 0 { &panels } else { &bias };
        assert!(
            packed.section(section)[..want.len()] == want[..],
            "section {number}"
        );
    }
}

#[test]
fn a_file_of_chunks_is_mapped_as_it_was_packed() {
    use std::os::unix::fs::FileExt;
    let source = Source {
        dtype: DType::Q8_0,
        rows: 1000,
        columns: 4096,
    };
    let plan = plan(&source, RowOrder::RopeHalf, 10, 100);
    let file = tempfile::tempfile().unwrap();
    let mut pool = ThreadPool::new(2).unwrap();
    pack_chunks(&plan, &source, &mut pool, None, &|number, bytes| {
        file.write_all_at(bytes, number as u64 * CHUNK)
    })
    .unwrap();
    let packed = pack(&source, &plan, 1).unwrap();
    // SAFETY: nobody else has the file.
    let map = || unsafe { Mmap::map(&file) }.unwrap();
    assert!(all(&PackedWeights::map(&plan, map()).unwrap()) == all(&packed));
    file.set_len(packed.bytes() - 1).unwrap();
    let error = PackedWeights::map(&plan, map()).err().unwrap().to_string();
    let want = format!(
        "its weights have {} bytes instead of {}",
        packed.bytes() - 1,
        packed.bytes()
    );
    assert!(error.ends_with(&want), "{error}");
    let full = |_: usize, _: &[u8]| Err(std::io::ErrorKind::StorageFull.into());
    let error = pack_chunks(&plan, &source, &mut pool, None, &full).unwrap_err();
    assert!(matches!(error, Error::Sink(_)), "{error}");
}

#[test]
fn many_pieces_pack_as_one_thread_does() {
    let source = Source {
        dtype: DType::F32,
        rows: 1000,
        columns: 4096,
    };
    let plan = plan(&source, RowOrder::Natural, 0, 0);
    let (one, three) = (pack(&source, &plan, 1).unwrap(), pack(&source, &plan, 3).unwrap());
    assert_eq!(one.bytes(), three.bytes());
    assert!(all(&one) == all(&three));
    // The last rows of the last panel are padding.
    assert!(
        one.section(plan.sections.ids().next().unwrap())[62 * 16 * 4096 * 4..][8 * 4..16 * 4]
            .iter()
            .all(|&b| b == 0)
    );
}

#[test]
fn an_order_that_does_not_fit_is_refused() {
    let source = Source {
        dtype: DType::F32,
        rows: 40,
        columns: 8,
    };
    for (heads, dims) in [(0, 2), (3, 2), (4, 12), (4, 5)] {
        let error = pack(&source, &plan(&source, RowOrder::RopeHalf, heads, dims), 2)
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .starts_with("tensor `matrix` cannot be packed: 40 rows"),
            "{error}"
        );
    }
}

/// Lends its bytes, as a mapped file does, and remembers what is released.
struct Lender {
    bytes: Vec<u8>,
    released: std::sync::Mutex<Vec<Range<u64>>>,
}

impl WeightSource for Lender {
    fn weight(&self, _name: &str) -> Option<WeightData<'_>> {
        Some(WeightData {
            dtype: DType::F16,
            rows: 1000,
            columns: 4096,
            bytes: Cow::Borrowed(&self.bytes),
        })
    }

    fn release(&self, name: &str, bytes: Range<u64>) {
        assert_eq!(name, "matrix");
        self.released.lock().unwrap().push(bytes);
    }
}

#[test]
fn every_byte_is_released_once_it_is_packed() {
    let source = Source {
        dtype: DType::F16,
        rows: 1000,
        columns: 4096,
    };
    for (order, heads, dims) in [(RowOrder::Natural, 0, 0), (RowOrder::RopeHalf, 10, 100)] {
        let mut plan = plan(&source, order, heads, dims);
        let sections: Vec<SectionDecl> = plan.sections.values().take(1).cloned().collect();
        plan.sections = Default::default();
        plan.sections.push(sections[0].clone());
        let lender = Lender {
            bytes: vec![0; 1000 * 4096 * 2],
            released: Default::default(),
        };
        PackedWeights::pack(&plan, &lender, &mut ThreadPool::new(3).unwrap(), None).unwrap();
        let mut released = lender.released.into_inner().unwrap();
        released.sort_by_key(|r| r.start);
        assert_eq!(released.len() == 1, order == RowOrder::RopeHalf);
        let end = released.iter().fold(0, |end, r| {
            // A panel on the border of two chunks is read for either.
            assert!(r.start <= end);
            r.end.max(end)
        });
        assert_eq!(end, 1000 * 4096 * 2);
    }
}

#[test]
fn owners_pack_the_same_bytes() {
    use lathe_ir::plan::{Arg, Call, Count, KernelId, Step};
    let source = Source {
        dtype: DType::Q8_0,
        rows: 1000,
        columns: 4096,
    };
    let mut plan = plan(&source, RowOrder::Natural, 0, 0);
    let matrix = plan.sections.ids().next().unwrap();
    let calls = vec![Call {
        kernel: KernelId::new(0),
        args: vec![Arg::Section(matrix)],
        scalars: Vec::new(),
        units: Count::constant(21),
        cost: 1,
    }];
    plan.steps.push(Step {
        label: String::new(),
        calls,
    });
    let any = pack(&source, &plan, 3).unwrap();
    let owners = Owners::new(&plan, 3);
    let own = PackedWeights::pack(&plan, &source, &mut ThreadPool::new(3).unwrap(), Some(&owners)).unwrap();
    assert!(all(&any) == all(&own));
}
