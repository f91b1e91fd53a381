//! A cost model of products: cycles that a shape takes, from counts of what its code does and of the bytes that it moves,
//! and the shape that it prefers.
//!
//! Counts are those of [`super::dot`] for a block of 32 elements. Compute is bound by the busiest of the vector units, the
//! load ports and the front end; bytes that come from beyond the first-level cache are bound by the rate of their level;
//! the larger of the two counts, as in the roofline model (Williams, Waterman and Patterson, "Roofline", 2009). Absolute
//! figures are rough; what matters is the order of shapes.

use super::dot::Codes;
use super::linear::{PanelGeometry, PanelKind, Size, Sizes, Tile};
use super::matrix::MATRIX_ROWS;
use super::tuning::{Shape, registers};
use lathe_ir::layout::{BLOCK, PANEL_ROWS};

/// What one core does in a cycle, and what its caches hold.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MachineModel {
    /// Vectors of `dot4` a cycle.
    pub dots: f64,
    /// Vectors of float multiplication, addition or conversion a cycle.
    pub floats: f64,
    /// Vectors of integer logic and shifts a cycle.
    pub logic: f64,
    /// Vectors loaded a cycle.
    pub loads: f64,
    /// Vectors stored a cycle.
    pub stores: f64,
    /// Instructions a cycle.
    pub issue: f64,
    /// Cycles until the result of a multiplication or a `dot4` can be used.
    pub latency: f64,
    /// Cycles of the matrix unit for sixteen rows and one group of a block.
    pub matrix: f64,
    /// Bytes of the first-level data cache.
    pub l1: u64,
    /// Bytes of the second-level cache.
    pub l2: u64,
    /// Bytes a cycle from the second level.
    pub l2_rate: f64,
    /// Bytes a cycle from the third level.
    pub l3_rate: f64,
    /// Bytes a cycle from memory, of one core when all read.
    pub memory_rate: f64,
    /// Threads that share the units of a product.
    pub threads: u32,
}

impl MachineModel {
    /// A typical machine with vectors of `lanes` f32: an x86-64 server of 2022 with two vector pipes of 256 bits, which
    /// take two cycles for 512.
    pub fn for_width(lanes: u8) -> MachineModel {
        let pipes = if lanes == 16 { 1.0 } else { 2.0 };
        MachineModel {
            dots: pipes,
            floats: pipes,
            logic: 2.0 * pipes,
            loads: pipes,
            stores: pipes / 2.0,
            issue: 5.0,
            latency: 4.0,
            matrix: 16.0,
            l1: 32 << 10,
            l2: 1 << 20,
            l2_rate: 28.0,
            l3_rate: 14.0,
            memory_rate: 6.0,
            threads: 4,
        }
    }

    /// The same with caches of these sizes.
    pub fn with_caches(self, l1: u64, l2: u64) -> MachineModel {
        MachineModel { l1, l2, ..self }
    }

    /// The same with so many threads.
    pub fn with_threads(self, threads: usize) -> MachineModel {
        let threads = u32::try_from(threads).unwrap_or(u32::MAX).clamp(1, 1024);
        MachineModel { threads, ..self }
    }

    /// The same for a processor that makes a `dot4` of three instructions.
    pub fn without_dot4(self) -> MachineModel {
        let dots = self.dots / 3.0;
        MachineModel { dots, ..self }
    }
}

/// A product whose shape is to be chosen.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// What panels hold.
    pub(super) kind: PanelKind,
    /// How they lie.
    pub(super) panel: PanelGeometry,
    /// Outputs.
    pub(super) n: u32,
    /// Length of a row.
    pub(super) k: u32,
    /// Weights: one, or gate and up.
    pub(super) weights: u32,
    /// The columns that units can have.
    pub(super) columns: UnitColumns,
    /// Vector width.
    pub(super) lanes: u8,
    /// Whether tiles of sixteen rows are for the matrix unit.
    pub(super) matrix: bool,
}

/// The columns that a unit of a product can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UnitColumns {
    /// These: a head.
    Head(u32),
    /// These, or twice, four times, … as many.
    AtLeast(u32),
}

/// Cycles of one core for all units of a product, as if it had them all, and those that it waits for others.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Prediction {
    /// For one row.
    pub one: f64,
    /// For [`MANY_ROWS`] rows, by the row.
    pub many: f64,
}

/// Rows of the second figure of a prediction.
pub const MANY_ROWS: u32 = 256;

/// Fewest units for each thread of a product that is cut into more than one panel each: enough to share them evenly, even
/// where threads are not equally fast.
pub(super) const MIN_UNITS: u32 = 6;

/// The share of the usual shape's cycles below which another is taken.
const CLEARLY: f64 = 0.98;

const PANEL: u32 = PANEL_ROWS as u32;
const BLOCK_LEN: u32 = BLOCK as u32;
/// Chunks of four elements in a block.
const CHUNKS: f64 = (BLOCK_LEN / 4) as f64;
/// Instructions around the blocks of a tile, and around a row of a unit's epilogue.
const AROUND: f64 = 40.0;

/// Instructions by the unit that runs them.
#[derive(Clone, Copy, Default, Debug)]
struct Work {
    dots: f64,
    floats: f64,
    logic: f64,
    loads: f64,
    stores: f64,
    /// Cycles of the matrix unit.
    matrix: f64,
    /// Cycles of the longest chain of results.
    chain: f64,
    /// Cycles in which nothing else runs: registers that go to memory and come back.
    stalls: f64,
}

impl Work {
    fn cycles(&self, m: &MachineModel) -> f64 {
        // Dots and floats share their pipes.
        let vectors = self.dots / m.dots + self.floats / m.floats;
        let all = self.dots + self.floats + self.logic + self.loads + self.stores;
        let bounds = [
            vectors,
            // Logic runs on those pipes and as many more.
            self.logic / m.logic + vectors / 2.0,
            self.loads / m.loads,
            self.stores / m.stores,
            all / m.issue,
            self.matrix,
            self.chain,
        ];
        bounds.into_iter().fold(0.0, f64::max) + self.stalls
    }
}

impl Product {
    /// Columns of a unit: the smallest number doubled as long as it divides n, its weights stay within `unit_bytes`, and
    /// there are units enough for the threads. A tile of rows is read once a unit, so large units save reads of activations.
    pub(super) fn unit_columns(&self, m: &MachineModel, unit_bytes: u32) -> u32 {
        let mut columns = match self.columns {
            UnitColumns::Head(columns) => return columns,
            UnitColumns::AtLeast(columns) => columns,
        };
        while self.n.is_multiple_of(2 * columns)
            && self.n / (2 * columns) >= MIN_UNITS * m.threads
            && self.weight_bytes(2 * columns) <= u64::from(unit_bytes)
        {
            columns *= 2;
        }
        columns
    }

    pub(super) fn weight_bytes(&self, columns: u32) -> u64 {
        u64::from(columns.div_ceil(PANEL)) * u64::from(self.panel.stride) * u64::from(self.weights)
    }

    fn codes(&self) -> Option<&Codes> {
        match &self.kind {
            PanelKind::Codes(codes) => Some(codes),
            PanelKind::Float(_) => None,
        }
    }

    fn panel_vectors(&self) -> u32 {
        PANEL / u32::from(self.lanes)
    }

    fn blocks(&self) -> f64 {
        f64::from(self.k) / f64::from(BLOCK_LEN)
    }

    /// Bytes of a row of activations.
    fn row_bytes(&self) -> f64 {
        let element = if self.codes().is_some() { 1.5 } else { 4.0 };
        element * f64::from(self.k)
    }

    /// Logic that makes four codes of a vector of weight rows readable.
    fn unpacking(codes: &Codes) -> f64 {
        let narrow = codes.planes.iter().filter(|&&width| width < 8).count() as f64;
        let more = codes.planes.len() as f64 - 1.0;
        // A field is shifted (but for the first of a byte) and masked; further planes are shifted and joined.
        1.75 * narrow + 2.0 * more + if codes.codebook.is_some() { 1.0 } else { 0.0 }
    }

    /// A block of a tile of `rows` rows and `groups` vectors.
    fn block(&self, rows: u32, groups: u32, expanded: bool) -> Work {
        let (r, g) = (f64::from(rows), f64::from(groups));
        let slots = r * g;
        let Some(codes) = self.codes() else {
            let steps = f64::from(BLOCK_LEN);
            return Work {
                floats: steps * slots,
                loads: steps * (r + g),
                chain: 4.0 * steps,
                ..Work::default()
            };
        };
        let parts = f64::from(BLOCK_LEN / codes.group);
        let (planes, unpacking) = match expanded {
            true => (1.0, 0.0),
            false => (codes.planes.len() as f64, Product::unpacking(codes)),
        };
        let in_registers = rows == 1 || 2 * rows * groups + 6 <= registers(self.lanes);
        let spilled = if in_registers { 0.0 } else { parts * slots };
        // Dots wait in registers while scales, minima and a few intermediate results pass.
        let alive = slots + g * f64::from(1 + u8::from(codes.has_min)) + 3.0;
        let excess = (alive - f64::from(registers(self.lanes))).max(0.0);
        let (mins, offset) = (
            f64::from(u8::from(codes.has_min)),
            f64::from(u8::from(codes.offset_log2.is_some())),
        );
        Work {
            dots: CHUNKS * slots,
            // A factor, a conversion and a sum each, and one more with minima; scales are converted.
            floats: parts * (slots * (3.0 + mins) + g * (1.0 + mins) + r * 2.0 * mins),
            logic: CHUNKS * g * unpacking + parts * (r * offset + slots),
            loads: CHUNKS * (g * planes + r)
                + parts * (r * (1.0 + mins + offset) + g * (1.0 + mins))
                + spilled,
            stores: spilled,
            // Sums follow each other; those in memory wait for the store, too.
            chain: parts * if in_registers { 4.0 } else { 10.0 },
            stalls: parts * excess,
            ..Work::default()
        }
    }

    /// A block of a tile for the matrix unit, with the unit's cycles.
    fn matrix_block(&self, codes: &Codes, m: &MachineModel) -> Work {
        let parts = f64::from(BLOCK_LEN / codes.group);
        let rows = f64::from(MATRIX_ROWS);
        Work {
            floats: parts * rows * 3.0,
            loads: parts * rows * 2.0,
            stores: parts * rows,
            matrix: parts * m.matrix,
            ..Work::default()
        }
    }

    /// Cycles for `rows` rows.
    pub(super) fn cycles(&self, m: &MachineModel, shape: &Shape, rows: u32) -> f64 {
        let columns = self.unit_columns(m, shape.unit_bytes);
        let unit = Unit {
            product: self,
            machine: m,
            tile: shape.tile,
            panels: columns.div_ceil(PANEL),
            bytes: self.weight_bytes(columns) as f64,
            rows: f64::from(rows),
        };
        f64::from(self.n) / f64::from(columns) * self.imbalance(m, columns) * unit.cycles(rows)
    }

    /// Units of the thread that has the most, for each that all would have if units could be cut. Heads share their step
    /// with other products.
    fn imbalance(&self, m: &MachineModel, columns: u32) -> f64 {
        if matches!(self.columns, UnitColumns::Head(_)) {
            return 1.0;
        }
        let units = self.n.div_ceil(columns);
        f64::from(units.div_ceil(m.threads) * m.threads) / f64::from(units)
    }

    /// What the model says of a shape.
    pub(super) fn predict(&self, m: &MachineModel, shape: &Shape) -> Prediction {
        Prediction {
            one: self.cycles(m, shape, 1),
            many: self.cycles(m, shape, MANY_ROWS) / f64::from(MANY_ROWS),
        }
    }

    /// The shape that the model prefers for many rows. What measurements found best on the whole stays unless another tile
    /// is clearly better: the model is rough.
    pub(super) fn choose(&self, m: &MachineModel) -> Shape {
        // Several counts, so that no shape wins by dividing one.
        let counts = MANY_ROWS - 7..=MANY_ROWS;
        let cycles = |shape: &Shape| -> f64 { counts.clone().map(|rows| self.cycles(m, shape, rows)).sum() };
        let better = |old: (f64, Shape), new: Shape| {
            let cycles = cycles(&new);
            if cycles < CLEARLY * old.0 {
                (cycles, new)
            } else {
                old
            }
        };
        let with_units = |tile: Tile| {
            let usual = Shape {
                tile,
                unit_bytes: 1 << 18,
            };
            let sizes = unit_sizes(m).map(|unit_bytes| Shape { tile, unit_bytes });
            sizes.fold((cycles(&usual), usual), better)
        };
        let usual = with_units(self.usual_tile());
        let all = self.tiles().into_iter().map(with_units);
        let best = all.fold(usual, |best, new| if new.0 < best.0 { new } else { best });
        if best.0 < CLEARLY * usual.0 {
            best.1
        } else {
            usual.1
        }
    }

    /// The tile that served best on the whole where it was measured (AMD Zen 4 and 5).
    fn usual_tile(&self) -> Tile {
        let codes = self.codes();
        let expand = self.lanes < 16 && codes.is_some_and(Codes::needs_unpacking);
        let (rows, groups) = match (self.lanes, codes.is_some()) {
            (16, _) | (8, true) => (6, 2),
            (8, false) => (4, 2),
            (_, true) => (4, 2),
            (_, false) => (2, 4),
        };
        Tile {
            rows,
            groups,
            expand,
            prefetch: 0,
        }
    }

    /// Tiles that fit in registers, prefetching left to the hardware.
    pub(super) fn tiles(&self) -> Vec<Tile> {
        let expands = self.codes().is_some_and(Codes::needs_unpacking);
        let vectors = self.panel_vectors();
        let groups = [1, 2, 3, 4, 8].into_iter();
        let groups = groups.filter(move |&g| vectors.is_multiple_of(g) || g.is_multiple_of(vectors));
        let mut tiles = Vec::new();
        for groups in groups {
            for rows in 2..=8 {
                for expand in [false, true] {
                    let tile = Tile {
                        rows,
                        groups,
                        expand,
                        prefetch: 0,
                    };
                    let unit_bytes = 1 << 18;
                    let possible = Shape { tile, unit_bytes }.fault(self.lanes).is_none();
                    if possible && (expands || !expand) {
                        tiles.push(tile);
                    }
                }
            }
        }
        tiles
    }
}

/// Sizes of units that are worth trying: from what the first level holds to what the second does.
pub(super) fn unit_sizes(m: &MachineModel) -> impl Iterator<Item = u32> {
    let most = m.l2.clamp(1 << 16, 1 << 22) as u32;
    [1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21]
        .into_iter()
        .filter(move |&bytes| bytes <= most)
}

/// A unit of a product.
struct Unit<'a> {
    product: &'a Product,
    machine: &'a MachineModel,
    tile: Tile,
    /// Panels of each weight.
    panels: u32,
    /// Bytes of packed weights.
    bytes: f64,
    rows: f64,
}

impl Unit<'_> {
    /// Cycles for the tiles of `rows` rows, their epilogues, and the first touch of the weights.
    fn cycles(&self, rows: u32) -> f64 {
        let codes = self.product.codes();
        let matrix = self.product.matrix && codes.is_some();
        let record = codes.map(|_| self.product.panel.record);
        let sizes = Sizes::new(&self.tile, self.product.lanes, record, matrix);
        let wants = self.tile.expand || matrix;
        let expands = wants && codes.is_some_and(Codes::needs_unpacking);
        let (mut cycles, mut first) = (0.0, None);
        for (size, tiles) in sizes.tiles(rows) {
            let expanded = expands && sizes.large.first() == Some(&size);
            if expanded {
                cycles += self.expanding();
            }
            let tile = self.tile_cycles(size, matrix && size.rows == MATRIX_ROWS, expanded);
            first.get_or_insert(tile);
            cycles += f64::from(tiles) * tile;
        }
        // The first tile waits for the weights to come from memory.
        let waits = self.bytes / self.machine.memory_rate - first.unwrap_or(0.0);
        let vectors = f64::from(self.panels * self.product.panel_vectors() * self.product.weights);
        cycles + waits.max(0.0) + f64::from(rows) * (AROUND + 6.0 * vectors) / self.machine.issue
    }

    /// Cycles to spread the codes of a unit to bytes.
    fn expanding(&self) -> f64 {
        let Some(codes) = self.product.codes() else {
            return 0.0;
        };
        let vectors = f64::from(self.panels * self.product.weights * self.product.panel_vectors());
        let work = Work {
            logic: CHUNKS * Product::unpacking(codes),
            loads: CHUNKS * codes.planes.len() as f64,
            stores: CHUNKS,
            ..Work::default()
        };
        vectors * self.product.blocks() * work.cycles(self.machine)
    }

    /// Cycles for one tile of a size over all panels of the unit.
    fn tile_cycles(&self, size: Size, matrix: bool, expanded: bool) -> f64 {
        let (p, m, rows) = (self.product, self.machine, size.rows);
        let vectors = p.panel_vectors();
        let groups = if rows == 1 || matrix { vectors } else { size.groups };
        let at_once = (groups / vectors).clamp(1, self.panels);
        let mut compute = 0.0;
        let mut passes = 0.0;
        for (panels, sets) in [(at_once, self.panels / at_once), (1, self.panels % at_once)] {
            let all = panels * vectors;
            let held = groups.min(all);
            let work = match p.codes() {
                Some(codes) if matrix => p.matrix_block(codes, m),
                _ => p.block(rows, held, expanded),
            };
            let count = f64::from(sets * p.weights) * f64::from(all) / f64::from(held);
            let slots = f64::from(rows * held);
            compute += count * (p.blocks() * work.cycles(m) + (AROUND + 2.0 * slots) / m.issue);
            passes += count;
        }
        compute.max(self.moved(rows, passes, expanded))
    }

    /// Cycles for the bytes that a tile of `rows` rows moves from beyond the first level, `passes` times over its rows.
    fn moved(&self, rows: u32, passes: f64, expanded: bool) -> f64 {
        let (p, m) = (self.product, self.machine);
        let element = f64::from(self.panels * p.weights * PANEL * p.k);
        let scales = element / 16.0;
        let weights = if expanded { element + scales } else { self.bytes };
        let (l1, l2) = (m.l1 as f64, m.l2 as f64);
        let tile = f64::from(rows) * p.row_bytes();
        let all_rows = self.rows * p.row_bytes();
        let weight_rate = match weights {
            w if w + tile <= 0.8 * l1 => f64::INFINITY,
            w if w + tile <= 0.8 * l2 => m.l2_rate,
            _ => m.l3_rate,
        };
        // A tile of rows is read again for each pass; between passes the weights of one go by.
        let resident = tile + weights / passes.max(1.0);
        let again = if resident <= 0.9 * l1 {
            0.0
        } else {
            (passes - 1.0) * tile / m.l2_rate
        };
        let first_rate = if weights + all_rows <= 0.8 * l2 {
            m.l2_rate
        } else {
            m.l3_rate
        };
        weights / weight_rate + again + tile / first_rate
    }
}
