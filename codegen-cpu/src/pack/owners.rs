//! Which thread packs which panels where several NUMA nodes are in use: the one that multiplies with them.
//!
//! The units of a product are cut over threads by [`Split`], statically, and unit u has the panels from `u · panels /
//! units` on, so that the owner of a panel follows from the plan. Products in a step with calls whose units grow with the
//! rows are taken as they are with one row: decode is what reads weights from memory once a token. Weights whose rows are
//! gathered (an embedding) have no owner. Memory comes by the page, huge ones where the system has them, so that a page
//! on the border of two threads lies on the node of one of them.

use crate::partition::Split;
use lathe_ir::Id;
use lathe_ir::layout::PackedLayout;
use lathe_ir::plan::{Arg, Call, Plan, Section, SectionForm};

/// The owners of all panels of a plan.
pub(crate) struct Owners {
    /// For each section, where it has owners: the first panel of each thread, and the end.
    starts: Vec<Option<Vec<u64>>>,
}

impl Owners {
    /// The owners when `threads` threads run the plan.
    pub(crate) fn new(plan: &Plan, threads: usize) -> Owners {
        let mut owners = Owners {
            starts: vec![None; plan.sections.len()],
        };
        for step in &plan.steps {
            let units = |call: &Call| call.units.at(|_| 1);
            let split = Split::new(step.calls.iter().map(|c| (units(c), c.cost)), threads);
            let mut before = 0;
            for call in &step.calls {
                let count = units(call);
                if call.units.sym.is_none() && count > 0 {
                    let start = |thread| split.units(thread, before, count, call.cost).start;
                    owners.add(plan, call, &(0..threads).map(start).collect::<Vec<_>>());
                }
                before += u128::from(count) * u128::from(call.cost);
            }
        }
        owners
    }

    /// Gives the sections of a product their owners, by the first unit of each thread.
    fn add(&mut self, plan: &Plan, call: &Call, units: &[u64]) {
        let sections = call.args.iter().filter_map(|arg| match arg {
            Arg::Section(section) => Some(*section),
            _ => None,
        });
        for section in sections {
            let Some(panels) = panels(plan, section) else {
                continue;
            };
            let each = panels.div_ceil(call.units.at(|_| 1));
            let starts = units.iter().map(|&u| u.saturating_mul(each).min(panels));
            let starts = starts.chain([panels]).collect();
            self.starts[section.index()].get_or_insert(starts);
        }
    }

    /// The thread that owns a panel of the section of this number, and where its run of panels ends.
    pub(super) fn of(&self, section: usize, panel: u64) -> Option<(usize, u64)> {
        let starts = self.starts.get(section)?.as_ref()?;
        let thread = starts.partition_point(|&start| start <= panel).checked_sub(1)?;
        starts.get(thread + 1).map(|&end| (thread, end))
    }
}

/// Panels of a section that is a matrix.
fn panels(plan: &Plan, section: Section) -> Option<u64> {
    let decl = &plan.sections[section];
    if decl.form != SectionForm::Panels {
        return None;
    }
    let (rows, columns) = match &decl.ty.dims[..] {
        [rows, columns] => (rows.constant()?, columns.constant()?),
        _ => return None,
    };
    Some(PackedLayout::of(decl.ty.dtype, rows, columns).ok()?.panels())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lathe_ir::graph::RowOrder;
    use lathe_ir::plan::{Count, KernelId, SectionDecl, Step};
    use lathe_ir::types::{Sym, TensorType};
    use lathe_ir::{DType, Id};

    fn section(plan: &mut Plan, rows: u64) -> Section {
        plan.sections.push(SectionDecl {
            weight: "w".into(),
            ty: TensorType::matrix(rows, 32, DType::Q8_0),
            form: SectionForm::Panels,
            order: RowOrder::Natural,
            heads: 0,
            dims: 0,
        })
    }

    fn call(section: Section, units: Count, cost: u64) -> Call {
        Call {
            kernel: KernelId::new(0),
            args: vec![Arg::Section(section)],
            scalars: Vec::new(),
            units,
            cost,
        }
    }

    #[test]
    fn panels_belong_to_the_threads_that_run_their_units() {
        let mut plan = Plan::default();
        // 10 panels in 5 units, then 3 panels in 3 units that cost twice as much: 11 in all.
        let (a, b) = (section(&mut plan, 160), section(&mut plan, 48));
        let gathered = section(&mut plan, 64);
        let calls = vec![call(a, Count::constant(5), 1), call(b, Count::constant(3), 2)];
        plan.steps.push(Step {
            calls,
            label: String::new(),
        });
        let calls = vec![call(gathered, Count::per(Sym::Tokens, 1), 1)];
        plan.steps.push(Step {
            calls,
            label: String::new(),
        });
        let owners = Owners::new(&plan, 2);
        let of = |section: Section, panels: u64| -> Vec<Option<usize>> {
            (0..panels)
                .map(|p| Some(owners.of(section.index(), p)?.0))
                .collect()
        };
        let (zero, one) = (Some(0), Some(1));
        assert_eq!(of(a, 10), vec![zero; 10]);
        assert_eq!(of(b, 3), vec![zero, one, one]);
        assert_eq!(of(gathered, 4), vec![None; 4]);
        assert_eq!(owners.of(a.index(), 3), Some((0, 10)));
        // More threads than units: some own nothing, all panels have an owner.
        let many = Owners::new(&plan, 16);
        let mut panel = 0;
        while panel < 3 {
            let (thread, end) = many.of(b.index(), panel).unwrap();
            assert!(thread < 16 && end > panel);
            panel = end;
        }
    }
}
