//! Lowering of attention: walks of contexts and what joins them, layers of the cache, tables of rotations.

use super::{Lowering, MANY_ROWS, SPLIT_ROWS, call};
use crate::error::Error;
use crate::kernels::{
    Attention, AttentionOut, Combine, Kernel, ParamType, RopeTable, SplitAttention, TiledAttention,
    row_bytes, stores_operands, tile_rows,
};
use crate::plan::{Arg, Call, Extent};
use lathe_ir::graph::{KvPart, Node, Op};
use lathe_ir::id::Id;
use lathe_ir::layout::KvType;
use lathe_ir::plan::{Input, KvLayer, RopeDecl};
use lathe_ir::types::{Dim, Sym};

/// A node of attention, and what its kernels read and write.
struct Uses {
    id: Node,
    /// Queries, keys, values, positions, sequences, block tables.
    args: Vec<Arg>,
    out: Arg,
}

impl Lowering<'_> {
    pub(super) fn attention(&mut self, id: Node) -> Result<(), Error> {
        let node = &self.graph.nodes[id];
        let Op::AttentionPaged {
            layer,
            kv_heads,
            scale,
            cap,
            window,
        } = node.op
        else {
            return Ok(());
        };
        let q = self.graph.ty(node.operands[0]);
        let [_, Dim::Const(heads), Dim::Const(head_dim)] = q.dims[..] else {
            return Err(self.unsupported(id, format!("queries of type {q}")));
        };
        let (heads, head_dim) = (heads as u32, head_dim as u32);
        let kv = self.kv_layer(id, layer, kv_heads, head_dim)?;
        let blocks_per_seq = self.options.limits.blocks_per_seq();
        let walk = Attention {
            heads,
            kv_heads,
            head_dim,
            types: kv.types,
            scale,
            cap,
            window,
            blocks_per_seq,
            out: AttentionOut::Rows {
                operands: self.only_operands[node.results[0].index()] && stores_operands(heads * head_dim),
            },
        };
        if !walk.fits() {
            return Err(self.unsupported(
                id,
                format!("heads of {head_dim} elements do not fit shared memory"),
            ));
        }
        let rows = self.rows(id, node.results[0])?;
        if rows != Sym::Tokens {
            return Err(self.unsupported(id, "attention of rows that were gathered".into()));
        }
        let args = vec![
            self.arg(id, node.operands[0])?,
            Arg::Kv(KvPart::K, layer),
            Arg::Kv(KvPart::V, layer),
            self.arg(id, node.operands[2])?,
            self.arg(id, node.operands[3])?,
            Arg::Input(Input::BlockTables),
        ];
        let operands = walk.out == AttentionOut::Rows { operands: true };
        let out = self.result(id, node.results[0], operands)?;
        let uses = Uses { id, args, out };
        let tiled = self.tiled_attention(walk, &uses)?;
        match (SplitAttention::new(walk, self.options.target), tiled) {
            (Some(split), Some(tiled)) => self.split_attention(split, uses, tiled),
            (_, tiled) => self.walked_attention(walk, uses, tiled),
        }
    }

    /// Steps of few rows on tensor cores, and what joins their splits.
    fn split_attention(&mut self, split: SplitAttention, uses: Uses, tiled: Call) -> Result<(), Error> {
        let Uses { id, mut args, out } = uses;
        let few = MANY_ROWS.min(self.options.limits.bound(Sym::Tokens));
        let states = Arg::Buffer(self.reserve("attention states", split.state_bytes() * u64::from(few)));
        let join = split.join();
        let joined = vec![states, args[3], out];
        args.extend([states, out]);
        let grid = [
            Extent::Splits(split.splits()),
            Extent::Const(split.blocks()),
            Extent::Rows(1),
        ];
        let split = Call {
            most: MANY_ROWS,
            ..call(self.kernel(Kernel::SplitAttention(split))?, args, grid)
        };
        let grid = [Extent::Const(join.blocks()), Extent::Rows(1), Extent::Const(1)];
        let join = Call {
            most: MANY_ROWS,
            ..call(self.kernel(Kernel::JoinSplits(join))?, joined, grid)
        };
        self.launch(id, Sym::Tokens, vec![split, tiled]);
        self.launch(id, Sym::Tokens, vec![join]);
        Ok(())
    }

    /// Steps of few rows where a lane reads elements one by one: segments are blocks of their own up to [`SPLIT_ROWS`] rows.
    fn walked_attention(&mut self, walk: Attention, uses: Uses, tiled: Option<Call>) -> Result<(), Error> {
        let Uses { id, args, out } = uses;
        let split_rows = SPLIT_ROWS.min(self.options.limits.bound(Sym::Tokens));
        let states =
            Arg::Buffer(self.reserve("attention states", walk.state_bytes() * u64::from(split_rows)));
        let with = |last: Arg| args.iter().copied().chain([last]).collect();
        let split = Attention {
            out: AttentionOut::States,
            ..walk
        };
        let blocks = Extent::Const(walk.blocks());
        let [split, walked] = [split, walk].map(|attention| self.kernel(Kernel::Attention(attention)));
        let combine = self.kernel(Kernel::Combine(Combine {
            heads: walk.heads,
            head_dim: walk.head_dim,
            window: walk.window,
            blocks_per_seq: walk.blocks_per_seq,
            operands: walk.out == AttentionOut::Rows { operands: true },
        }))?;
        let mut calls = vec![
            Call {
                most: SPLIT_ROWS,
                ..call(split?, with(states), [Extent::Segments, blocks, Extent::Rows(1)])
            },
            Call {
                least: SPLIT_ROWS + 1,
                ..call(walked?, with(out), [Extent::Rows(1), blocks, Extent::Const(1)])
            },
        ];
        if let Some(tiled) = tiled {
            calls[1].most = MANY_ROWS;
            calls.push(tiled);
        }
        let grid = [Extent::Const(walk.heads), Extent::Rows(1), Extent::Const(1)];
        let combine = Call {
            most: SPLIT_ROWS,
            ..call(combine, vec![states, args[3], out], grid)
        };
        self.launch(id, Sym::Tokens, calls);
        self.launch(id, Sym::Tokens, vec![combine]);
        Ok(())
    }

    /// The call for steps of many rows, where there is a kernel for such heads.
    fn tiled_attention(&mut self, of: Attention, uses: &Uses) -> Result<Option<Call>, Error> {
        // The first layer chooses for all of them.
        let rows = match self.plan.tile_rows {
            0 => tile_rows(of.group()),
            rows => rows,
        };
        let Some(tiled) = TiledAttention::new(of, rows, self.options.target) else {
            return Ok(None);
        };
        self.plan.tile_rows = rows;
        let mut args = uses.args.clone();
        args.extend([Arg::Tiles, uses.out]);
        let grid = [Extent::Const(tiled.blocks()), Extent::Tiles, Extent::Const(1)];
        let kernel = self.kernel(Kernel::TiledAttention(tiled))?;
        Ok(Some(Call {
            least: MANY_ROWS + 1,
            ..call(kernel, args, grid)
        }))
    }

    /// The geometry of a layer's cache; its uses must agree.
    pub(super) fn kv_layer(
        &mut self,
        id: Node,
        layer: u32,
        kv_heads: u32,
        head_dim: u32,
    ) -> Result<KvLayer, Error> {
        let kv = KvLayer {
            kv_heads,
            head_dim,
            types: self.options.kv_types,
            window: 0,
        };
        if [kv.types.k, kv.types.v].contains(&KvType::Q4_0) {
            let what = "q4_0 keys or values: f32, f16, bf16 and q8_0 run on GPUs".to_owned();
            return Err(self.unsupported(id, what));
        }
        let layers = &mut self.plan.kv_layers;
        match layers.get(layer as usize) {
            None if layers.len() == layer as usize => layers.push(kv),
            Some(known) if *known == kv => {}
            _ => return Err(self.unsupported(id, format!("layer {layer} of the cache has another geometry"))),
        }
        Ok(kv)
    }

    /// The table of a rotation for the rows of the step: made once, by a launch before its first use.
    pub(super) fn rope_table(&mut self, id: Node, decl: RopeDecl) -> Result<Arg, Error> {
        if let Some((_, table)) = self.tables.iter().find(|(known, _)| *known == decl) {
            return Ok(Arg::Buffer(*table));
        }
        let rope = self.plan.ropes.push(decl.clone());
        let kernel = self.kernel(Kernel::RopeTable(RopeTable {
            dims: decl.spec.dims,
            magnitude: decl.spec.magnitude,
        }))?;
        let rows = u64::from(self.options.limits.tokens);
        let table = self.reserve("rope", row_bytes(ParamType::F32, decl.spec.dims) * rows);
        let args = vec![
            Arg::Angles(rope),
            Arg::Input(Input::Positions),
            Arg::Buffer(table),
        ];
        let grid = [Extent::Rows(1), Extent::Const(1), Extent::Const(1)];
        self.launch(id, Sym::Tokens, vec![call(kernel, args, grid)]);
        self.tables.push((decl, table));
        Ok(Arg::Buffer(table))
    }
}
