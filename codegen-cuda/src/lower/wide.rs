//! Products of steps of many rows: weights as panels, and the kernel for each number of rows.

use super::linear::Split;
use super::{Lowering, MANY_ROWS, PanelsIn, Products, call};
use crate::error::Error;
use crate::kernels::{Core, JoinWide, Kernel, ProductPart, Unpack, WIDE_ROWS, WIDE_SPLIT_ROWS, WideProduct};
use crate::plan::{Arg, Call, Extent, Form, SectionDecl};
use lathe_ir::graph::Node;
use lathe_ir::types::Sym;

/// What a tile of a step of 64 elements takes on an H100, per column (and for 112 more, which bring the rows), is the unit of
/// time here: 2.1 ns.
const BRING_ROWS: u32 = 112;
/// What a launch that joins takes.
const JOIN: u32 = 2900;
/// Bytes that are written and read again in a unit of time.
const JOIN_BYTES: u64 = 5200;
/// Numbers of blocks that may share a tile.
const SPLITS: [u32; 6] = [1, 2, 3, 4, 6, 8];

impl Lowering<'_> {
    /// Calls for more than [`MANY_ROWS`] rows, and those that join what they leave; none where no kernel fits. Launches that
    /// make panels come first.
    pub(super) fn wide_products(
        &mut self,
        id: Node,
        splits: &[&Split],
        x: Arg,
        rows: Sym,
    ) -> Result<Products, Error> {
        let most = self.options.limits.bound(rows);
        let parts: Vec<ProductPart> = splits.iter().map(|s| s.product.clone()).collect();
        let forms = self.forms(&parts);
        let mut made = Products::default();
        let Some(place) = self.options.panels else {
            return Ok(made);
        };
        if rows != Sym::Tokens || most <= MANY_ROWS || forms.is_empty() {
            return Ok(made);
        }
        let (mut args, mut shared_args) = (vec![x], vec![x]);
        let mut join_args = Vec::new();
        for split in splits {
            let weights = 1 + usize::from(split.product.paired);
            let (weights, others) = split.product_args.split_at(weights);
            let panels = self.panels(id, &split.product, weights, place)?;
            args.push(panels);
            args.extend(others);
            shared_args.push(panels);
            join_args.extend(others);
        }
        for first in (0..most).step_by(WIDE_ROWS as usize) {
            let (least, end) = (first.max(MANY_ROWS) + 1, first + WIDE_ROWS);
            let form = self.fastest(&forms, end / WIDE_ROWS);
            let kernel = self.kernel(Kernel::Wide(form.clone()))?;
            if let Some(last) = made.products.last_mut().filter(|last| last.kernel == kernel) {
                last.most = end;
                let shared = form.splits > 1;
                made.joins
                    .iter_mut()
                    .filter(|_| shared)
                    .for_each(|join| join.most = end);
                continue;
            }
            let ranged = |call| Call {
                least,
                most: end,
                ..call
            };
            let mut call_args = args.clone();
            if form.splits > 1 {
                let sums = Arg::Buffer(self.reserve("sums", form.sum_bytes()));
                call_args = [&shared_args[..], &[sums]].concat();
                let join = JoinWide(form);
                let grid = [Extent::Const(join.blocks()), Extent::Rows(1), Extent::Const(1)];
                let join = self.kernel(Kernel::JoinWide(join))?;
                let all = [&[sums], &join_args[..]].concat();
                made.joins.push(ranged(call(join, all, grid)));
            }
            let product = call(kernel, call_args, self.wide_grid());
            made.products.push(ranged(product));
        }
        if let Some(last) = made.products.last_mut() {
            last.most = u32::MAX;
        }
        if let (Some(join), 1) = (made.joins.last_mut(), made.products.len()) {
            join.most = u32::MAX;
        }
        Ok(made)
    }

    fn wide_grid(&self) -> [Extent; 3] {
        [
            Extent::Const(self.options.target.processors),
            Extent::Const(1),
            Extent::Const(1),
        ]
    }

    /// The kernels that fit.
    fn forms(&self, parts: &[ProductPart]) -> Vec<WideProduct> {
        let target = self.options.target;
        let all: &[_] = match target.wgmma {
            true => &[(Core::Wgmma, 256), (Core::Wgmma, 128)],
            false => &[(Core::Mma, 128)],
        };
        let forms = all.iter().map(|&(core, columns)| WideProduct {
            core,
            columns,
            splits: 1,
            shared_bytes: target.shared_bytes,
            parts: parts.to_vec(),
        });
        forms.filter(WideProduct::fits).collect()
    }

    /// The kernel that needs the least time for so many tiles of rows: rounds of all blocks, each as long as its tile is wide,
    /// and longer by what it takes to bring the rows and to finish. (On an H100, a tile of 128 columns takes 0.64 to 0.67 of
    /// the time of one of 256.) Of steps up to [`WIDE_SPLIT_ROWS`] rows blocks may share elements, all in the same way: so
    /// their sums have the same bits.
    fn fastest(&self, forms: &[WideProduct], tall: u32) -> WideProduct {
        let few = tall * WIDE_ROWS <= WIDE_SPLIT_ROWS;
        let tall = if few { 1 } else { tall };
        let splits = SPLITS.into_iter().filter(|&splits| splits == 1 || few);
        let all = splits.flat_map(|splits| {
            forms.iter().map(move |form| WideProduct {
                splits,
                ..form.clone()
            })
        });
        let fits = |form: &WideProduct| form.splits <= form.steps();
        let best = all.filter(fits).min_by_key(|form| self.time(form, tall));
        best.unwrap_or_else(|| forms[0].clone())
    }

    /// What a product of so many tiles of rows takes.
    fn time(&self, form: &WideProduct, tall: u32) -> u64 {
        let rounds = (form.tiles() * tall * form.splits).div_ceil(self.options.target.processors);
        let tile = u64::from(form.columns + BRING_ROWS) * u64::from(form.steps().div_ceil(form.splits));
        let join = match form.splits {
            1 => 0,
            _ => {
                u64::from(JOIN)
                    + 2 * form.sum_bytes() * u64::from(tall * WIDE_ROWS)
                        / u64::from(WIDE_SPLIT_ROWS)
                        / JOIN_BYTES
            }
        };
        u64::from(rounds) * tile + join
    }

    /// A part's weights as panels.
    fn panels(
        &mut self,
        id: Node,
        part: &ProductPart,
        weights: &[Arg],
        place: PanelsIn,
    ) -> Result<Arg, Error> {
        let Some(Arg::Section(first)) = weights.first() else {
            return Err(Error::Graph("a product has no weights".into()));
        };
        let unpack = Unpack {
            matrix: part.matrix,
            paired: part.paired,
        };
        let out = match place {
            PanelsIn::Memory => Arg::Section(self.plan.sections.push(SectionDecl {
                form: Form::Panels { paired: part.paired },
                ..self.plan.sections[*first].clone()
            })),
            PanelsIn::Arena => Arg::Buffer(self.reserve("panels", unpack.panels().bytes())),
        };
        let grid = [
            Extent::Const(unpack.blocks()),
            Extent::Const(weights.len() as u32),
            Extent::Const(1),
        ];
        let args = weights.iter().copied().chain([out]).collect();
        let made = Call {
            least: MANY_ROWS + 1,
            ..call(self.kernel(Kernel::Unpack(unpack))?, args, grid)
        };
        match place {
            PanelsIn::Memory => self.plan.unpacks.push(made),
            PanelsIn::Arena => self.launch(id, Sym::Tokens, vec![made]),
        }
        Ok(out)
    }
}
