//! Products of steps of many rows: weights as panels, and the kernel for each number of rows.

use super::linear::Split;
use super::{Lowering, MANY_ROWS, PanelsIn, call};
use crate::error::Error;
use crate::kernels::{Core, Kernel, ProductPart, Unpack, WIDE_ROWS, WideProduct};
use crate::plan::{Arg, Call, Extent, Form, SectionDecl};
use lathe_ir::graph::Node;
use lathe_ir::types::Sym;

impl Lowering<'_> {
    /// Calls for more than [`MANY_ROWS`] rows; none where no kernel fits. Launches that make panels come first.
    pub(super) fn wide_products(
        &mut self,
        id: Node,
        splits: &[&Split],
        x: Arg,
        rows: Sym,
    ) -> Result<Vec<Call>, Error> {
        let most = self.options.limits.bound(rows);
        let parts: Vec<ProductPart> = splits.iter().map(|s| s.product.clone()).collect();
        let forms = self.forms(&parts);
        let Some(place) = self.options.panels else {
            return Ok(Vec::new());
        };
        if rows != Sym::Tokens || most <= MANY_ROWS || forms.is_empty() {
            return Ok(Vec::new());
        }
        let mut args = vec![x];
        for split in splits {
            let weights = 1 + usize::from(split.product.paired);
            let (weights, others) = split.product_args.split_at(weights);
            args.push(self.panels(id, &split.product, weights, place)?);
            args.extend(others);
        }
        let mut calls: Vec<Call> = Vec::new();
        for first in (0..most).step_by(WIDE_ROWS as usize) {
            let (least, end) = (first.max(MANY_ROWS) + 1, first + WIDE_ROWS);
            let kernel = Kernel::Wide(self.fastest(&forms, end / WIDE_ROWS).clone());
            let kernel = self.kernel(kernel)?;
            match calls.last_mut() {
                Some(last) if last.kernel == kernel => last.most = end,
                _ => calls.push(Call {
                    least,
                    most: end,
                    ..call(kernel, args.clone(), self.wide_grid())
                }),
            }
        }
        if let Some(last) = calls.last_mut() {
            last.most = u32::MAX;
        }
        Ok(calls)
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
            shared_bytes: target.shared_bytes,
            parts: parts.to_vec(),
        });
        forms.filter(WideProduct::fits).collect()
    }

    /// The kernel that needs the least time for so many tiles of rows: rounds of all blocks, each as long as its tile is wide,
    /// and longer by what it takes to bring the rows and to finish. (On an H100, a tile of 128 columns takes 0.64 to 0.67 of
    /// the time of one of 256.)
    fn fastest<'f>(&self, forms: &'f [WideProduct], tall: u32) -> &'f WideProduct {
        let time = |form: &&WideProduct| {
            let rounds = (form.tiles() * tall).div_ceil(self.options.target.processors);
            rounds * (form.columns + 112)
        };
        forms.iter().min_by_key(time).unwrap_or(&forms[0])
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
