//! The KV cache of the interpreter.

use crate::graph::KvPart;
use half::f16;
use std::collections::{BTreeMap, HashMap};

/// Keys and values by layer, sequence and position: rows of `kv_heads · head_dim` elements, rounded to f16.
///
/// Goes from one call of [`super::eval`] to the next.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct KvCache {
    halves: HashMap<(u32, KvPart), Rows>,
}

/// Rows of half a layer, by sequence and position.
type Rows = BTreeMap<(u32, u32), Vec<f32>>;

impl KvCache {
    /// Positions are below this, so that scores of a batch fit into memory.
    pub const MAX_POSITIONS: usize = 1 << 20;

    /// An empty cache.
    pub fn new() -> KvCache {
        KvCache::default()
    }

    /// Stores the row of a position, rounded to f16.
    pub fn store(&mut self, layer: u32, part: KvPart, seq: u32, position: u32, row: &[f32]) {
        let row = row.iter().map(|&x| f16::from_f32(x).to_f32()).collect();
        self.halves
            .entry((layer, part))
            .or_default()
            .insert((seq, position), row);
    }

    /// The row of a position.
    pub fn row(&self, layer: u32, part: KvPart, seq: u32, position: u32) -> Option<&[f32]> {
        Some(self.halves.get(&(layer, part))?.get(&(seq, position))?)
    }

    /// The positions of a layer that its longest sequence reaches to: the greatest cached position, plus one.
    pub fn positions(&self, layer: u32) -> usize {
        let half = |part| {
            self.halves
                .get(&(layer, part))
                .into_iter()
                .flat_map(|rows| rows.keys())
        };
        let keys = half(KvPart::K).chain(half(KvPart::V));
        keys.map(|&(_, position)| position as usize + 1)
            .max()
            .unwrap_or(0)
    }

    /// Forgets a sequence from position `len` on.
    pub fn truncate(&mut self, seq: u32, len: u32) {
        for rows in self.halves.values_mut() {
            rows.retain(|&(s, position), _| s != seq || position < len);
        }
    }
}
