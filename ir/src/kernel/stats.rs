//! What a unit of a kernel costs: operations, bytes moved, and how many vectors are alive at once. For reports only:
//! nothing is decided by it.

use super::*;
use std::collections::HashMap;
use std::ops::AddAssign;

/// Costs of one unit. Counts saturate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Float operations; a fused product counts as two, a reduction as one a lane.
    pub flops: u64,
    /// Operations on i32 and byte lanes; a lane of `dot4` counts as eight.
    pub int_ops: u64,
    /// Bytes loaded, counting an element that is repeated in every lane once.
    pub loaded: u64,
    /// Bytes stored.
    pub stored: u64,
    /// The most values of more than one lane that are alive at once.
    pub live_vectors: u32,
    /// Whether the counts are exact: every loop has constant bounds, and the arms of each `if` cost the same. Where they
    /// are not, a loop counts as one iteration, and an `if` as the larger of its arms, count by count.
    pub exact: bool,
}

/// Costs of one unit of a valid kernel.
pub fn stats(kernel: &Kernel) -> Stats {
    let mut counter = Counter {
        kernel,
        constants: HashMap::new(),
        exact: true,
    };
    let counts = counter.region(&kernel.body);
    let Counts {
        flops,
        int_ops,
        loaded,
        stored,
    } = counts;
    Stats {
        flops,
        int_ops,
        loaded,
        stored,
        live_vectors: Liveness::of(kernel),
        exact: counter.exact,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    flops: u64,
    int_ops: u64,
    loaded: u64,
    stored: u64,
}

impl Counts {
    fn join(self, other: Counts, f: impl Fn(u64, u64) -> u64) -> Counts {
        Counts {
            flops: f(self.flops, other.flops),
            int_ops: f(self.int_ops, other.int_ops),
            loaded: f(self.loaded, other.loaded),
            stored: f(self.stored, other.stored),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        *self = self.join(other, u64::saturating_add);
    }
}

struct Counter<'k> {
    kernel: &'k Kernel,
    constants: HashMap<Val, i64>,
    exact: bool,
}

impl Counter<'_> {
    fn region(&mut self, region: &Region) -> Counts {
        let mut counts = Counts::default();
        for inst in &region.insts {
            counts += self.inst(inst);
        }
        counts
    }

    fn inst(&mut self, inst: &Inst) -> Counts {
        match inst.op {
            KOp::IConst(n) => {
                self.constants.insert(inst.results[0], n);
                Counts::default()
            }
            KOp::For { step } => {
                let bounds = [0, 1].map(|i| self.constants.get(&inst.args[i]).copied());
                let body = self.region(&inst.regions[0]);
                let [Some(lo), Some(hi)] = bounds else {
                    self.exact = false;
                    return body;
                };
                let times = trips(lo, hi, step);
                body.join(Counts::default(), |n, _| n.saturating_mul(times))
            }
            KOp::If(_) => {
                let arms = [0, 1].map(|i| self.region(&inst.regions[i]));
                self.exact &= arms[0] == arms[1];
                arms[0].join(arms[1], u64::max)
            }
            op => self.operation(op, inst),
        }
    }

    fn operation(&self, op: KOp, inst: &Inst) -> Counts {
        let ty = |v: Option<&Val>| v.map_or(Ty::INDEX, |&v| self.kernel.values[v]);
        let (first, result) = (ty(inst.args.first()), ty(inst.results.first()));
        let size = |mem: Mem, lanes: u8| u64::from(mem.bytes()) * u64::from(lanes);
        let none = Counts::default();
        let work = |n: u64| match first.elem {
            Elem::F32 => Counts { flops: n, ..none },
            Elem::I64 => none,
            _ => Counts { int_ops: n, ..none },
        };
        let lanes = u64::from(first.lanes);
        match op {
            KOp::Load { mem, .. } => Counts {
                loaded: size(mem, result.lanes),
                ..none
            },
            KOp::LoadSplat { mem, .. } => Counts {
                loaded: size(mem, if result.elem.is_byte() { 4 } else { 1 }),
                ..none
            },
            KOp::Store { mem, .. } => Counts {
                stored: size(mem, ty(inst.args.get(1)).lanes),
                ..none
            },
            KOp::TileDot(t) => {
                let [a, w, out] = t.spans().map(u64::from);
                Counts {
                    int_ops: 2 * u64::from(t.k) * out / 4,
                    loaded: a.min(u64::from(t.rows) * u64::from(t.k)) + w,
                    stored: out,
                    ..none
                }
            }
            KOp::FConst(_) | KOp::Iota | KOp::Prefetch { .. } => none,
            KOp::Bitcast | KOp::Splat | KOp::Extract(_) => none,
            KOp::Fma | KOp::Fnma => work(2 * lanes),
            KOp::Dot4 { .. } => work(8 * lanes),
            _ => work(lanes),
        }
    }
}

/// How many iterations a loop has.
fn trips(lo: i64, hi: i64, step: i64) -> u64 {
    if hi <= lo {
        0
    } else {
        hi.abs_diff(lo).div_ceil(step.unsigned_abs().max(1))
    }
}

/// Points in the text at which values are defined and last used.
struct Liveness<'k> {
    kernel: &'k Kernel,
    point: u32,
    /// First and last point of each value; a value is alive after the first, up to the last.
    spans: HashMap<Val, (u32, u32)>,
}

impl Liveness<'_> {
    fn of(kernel: &Kernel) -> u32 {
        let mut live = Liveness {
            kernel,
            point: 0,
            spans: HashMap::new(),
        };
        live.region(&kernel.body);
        let mut changes: Vec<(u32, i32)> = Vec::new();
        for (_, (first, last)) in live.spans {
            if first < last {
                changes.extend([(first, 1), (last, -1)]);
            }
        }
        // Ends sort before starts: an operand's place may serve for the result.
        changes.sort_unstable();
        let running = changes.iter().scan(0, |alive, (_, change)| {
            *alive += change;
            Some(*alive)
        });
        running.max().unwrap_or(0).unsigned_abs()
    }

    fn define(&mut self, v: Val) {
        if self.kernel.values[v].lanes > 1 {
            self.spans.insert(v, (self.point, self.point));
        }
    }

    fn used(&mut self, v: Val) {
        if let Some((_, last)) = self.spans.get_mut(&v) {
            *last = self.point;
        }
    }

    fn region(&mut self, region: &Region) {
        region.params.iter().for_each(|&p| self.define(p));
        for inst in &region.insts {
            self.point += 1;
            inst.args.iter().for_each(|&a| self.used(a));
            let start = self.point;
            inst.regions.iter().for_each(|r| self.region(r));
            if let KOp::For { .. } = inst.op {
                self.point += 1;
                self.keep(start);
            }
            inst.results.iter().for_each(|&r| self.define(r));
        }
        self.point += 1;
        region.yields.iter().for_each(|&y| self.used(y));
    }

    /// What a loop that began at `start` uses from around it lives until the loop ends.
    fn keep(&mut self, start: u32) {
        for (first, last) in self.spans.values_mut() {
            if *first < start && *last > start {
                *last = self.point;
            }
        }
    }
}
