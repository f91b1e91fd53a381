//! What a section is packed from: its declaration, checked against the tensor that the model file has for it.

use crate::Error;
use lathe_ir::backend::{WeightData, WeightSource};
use lathe_ir::graph::RowOrder;
use lathe_ir::layout::{PANEL_ROWS, PackedLayout};
use lathe_ir::plan::{SectionDecl, SectionForm};
use std::ops::Range;

/// A section's size and form, which follow from its declaration alone.
pub(super) struct Form<'a> {
    pub(super) decl: &'a SectionDecl,
    /// For panels only.
    pub(super) layout: Option<PackedLayout>,
    pub(super) bytes: u64,
}

/// A section and the tensor that it is packed from.
pub(super) struct Source<'a> {
    pub(super) form: &'a Form<'a>,
    pub(super) data: WeightData<'a>,
}

impl<'a> Form<'a> {
    /// Of a declaration.
    pub(super) fn new(decl: &'a SectionDecl) -> Result<Form<'a>, Error> {
        let error = |what: String| Error::Pack {
            name: decl.weight.clone(),
            what,
        };
        let dims: Option<Vec<u64>> = decl.ty.dims.iter().map(|d| d.constant()).collect();
        let (rows, columns) = match dims.as_deref() {
            Some(&[rows, columns]) => (rows, columns),
            Some(&[n]) => (1, n),
            _ => return Err(error(format!("{} is neither a matrix nor a vector", decl.ty))),
        };
        let mut form = Form {
            decl,
            layout: None,
            bytes: 0,
        };
        match decl.form {
            SectionForm::Panels => {
                let layout =
                    PackedLayout::of(decl.ty.dtype, rows, columns).map_err(|e| error(e.to_string()))?;
                form.check_order(layout.rows)?;
                form.bytes = layout.bytes();
                form.layout = Some(layout);
            }
            SectionForm::Vector => {
                let n = rows.checked_mul(columns);
                let bytes = n.and_then(|n| n.checked_mul(4));
                form.bytes = bytes.ok_or_else(|| error("its size overflows".to_owned()))?;
                form.check_order(form.bytes / 4)?;
            }
        }
        Ok(form)
    }

    /// The error for this section.
    pub(super) fn error(&self, what: impl Into<String>) -> Error {
        Error::Pack {
            name: self.decl.weight.clone(),
            what: what.into(),
        }
    }

    fn check_order(&self, rows: u64) -> Result<(), Error> {
        let SectionDecl {
            order, heads, dims, ..
        } = *self.decl;
        if order == RowOrder::Natural {
            return Ok(());
        }
        let (heads, dims) = (u64::from(heads), u64::from(dims));
        let fits = heads > 0 && rows.is_multiple_of(heads) && dims <= rows / heads && dims.is_multiple_of(2);
        if fits {
            Ok(())
        } else {
            Err(self.error(format!("{rows} rows are no {heads} heads that rotate {dims}")))
        }
    }

    /// The row of the file that goes to row `packed` of `rows`.
    pub(super) fn file_row(&self, packed: usize, rows: usize) -> usize {
        self.decl
            .order
            .stored_row(packed, rows, self.decl.heads as usize, self.decl.dims as usize)
    }
}

impl<'a> Source<'a> {
    /// The tensor of a section.
    pub(super) fn new(form: &'a Form<'a>, weights: &'a dyn WeightSource) -> Result<Source<'a>, Error> {
        let decl = form.decl;
        let data = weights
            .weight(&decl.weight)
            .ok_or_else(|| Error::NoWeight(decl.weight.clone()))?;
        if !data.is(&decl.ty) {
            return Err(Error::WeightType {
                name: decl.weight.clone(),
                got: data.dtype,
                got_rows: data.rows,
                got_columns: data.columns,
                want: decl.ty.to_string(),
            });
        }
        data.check_bytes().map_err(|what| form.error(what))?;
        Ok(Source { form, data })
    }

    /// Tells `weights` which bytes were read for the last time, now that a chunk with these panels is made: their rows
    /// where they lie in the file as they are packed, else all of them after the `last` chunk.
    pub(super) fn release(&self, weights: &dyn WeightSource, panels: Range<u64>, last: bool) {
        let all = self.data.bytes.len() as u64;
        let natural = self.form.layout.is_some() && self.form.decl.order == RowOrder::Natural;
        let bytes = if natural {
            let row = all / self.data.rows.max(1);
            let end = |panel: u64| (panel * PANEL_ROWS as u64).min(self.data.rows) * row;
            end(panels.start)..end(panels.end)
        } else if last {
            0..all
        } else {
            return;
        };
        weights.release(&self.form.decl.weight, bytes);
    }
}
