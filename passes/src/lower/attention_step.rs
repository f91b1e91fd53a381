//! The steps of attention over the paged cache: units over rows and heads, and pieces of contexts where there are few.

use super::attention::{AttentionKernel, SEGMENT, rows_of_tile};
use super::attention_merge::Parts;
use super::{LowerError, Lowering};
use lathe_ir::graph::{KvPart, Node, Op};
use lathe_ir::layout::KvTypes;
use lathe_ir::plan::{Arg, Buffer, Call, Count, Input, KvLayer, Split, SplitCount};
use lathe_ir::types::{Dim, Sym};

/// Steps of more rows have enough of them for all threads: their contexts are not cut into pieces.
const MOST_SPLIT_ROWS: u64 = 16;

/// Most bytes for states of segments; where states of one row are larger, there is room for that row.
const MOST_PARTS: u64 = 16 << 20;

/// How contexts are cut into pieces.
#[derive(Clone, Copy)]
struct Cut {
    pieces: Split,
    /// States of segments.
    parts: Buffer,
}

impl Lowering<'_> {
    /// One step; and where contexts may be cut, one that merges pieces, which has units only if there are several.
    pub(super) fn attention(&mut self, id: Node) -> Result<(), LowerError> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let kernel = self.attention_kernel(id)?;
        let Op::AttentionPaged { layer, .. } = node.op else {
            unreachable!("called for attention.paged")
        };
        let rows = graph.ty(node.operands[0]).dims[0];
        let units = self.count(id, rows, u64::from(kernel.units_per_row()))?;
        let rows_count = self.count(id, rows, 1)?;
        let [q, _, pos, seq] = node.operands[..] else {
            unreachable!("arity is verified")
        };
        let (q, pos, seq) = (self.arg(id, q)?, self.arg(id, pos)?, self.arg(id, seq)?);
        let out = Arg::Buffer(self.new_buffer(node.results[0], id)?);
        let kv = |part| Arg::Kv(part, layer);
        let mut call = Call {
            kernel: self.generated(format!("{kernel:?}"), || kernel.build())?,
            args: vec![
                q,
                kv(KvPart::K),
                kv(KvPart::V),
                pos,
                seq,
                self.tables_of(layer),
                out,
            ],
            scalars: vec![rows_count],
            units,
            cost: 1,
        };
        let cut = (kernel.segments() > 1).then(|| self.cut(&kernel, rows));
        let Some(Cut { pieces, parts }) = cut else {
            self.step(id, vec![call]);
            return Ok(());
        };
        call.args.push(Arg::Buffer(parts));
        call.scalars.push(Count::constant(1).times(pieces));
        call.units = units.times(pieces);
        self.step(id, vec![call]);
        let merge = Call {
            kernel: self.generated(format!("merge {kernel:?}"), || kernel.build_merge())?,
            args: vec![Arg::Buffer(parts), pos, out],
            scalars: Vec::new(),
            units: units.times(Split {
                what: SplitCount::Merges,
                ..pieces
            }),
            cost: 1,
        };
        self.step(id, vec![merge]);
        Ok(())
    }

    /// The node's kernel.
    fn attention_kernel(&mut self, id: Node) -> Result<AttentionKernel, LowerError> {
        let node = &self.graph.nodes[id];
        let Op::AttentionPaged {
            layer,
            kv_heads,
            scale,
            cap,
            window,
        } = node.op
        else {
            unreachable!("called for attention.paged")
        };
        let (heads, head_dim) = match self.graph.ty(node.operands[0]).dims[..] {
            [_, Dim::Const(heads), Dim::Const(head_dim)] => (heads as u32, head_dim as u32),
            _ => return Err(self.unsupported(id, "queries are not [rows, heads, d]".into())),
        };
        let types = self.options.kv_types;
        let geometry = KvLayer {
            kv_heads,
            head_dim,
            types,
            window: self.bounding_window(window),
        };
        self.kv_layer(id, layer, geometry)?;
        let tile = head_tile(heads / kv_heads, kv_heads);
        Ok(AttentionKernel {
            heads,
            kv_heads,
            head_dim,
            types,
            tile,
            rows: rows_of_tile(tile, head_dim),
            scale,
            cap,
            window,
            blocks_per_seq: self.options.limits.blocks_per_seq(),
            segment: SEGMENT,
            lanes: self.options.lanes,
        })
    }

    /// As many pieces as there are segments, for steps of few rows of tokens; else one. Room for states is needed only
    /// where there are more.
    fn cut(&mut self, kernel: &AttentionKernel, rows: Dim) -> Cut {
        let states = u64::from(kernel.heads) * u64::from(kernel.segments());
        let row_bytes = states * u64::from(Parts::new(kernel).stride);
        let most = MOST_SPLIT_ROWS.min(MOST_PARTS / row_bytes).max(1);
        let split_rows = match rows {
            Dim::Sym(Sym::Tokens) => most.min(self.options.limits.tokens.into()),
            _ => 0,
        };
        let parts = self.reserve("attention parts", row_bytes * split_rows.max(1));
        let pieces = Split {
            what: SplitCount::Pieces,
            of: kernel.segment,
            most: kernel.segments_of_row(),
            rows: split_rows as u32,
        };
        Cut { pieces, parts }
    }

    /// A window where it is one: a context that it holds whole is seen whole.
    fn bounding_window(&self, window: u32) -> u32 {
        if window < self.options.limits.ctx {
            window
        } else {
            0
        }
    }

    /// The window of a layer, as attention over it says.
    pub(super) fn window_of(&self, layer: u32) -> u32 {
        let windows = self
            .graph
            .order
            .iter()
            .filter_map(|&node| match self.graph.nodes[node].op {
                Op::AttentionPaged {
                    layer: of, window, ..
                } if of == layer => Some(window),
                _ => None,
            });
        self.bounding_window(windows.into_iter().next().unwrap_or(0))
    }

    /// The tables by which a layer's blocks are found.
    pub(super) fn tables_of(&self, layer: u32) -> Arg {
        Arg::Input(match self.window_of(layer) {
            0 => Input::BlockTables,
            _ => Input::WindowTables,
        })
    }

    /// Records a layer's KV geometry, or checks it against what another node said.
    pub(super) fn kv_layer(&mut self, id: Node, layer: u32, geometry: KvLayer) -> Result<(), LowerError> {
        let KvTypes { k, v } = geometry.types;
        for ty in [k, v] {
            if !geometry.head_dim.is_multiple_of(ty.planes()) {
                let what = format!("{ty} keys or values with heads of {} elements", geometry.head_dim);
                return Err(self.unsupported(id, what));
            }
        }
        let layers = &mut self.plan.kv_layers;
        let index = layer as usize;
        let unset = KvLayer {
            kv_heads: 0,
            head_dim: 0,
            types: self.options.kv_types,
            window: 0,
        };
        if index >= layers.len() {
            layers.resize(index + 1, unset);
        }
        if layers[index] == unset {
            layers[index] = geometry;
        }
        if layers[index] == geometry {
            return Ok(());
        }
        let what = format!(
            "layer {layer} has KV {:?} here and {:?} elsewhere",
            geometry, layers[index]
        );
        Err(self.unsupported(id, what))
    }
}

/// How many of `group` query heads of a KV head a unit handles: all of them, but half where there is one KV head, so that
/// a row's work can be shared by two threads.
fn head_tile(group: u32, kv_heads: u32) -> u32 {
    if kv_heads == 1 && group.is_multiple_of(2) {
        group / 2
    } else {
        group
    }
}
