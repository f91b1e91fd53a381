//! Lowering of attention: walks of contexts and what joins them, layers of the cache, tables of rotations.

use super::{Lowering, MANY_ROWS, SPLIT_ROWS, call};
use crate::error::Error;
use crate::kernels::{
    Attention, AttentionOut, Combine, Kernel, ParamType, RopeTable, TiledAttention, row_bytes,
    stores_operands, tile_rows,
};
use crate::plan::{Arg, Call, Extent};
use lathe_ir::graph::{KvPart, Node, Op};
use lathe_ir::id::Id;
use lathe_ir::layout::KvType;
use lathe_ir::plan::{Input, KvLayer, RopeDecl};
use lathe_ir::types::{Dim, Sym};

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
        let split_rows = SPLIT_ROWS.min(self.options.limits.bound(rows));
        let states = self.reserve("attention states", walk.state_bytes() * u64::from(split_rows));
        let positions = self.arg(id, node.operands[2])?;
        let mut args = vec![
            self.arg(id, node.operands[0])?,
            Arg::Kv(KvPart::K, layer),
            Arg::Kv(KvPart::V, layer),
            positions,
            self.arg(id, node.operands[3])?,
            Arg::Input(Input::BlockTables),
        ];
        let operands = walk.out == AttentionOut::Rows { operands: true };
        let split = Attention {
            out: AttentionOut::States,
            ..walk
        };
        let blocks = Extent::Const(walk.blocks());
        let of = walk;
        let [split, walk] = [
            self.kernel(Kernel::Attention(split))?,
            self.kernel(Kernel::Attention(walk))?,
        ];
        let combine = self.kernel(Kernel::Combine(Combine {
            heads,
            head_dim,
            window,
            blocks_per_seq,
            operands,
        }))?;
        let out = self.result(id, node.results[0], operands)?;
        args.push(Arg::Buffer(states));
        let split = Call {
            most: SPLIT_ROWS,
            ..call(split, args.clone(), [Extent::Segments, blocks, Extent::Rows(1)])
        };
        args.pop();
        args.push(out);
        let mut calls = vec![
            split,
            Call {
                least: SPLIT_ROWS + 1,
                ..call(walk, args.clone(), [Extent::Rows(1), blocks, Extent::Const(1)])
            },
        ];
        if let Some(tiled) = self.tiled_attention(of, args)? {
            calls[1].most = MANY_ROWS;
            calls.push(tiled);
        }
        let grid = [Extent::Const(heads), Extent::Rows(1), Extent::Const(1)];
        let combine = Call {
            most: SPLIT_ROWS,
            ..call(combine, vec![Arg::Buffer(states), positions, out], grid)
        };
        self.launch(id, rows, calls);
        self.launch(id, rows, vec![combine]);
        Ok(())
    }

    /// The call for steps of many rows, where there is a kernel for such heads. `args` are those of `of`.
    pub(super) fn tiled_attention(
        &mut self,
        of: Attention,
        mut args: Vec<Arg>,
    ) -> Result<Option<Call>, Error> {
        // The first layer chooses for all of them.
        let rows = match self.plan.tile_rows {
            0 => tile_rows(of.group()),
            rows => rows,
        };
        let Some(tiled) = TiledAttention::new(of, rows, self.options.target) else {
            return Ok(None);
        };
        self.plan.tile_rows = rows;
        args.insert(args.len() - 1, Arg::Tiles);
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
