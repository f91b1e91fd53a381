//! The cost model's choices are possible, best by its own figures, and plausible.

use super::cost::*;
use super::dot::Codes;
use super::linear::{PanelGeometry, PanelKind, Sizes, Tile};
use super::tuning::Shape;
use lathe_ir::kernel::Mem;

fn codes(planes: &[u8]) -> PanelKind {
    PanelKind::Codes(Codes {
        planes: planes.to_vec(),
        codebook: None,
        bits: planes.iter().sum(),
        offset_log2: None,
        group: 32,
        has_min: true,
    })
}

fn product(kind: &PanelKind, n: u32, k: u32, lanes: u8) -> Product {
    let bits: u32 = match kind {
        PanelKind::Codes(codes) => codes.planes.iter().map(|&p| u32::from(p)).sum(),
        PanelKind::Float(mem) => 8 * mem.bytes(),
    };
    Product {
        kind: kind.clone(),
        panel: PanelGeometry {
            stride: 16 * k * bits / 8 + 4 * k / 2,
            record: 32 * 2 * bits + 64,
            scales: 0,
        },
        n,
        k,
        weights: 1,
        columns: UnitColumns::AtLeast(16),
        lanes,
        matrix: false,
    }
}

const SMALL: Shape = Shape {
    tile: Tile {
        rows: 2,
        groups: 1,
        expand: false,
        prefetch: 0,
    },
    unit_bytes: 1 << 16,
};

#[test]
fn choices_are_possible_and_best_by_the_model() {
    let kinds = [
        codes(&[4]),
        codes(&[8]),
        codes(&[4, 2]),
        PanelKind::Float(Mem::F16),
    ];
    for lanes in [4, 8, 16] {
        let m = MachineModel::for_width(lanes);
        for (kind, (n, k)) in kinds
            .iter()
            .flat_map(|kind| [(64, 32), (1536, 576), (49152, 576)].map(|s| (kind, s)))
        {
            let product = product(kind, n, k, lanes);
            let shape = product.choose(&m);
            assert_eq!(shape.fault(lanes), None);
            let columns = product.unit_columns(&m, shape.unit_bytes);
            assert!(
                n.is_multiple_of(columns) && columns.is_multiple_of(16),
                "{n} in {columns}"
            );
            let cycles = |shape| product.cycles(&m, shape, MANY_ROWS);
            assert!(
                cycles(&shape) <= cycles(&SMALL),
                "{shape:?} for {n}x{k}, {lanes} lanes"
            );
        }
    }
}

#[test]
fn work_grows_with_rows_and_sizes_and_shrinks_with_rates() {
    let kind = codes(&[4]);
    let m = MachineModel::for_width(16);
    let p = product(&kind, 1536, 576, 16);
    let shape = p.choose(&m);
    for rows in 1..64 {
        assert!(
            p.cycles(&m, &shape, rows + 8) > p.cycles(&m, &shape, rows),
            "{rows} rows"
        );
    }
    let wide = product(&kind, 3072, 576, 16);
    assert!(wide.cycles(&m, &shape, 64) > p.cycles(&m, &shape, 64));
    let slow = m.without_dot4();
    assert!(p.cycles(&slow, &shape, 64) > p.cycles(&m, &shape, 64));
    // One row is bound by the bytes of the weights.
    let bytes = p.weight_bytes(1536) as f64;
    let one = p.predict(&m, &shape).one;
    assert!(
        one >= bytes / m.memory_rate && one < 2.0 * bytes / m.memory_rate,
        "{one} cycles for {bytes} bytes"
    );
}

#[test]
fn units_stay_within_their_bytes_and_heads_stay_whole() {
    let kind = codes(&[8]);
    let mut p = product(&kind, 4096, 1024, 8);
    for threads in [1, 2, 16, 64] {
        let m = MachineModel::for_width(8).with_threads(threads);
        for bytes in unit_sizes(&m) {
            let columns = p.unit_columns(&m, bytes);
            assert!(columns == 16 || p.weight_bytes(columns) <= u64::from(bytes));
            assert!(columns == 16 || 4096 / columns >= MIN_UNITS * m.threads);
        }
    }
    p.columns = UnitColumns::Head(64);
    assert_eq!(p.unit_columns(&MachineModel::for_width(8), 1 << 20), 64);
}

#[test]
fn threads_that_share_units_unevenly_cost_more() {
    let kind = codes(&[4]);
    let shape = |unit_bytes| Shape { unit_bytes, ..SMALL };
    // 36 panels: with eight threads, five each for four of them.
    let p = product(&kind, 576, 576, 16);
    let cycles = |threads| {
        p.cycles(
            &MachineModel::for_width(16).with_threads(threads),
            &shape(1 << 10),
            1,
        )
    };
    assert_eq!(cycles(1), cycles(2));
    assert!((cycles(8) / cycles(2) - 40.0 / 36.0).abs() < 1e-9);
}

#[test]
fn tiles_take_each_row_once_and_few_rows_are_one_tile() {
    for (lanes, codes, matrix) in [
        (4, true, false),
        (16, false, false),
        (16, true, false),
        (16, true, true),
    ] {
        let record = codes.then_some(32 * 2 * 4 + 64);
        for main in 1..=8 {
            let tile = Tile {
                rows: main,
                ..SMALL.tile
            };
            let sizes = Sizes::new(&tile, lanes, record, matrix);
            for rows in 0..70 {
                let tiles = sizes.tiles(rows);
                let taken: u32 = tiles.iter().map(|(size, count)| size.rows * count).sum();
                assert_eq!(taken, rows, "{sizes:?}");
                let single = lanes == 16 && record.is_some() && main > 1 && (1..=8).contains(&rows);
                assert!(
                    !single || tiles.len() == 1 && tiles[0].1 == 1,
                    "{rows} rows, {sizes:?}"
                );
            }
        }
    }
}
