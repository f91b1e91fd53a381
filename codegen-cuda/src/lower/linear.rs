//! `linear`: a launch of the products, and one of what happens to heads.

use super::{FEW_ROWS, Lowering, MANY_ROWS, Norm, call, takes_operands};
use crate::error::Error;
use crate::kernels::{
    DENSE_ROWS, Dense, HeadOut, HeadPart, Heads, Kernel, PRODUCT_ROWS, ParamType, Product, ProductPart, Step,
    row_bytes,
};
use crate::plan::{Arg, Call, Extent, Form};
use lathe_ir::graph::{Epilogue, KvPart, Linear, Node, Output, Part, RowOrder};
use lathe_ir::id::Id;
use lathe_ir::plan::{Input, RopeDecl};
use lathe_ir::types::Sym;

/// A part on its way into two kernels.
pub(super) struct Split {
    pub(super) product: ProductPart,
    /// Arguments of the product, in the order of its parameters.
    pub(super) product_args: Vec<Arg>,
    /// What the heads' kernel does, if it does anything, and its arguments.
    head: Option<(HeadPart, Vec<Arg>)>,
}

impl Lowering<'_> {
    pub(super) fn linear(&mut self, id: Node, linear: &Linear) -> Result<(), Error> {
        let node = &self.graph.nodes[id];
        let input = node.operands[0];
        let rows = self.rows(id, input)?;
        let mut results = node.results.iter();
        let mut splits = Vec::new();
        // Operands are made before anything else is reserved: the launch that makes them comes first.
        let tiled = |p: &Part| takes_operands(self.graph, p.weight);
        let (some, all) = (linear.parts.iter().any(tiled), linear.parts.iter().all(tiled));
        let operands = some.then(|| self.operands(id, input)).transpose()?;
        for part in &linear.parts {
            let value = match part.output {
                Output::Kv { .. } => None,
                Output::F32 | Output::Q8A => results.next().copied(),
            };
            let (out, as_operands) = match value {
                Some(value) => {
                    let as_operands = self.only_operands[value.index()] && part.heads().is_none();
                    (self.result(id, value, as_operands)?, as_operands)
                }
                None => {
                    let n = self.matrix(id, part.weight)?.rows;
                    let most = u64::from(self.options.limits.bound(rows));
                    let heads = self.reserve("heads", row_bytes(ParamType::F32, n) * most);
                    (Arg::Buffer(heads), false)
                }
            };
            let split = self.part(id, part, out)?;
            splits.push(Split {
                product: ProductPart {
                    operands: as_operands,
                    ..split.product
                },
                ..split
            });
        }
        if let Some(token) = results.next() {
            self.locations[token.index()] = Some(super::Location::Token);
        }
        let finished = self.finished_heads(rows, &splits);
        if let Some(operands) = operands {
            let (norm, heads) = (self.norms[input.index()], finished.as_ref());
            let mut calls = self.products(id, &splits, operands, norm, heads)?;
            let tiled: Vec<&Split> = splits.iter().filter(|s| s.product.matrix.tiled()).collect();
            let wide = self.wide_products(id, &tiled, operands, rows)?;
            let most = if wide.products.is_empty() {
                u32::MAX
            } else {
                MANY_ROWS
            };
            let streams = self.streams(&tiled, operands, rows, most)?;
            replace(&mut calls, streams.products);
            replace(&mut calls, wide.products);
            self.launch(id, rows, calls);
            let joins = [streams.joins, wide.joins].concat();
            if !joins.is_empty() {
                self.launch(id, rows, joins);
            }
        }
        if !all {
            let x = self.arg(id, input)?;
            let calls = self.dense(&splits, x)?;
            self.launch(id, rows, calls);
        }
        self.heads(id, rows, splits, finished.is_some())
    }

    /// Products with weights in tiles: a call for each number of rows that there is a kernel for. Up to [`FEW_ROWS`] rows
    /// are normed by the product, where `norm` says of what `x` is the norm, and what happens to heads is done by it, where
    /// `heads` says what.
    fn products(
        &mut self,
        id: Node,
        splits: &[Split],
        x: Arg,
        norm: Option<Norm>,
        heads: Option<&Heads>,
    ) -> Result<Vec<Call>, Error> {
        let (parts, args) = chosen(splits, true, vec![x]);
        let few_inputs = norm.map_or(vec![x], |norm| vec![norm.x, norm.weight]);
        let few_args = match heads {
            None => chosen(splits, true, few_inputs).1,
            Some(heads) => finishing_args(splits, heads, few_inputs),
        };
        let plain = Product {
            rows: FEW_ROWS,
            shared_bytes: self.options.target.shared_bytes,
            norm: None,
            parts,
            heads: None,
        };
        let few = Product {
            norm: norm.map(|norm| norm.eps),
            heads: heads.cloned(),
            ..plain.clone()
        };
        let calls = PRODUCT_ROWS.map(|rows| {
            let product = Product { rows, ..few.clone() };
            self.product(id, product, &few_args)
        });
        let mut calls = ranged(&PRODUCT_ROWS, calls.into_iter().collect::<Result<_, _>>()?);
        if norm.is_some() || heads.is_some() {
            calls.iter_mut().for_each(|c| c.most = c.most.min(FEW_ROWS));
            let more = self.product(id, plain, &args)?;
            calls.push(Call {
                least: FEW_ROWS + 1,
                ..more
            });
        }
        Ok(calls)
    }

    fn product(&mut self, id: Node, product: Product, args: &[Arg]) -> Result<Call, Error> {
        let units: u32 = product.parts.iter().map(|p| p.matrix.tiles()).sum();
        let blocks = Extent::Const(self.options.target.processors.min(units));
        let rows = product.rows;
        if !product.fits() {
            return Err(self.unsupported(id, "its weights do not fit shared memory".into()));
        }
        let kernel = self.kernel(Kernel::Product(product))?;
        let grid = [blocks, Extent::Rows(rows), Extent::Const(1)];
        Ok(call(kernel, args.to_vec(), grid))
    }

    /// Products with weights of f32.
    fn dense(&mut self, splits: &[Split], x: Arg) -> Result<Vec<Call>, Error> {
        let (parts, args) = chosen(splits, false, vec![x]);
        let calls = DENSE_ROWS.iter().map(|&rows| {
            let dense = Dense {
                rows,
                parts: parts.clone(),
            };
            let grid = [Extent::Rows(rows), Extent::Const(dense.tiles()), Extent::Const(1)];
            let kernel = self.kernel(Kernel::Dense(dense))?;
            Ok(call(kernel, args.clone(), grid))
        });
        Ok(ranged(&DENSE_ROWS, calls.collect::<Result<_, Error>>()?))
    }

    /// What the heads of all parts go through, where products of few rows can do it.
    fn finished_heads(&self, rows: Sym, splits: &[Split]) -> Option<Heads> {
        let parts = splits
            .iter()
            .map(|s| s.head.as_ref().map(|(part, _)| part.clone()));
        let heads = Heads {
            parts: parts.collect::<Option<_>>()?,
            blocks_per_seq: self.options.limits.blocks_per_seq(),
        };
        let tiled = splits
            .iter()
            .all(|s| s.product.matrix.tiled() && !s.product.paired);
        (tiled && rows == Sym::Tokens && heads.can_finish()).then_some(heads)
    }

    /// The launch of what happens to heads; of steps of few rows products may have done it.
    fn heads(&mut self, id: Node, rows: Sym, splits: Vec<Split>, finished: bool) -> Result<(), Error> {
        let (parts, args): (Vec<HeadPart>, Vec<Vec<Arg>>) = splits.into_iter().filter_map(|s| s.head).unzip();
        if parts.is_empty() {
            return Ok(());
        }
        let heads = Heads {
            parts,
            blocks_per_seq: self.options.limits.blocks_per_seq(),
        };
        // Positions and rotations are those of the rows of the step.
        if rows != Sym::Tokens && (heads.stores_kv() || heads.parts.iter().any(|p| p.rope.is_some())) {
            return Err(self.unsupported(id, "heads of rows that were gathered".into()));
        }
        let grid = [Extent::Const(heads.blocks()), Extent::Rows(1), Extent::Const(1)];
        let all = [place_args(&heads), args.concat()].concat();
        let kernel = self.kernel(Kernel::Heads(heads))?;
        let least = if finished { FEW_ROWS + 1 } else { 1 };
        let call = Call {
            least,
            ..call(kernel, all, grid)
        };
        self.launch(id, rows, vec![call]);
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
            operands: false,
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

/// The parts whose weights lie in tiles, or those of f32, and the arguments of their product, which begin with `args`.
fn chosen(splits: &[Split], tiled: bool, mut args: Vec<Arg>) -> (Vec<ProductPart>, Vec<Arg>) {
    let of_kind = || splits.iter().filter(|s| s.product.matrix.tiled() == tiled);
    args.extend(of_kind().flat_map(|s| &s.product_args));
    (of_kind().map(|s| s.product.clone()).collect(), args)
}

/// What says where in the cache rows go, where heads go there.
fn place_args(heads: &Heads) -> Vec<Arg> {
    match heads.stores_kv() {
        false => Vec::new(),
        true => [Input::Positions, Input::Seqs, Input::BlockTables]
            .map(Arg::Input)
            .into(),
    }
}

/// Arguments of products that do what happens to heads, which begin with `args`.
fn finishing_args(splits: &[Split], heads: &Heads, mut args: Vec<Arg>) -> Vec<Arg> {
    args.extend(place_args(heads));
    for split in splits {
        let (weights, head) = (&split.product_args, split.head.iter().flat_map(|(_, args)| args));
        args.extend(&weights[..weights.len() - 1]);
        // What is in the cache is nowhere else.
        let stored = split.head.iter().any(|(part, _)| part.out != HeadOut::InPlace);
        args.extend(head.skip(usize::from(stored)));
    }
    args
}

/// Puts calls in the place of those for as many rows.
fn replace(calls: &mut Vec<Call>, by: Vec<Call>) {
    let (Some(first), Some(last)) = (by.first(), by.last()) else {
        return;
    };
    let (least, most) = (first.least, last.most);
    let rest = calls.last().filter(|c| c.most > most).cloned();
    calls.retain(|c| c.least < least);
    calls.iter_mut().for_each(|c| c.most = c.most.min(least - 1));
    calls.extend(by);
    calls.extend(rest.map(|rest| Call {
        least: most + 1,
        ..rest
    }));
}

/// Calls for up to so many rows each, the last for all that are more.
fn ranged(counts: &[u32], mut calls: Vec<Call>) -> Vec<Call> {
    let mut least = 1;
    for (call, &rows) in calls.iter_mut().zip(counts) {
        (call.least, call.most) = (least, rows);
        least = rows + 1;
    }
    if let Some(last) = calls.last_mut() {
        last.most = u32::MAX;
    }
    calls
}

/// Elements of a head that a part's rotation turns; 0 where there is none.
fn rope_dims(part: &Part) -> u32 {
    let dims = part.epilogue.iter().find_map(|step| match step {
        Epilogue::Rope { spec, .. } => Some(spec.dims),
        _ => None,
    });
    dims.unwrap_or(0)
}
