//! `linear`: a launch of the products, and one of what happens to heads.

use super::{Lowering, call};
use crate::error::Error;
use crate::kernels::{
    HeadOut, HeadPart, Heads, Kernel, ParamType, Product, ProductPart, Step, TILE_ROWS, row_bytes,
};
use crate::plan::{Arg, Call, Extent, Form};
use lathe_ir::DType;
use lathe_ir::graph::{Epilogue, KvPart, Linear, Node, Output, Part, RowOrder};
use lathe_ir::id::Id;
use lathe_ir::plan::{Input, RopeDecl};
use lathe_ir::types::Sym;

/// A part on its way into two kernels.
struct Split {
    product: ProductPart,
    /// Arguments of the product, in the order of its parameters.
    product_args: Vec<Arg>,
    /// What the heads' kernel does, if it does anything, and its arguments.
    head: Option<(HeadPart, Vec<Arg>)>,
}

impl Lowering<'_> {
    pub(super) fn linear(&mut self, id: Node, linear: &Linear) -> Result<(), Error> {
        let node = &self.graph.nodes[id];
        let input = node.operands[0];
        let quantized = self.graph.ty(input).dtype == DType::Q8A;
        let rows = self.rows(id, input)?;
        let x = self.arg(id, input)?;
        let mut results = node.results.iter();
        let mut splits = Vec::new();
        for part in &linear.parts {
            let value = match part.output {
                Output::Kv { .. } => None,
                Output::F32 | Output::Q8A => results.next().copied(),
            };
            let out = match value {
                Some(value) => self.new_buffer(value, id)?,
                None => {
                    let n = self.matrix(id, part.weight)?.rows;
                    let most = u64::from(self.options.limits.bound(rows));
                    self.reserve("heads", row_bytes(ParamType::F32, n) * most)
                }
            };
            splits.push(self.part(id, part, Arg::Buffer(out))?);
        }
        if let Some(token) = results.next() {
            self.locations[token.index()] = Some(super::Location::Token);
        }
        let calls = self.products(&splits, x, quantized)?;
        self.launch(id, rows, calls);
        self.heads(id, rows, splits)
    }

    /// A call for each number of rows that there is a tile for.
    fn products(&mut self, splits: &[Split], x: Arg, quantized: bool) -> Result<Vec<Call>, Error> {
        let parts: Vec<ProductPart> = splits.iter().map(|s| s.product.clone()).collect();
        let mut args = vec![x];
        args.extend(splits.iter().flat_map(|s| s.product_args.iter().copied()));
        let mut calls = Vec::new();
        let mut least = 1;
        for rows in TILE_ROWS {
            let product = Product {
                rows,
                quantized,
                parts: parts.clone(),
            };
            let grid = [
                Extent::Rows(rows),
                Extent::Const(product.tiles()),
                Extent::Const(1),
            ];
            let kernel = self.kernel(Kernel::Product(product))?;
            let last = rows == TILE_ROWS[TILE_ROWS.len() - 1];
            calls.push(Call {
                least,
                most: if last { u32::MAX } else { rows },
                ..call(kernel, args.clone(), grid)
            });
            least = rows + 1;
        }
        Ok(calls)
    }

    fn heads(&mut self, id: Node, rows: Sym, splits: Vec<Split>) -> Result<(), Error> {
        let (parts, args): (Vec<HeadPart>, Vec<Vec<Arg>>) = splits.into_iter().filter_map(|s| s.head).unzip();
        if parts.is_empty() {
            return Ok(());
        }
        let stores = parts.iter().any(|p| p.out != HeadOut::InPlace);
        // Positions and rotations are those of the rows of the step.
        if rows != Sym::Tokens && (stores || parts.iter().any(|p| p.rope.is_some())) {
            return Err(self.unsupported(id, "heads of rows that were gathered".into()));
        }
        let heads = Heads {
            parts,
            blocks_per_seq: self.options.limits.blocks_per_seq(),
        };
        let grid = [Extent::Const(heads.blocks()), Extent::Rows(1), Extent::Const(1)];
        let mut all = Vec::new();
        if stores {
            let inputs = [Input::Positions, Input::Seqs, Input::BlockTables];
            all.extend(inputs.map(Arg::Input));
        }
        all.extend(args.concat());
        let kernel = self.kernel(Kernel::Heads(heads))?;
        self.launch(id, rows, vec![call(kernel, all, grid)]);
        Ok(())
    }

    /// Cuts a part's epilogue where the first step needs whole heads.
    fn part(&mut self, id: Node, part: &Part, out: Arg) -> Result<Split, Error> {
        let matrix = self.matrix(id, part.weight)?;
        if let Some(second) = part.gate_up
            && self.graph.weights[second].ty != self.graph.weights[part.weight].ty
        {
            return Err(self.unsupported(id, "two weights of different types".into()));
        }
        let (heads, dims) = (part.heads().unwrap_or(1), rope_dims(part));
        let head_dim = matrix.rows / heads;
        if part.order == RowOrder::RopeHalf && (dims > head_dim || !dims.is_multiple_of(2)) {
            return Err(self.unsupported(id, format!("{dims} elements of heads of {head_dim} rotate")));
        }
        let order = part.order;
        let mut product_args = vec![self.section(part.weight, Form::Matrix, order, heads, dims)];
        product_args.extend(
            part.gate_up
                .map(|w| self.section(w, Form::Matrix, RowOrder::Natural, 0, 0)),
        );
        let mut product = ProductPart {
            matrix,
            paired: part.gate_up.is_some(),
            steps: Vec::new(),
            quantize: part.output == Output::Q8A,
        };
        let mut head = HeadPart {
            heads,
            head_dim,
            norm: None,
            rope: None,
            steps: Vec::new(),
            out: HeadOut::InPlace,
        };
        let mut head_args = vec![out];
        if let Output::Kv {
            part: half, layer, ..
        } = part.output
        {
            head.out = self.stored(id, &head, half, layer)?;
            head_args.push(Arg::Kv(half, layer));
        }
        let mut whole_heads = false;
        for step in &part.epilogue {
            let step = match step {
                Epilogue::Heads(_) => continue,
                Epilogue::Bias(w) => {
                    product_args.push(self.section(*w, Form::Vector, order, heads, dims));
                    Step::Bias
                }
                Epilogue::Add(value) => {
                    product_args.push(self.arg(id, *value)?);
                    Step::Add
                }
                Epilogue::HeadNorm { weight, eps } => {
                    whole_heads = true;
                    head.norm = Some(*eps);
                    head_args.push(self.section(*weight, Form::Vector, RowOrder::Natural, 0, 0));
                    continue;
                }
                Epilogue::Rope { spec, factors, .. } => {
                    whole_heads = true;
                    head.rope = Some((spec.pairs, spec.dims));
                    let factors = factors.map(|w| self.graph.weights[w].name.clone());
                    head_args.push(self.rope_table(id, RopeDecl { spec: *spec, factors })?);
                    continue;
                }
                Epilogue::Scale(by) => Step::Scale(*by),
                Epilogue::Glu(func) => Step::Glu(*func),
                Epilogue::Act(func) => Step::Act(*func),
                Epilogue::Softcap(cap) => Step::Softcap(*cap),
            };
            match (whole_heads, step) {
                (true, Step::Bias | Step::Add | Step::Glu(_)) => {
                    return Err(self.unsupported(id, format!("{step:?} after a step of whole heads")));
                }
                (true, step) => head.steps.push(step),
                (false, step) => product.steps.push(step),
            }
        }
        let acts = whole_heads || head.out != HeadOut::InPlace;
        // Parameters of a product are weights, then vectors, then values: the order of the table of steps is that one.
        product_args.push(out);
        Ok(Split {
            product,
            product_args,
            head: acts.then_some((head, head_args)),
        })
    }

    fn stored(&mut self, id: Node, head: &HeadPart, part: KvPart, layer: u32) -> Result<HeadOut, Error> {
        let kv = self.kv_layer(id, layer, head.heads, head.head_dim)?;
        Ok(HeadOut::Kv {
            part,
            ty: kv.types.of(part),
        })
    }
}

/// Elements of a head that a part's rotation turns; 0 where there is none.
fn rope_dims(part: &Part) -> u32 {
    let dims = part.epilogue.iter().find_map(|step| match step {
        Epilogue::Rope { spec, .. } => Some(spec.dims),
        _ => None,
    });
    dims.unwrap_or(0)
}
