//! Products of steps of some rows: the kernels for numbers of rows, and the launch that joins what their blocks leave.

use super::linear::Split;
use super::{FEW_ROWS, Lowering, Products, call};
use crate::error::Error;
use crate::kernels::{JoinProduct, Kernel, ProductPart, STREAM_ROWS, StreamProduct};
use crate::plan::{Arg, Call, Extent};
use lathe_ir::types::Sym;

/// Rows up to which weights are read again for each tile of rows, where no other kernel is for more.
const MOST_ROWS: u32 = 128;

impl Lowering<'_> {
    /// Calls for more than [`FEW_ROWS`] and up to `most` rows; none where no kernel is for such weights.
    pub(super) fn streams(
        &mut self,
        splits: &[&Split],
        x: Arg,
        rows: Sym,
        most: u32,
    ) -> Result<Products, Error> {
        let bound = self.options.limits.bound(rows);
        let parts: Vec<ProductPart> = splits.iter().map(|s| s.product.clone()).collect();
        let mut streams = Products::default();
        let kernels = match bound > FEW_ROWS && StreamProduct::can(&parts) {
            true => self.stream_kernels(&parts, bound.min(most)),
            false => Vec::new(),
        };
        let Some(bytes) = kernels.iter().map(StreamProduct::sum_bytes).max() else {
            return Ok(streams);
        };
        let sums = Arg::Buffer(self.reserve("sums", bytes));
        let (mut args, mut join_args) = (vec![x], vec![sums]);
        for split in splits {
            let (weights, others) = split.product_args.split_at(1 + usize::from(split.product.paired));
            args.extend(weights);
            join_args.extend(others);
        }
        args.push(sums);
        let mut end = FEW_ROWS;
        for stream in kernels {
            let (least, all) = (end + 1, stream.rows * stream.row_tiles);
            end = if all >= bound { u32::MAX } else { all.min(most) };
            let (rows, blocks) = (Extent::Rows(stream.rows), Extent::Const(stream.blocks()));
            let join = JoinProduct(stream.clone());
            let (join_blocks, join_rows) = (Extent::Const(join.blocks()), Extent::Rows(join.rows()));
            let product = self.kernel(Kernel::Stream(stream))?;
            let join = self.kernel(Kernel::Join(join))?;
            let ranged = |call| Call {
                least,
                most: end,
                ..call
            };
            let one = Extent::Const(1);
            let product = call(product, args.clone(), [blocks, rows, one]);
            let join = call(join, join_args.clone(), [join_blocks, join_rows, one]);
            streams.products.push(ranged(product));
            streams.joins.push(ranged(join));
        }
        Ok(streams)
    }

    /// The kernels that fit, for up to `most` rows or somewhat fewer.
    fn stream_kernels(&self, parts: &[ProductPart], most: u32) -> Vec<StreamProduct> {
        let target = self.options.target;
        let kernel = |rows: u32| StreamProduct {
            rows,
            row_tiles: 1,
            processors: target.processors,
            shared_bytes: target.shared_bytes,
            parts: parts.to_vec(),
        };
        let mut kernels: Vec<StreamProduct> = Vec::new();
        for stream in STREAM_ROWS.map(kernel).into_iter().filter(StreamProduct::fits) {
            if kernels.last().is_none_or(|last| last.rows < most) {
                kernels.push(stream);
            }
        }
        if let Some(last) = kernels.last_mut() {
            last.row_tiles = most.min(MOST_ROWS).div_ceil(last.rows);
        }
        kernels
    }
}
