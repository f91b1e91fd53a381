//! Register allocation: virtual registers that copies connect share a register where their lives do not overlap; then
//! each gets a machine register, in order of the start of its life, or makes way for more frequent ones into the frame.
//!
//! A spilled register is read from the frame (or from the constants) by the instruction itself where it can, else
//! through a short-lived register; then everything is allocated anew. The micro-kernels that matter fit: nothing spills
//! in their loops.

use super::isa::{Level, VOp};
use super::live::{self, Range};
use super::mir::*;

/// Machine registers by virtual register: numbers in their class.
pub(super) struct Allocation {
    /// By virtual register.
    pub(super) registers: Vec<u8>,
    /// Instructions that move values between registers and the frame, for people.
    pub(super) spills: usize,
}

/// Numbers of the general registers that are given out. rsp is the frame; rax and rdx belong to `MulHigh` and `Div`.
pub(super) const GPRS: [u8; 13] = [1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Rounds of spilling, far more than any kernel has taken.
const MAX_ROUNDS: usize = 24;

/// Virtual registers that share a machine register.
struct Group {
    class: Class,
    ranges: Vec<Range>,
    members: Vec<VReg>,
    /// Reads and writes weighted by loop depth, per position of its life.
    density: f32,
    short: bool,
}

/// Allocates registers, rewriting `function` where some do not fit. `None` where it does not end, which is a bug.
pub(super) fn allocate(function: &mut Function, level: Level) -> Option<Allocation> {
    for _ in 0..MAX_ROUNDS {
        let (groups, of) = groups(function);
        let assigned = assign(&groups, level);
        let spilled: Vec<VReg> = groups
            .iter()
            .zip(&assigned)
            .filter(|(_, a)| a.is_none())
            .flat_map(|(g, _)| g.members.iter().copied())
            .collect();
        if spilled.is_empty() {
            let registers = of.iter().map(|&g| assigned[g].unwrap_or(0)).collect();
            let spills = function
                .code
                .iter()
                .filter(|i| matches!(i.op, MOp::Spill | MOp::Reload))
                .count();
            return Some(Allocation { registers, spills });
        }
        let stuck = groups.iter().zip(&assigned).any(|(g, a)| a.is_none() && g.short);
        if stuck {
            return None;
        }
        let shared: Vec<usize> = spilled.iter().map(|&r| of[r as usize]).collect();
        spill(function, level, &spilled, &shared);
    }
    None
}

/// Joins registers that copies connect, innermost copies first; also says which group each register is in.
fn groups(function: &Function) -> (Vec<Group>, Vec<usize>) {
    let mut ranges = live::ranges(function);
    let mut parent: Vec<usize> = (0..ranges.len()).collect();
    let mut copies: Vec<&MInst> = function.code.iter().filter(|i| i.op == MOp::Mov).collect();
    copies.sort_by_key(|i| std::cmp::Reverse(i.depth));
    for copy in copies {
        let (Some(dst), Src::Reg(src)) = (copy.dst, copy.src[0]) else {
            continue;
        };
        let (a, b) = (root(&mut parent, dst as usize), root(&mut parent, src as usize));
        // A constant stays apart, so that it can be read from memory where it finds no register.
        let constant = function.vregs[src as usize].constant.is_some();
        if a != b && !constant && !live::overlap(&ranges[a], &ranges[b]) {
            ranges[a] = live::merge(&ranges[a], &ranges[b]);
            ranges[b] = Vec::new();
            parent[b] = a;
        }
    }
    let mut cost = vec![0.0f32; ranges.len()];
    for inst in &function.code {
        let weight = 8f32.powi(i32::from(inst.depth));
        for r in inst.uses().chain(inst.dst) {
            cost[root(&mut parent, r as usize)] += weight;
        }
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut number = vec![usize::MAX; ranges.len()];
    let mut of = Vec::with_capacity(ranges.len());
    for r in 0..ranges.len() {
        let top = root(&mut parent, r);
        if number[top] == usize::MAX {
            number[top] = groups.len();
            let length: u32 = ranges[top].iter().map(|r| r.1 - r.0).sum();
            groups.push(Group {
                class: function.vregs[r].class,
                ranges: std::mem::take(&mut ranges[top]),
                members: Vec::new(),
                density: cost[top] / length.max(1) as f32,
                short: false,
            });
        }
        let group = &mut groups[number[top]];
        group.members.push(r as VReg);
        if function.vregs[r].short {
            (group.short, group.density) = (true, f32::INFINITY);
        }
        of.push(number[top]);
    }
    (groups, of)
}

fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

/// One machine register: the ranges it is taken in, and by whom.
#[derive(Default, Clone)]
struct Taken(std::collections::BTreeMap<u32, (u32, usize)>);

impl Taken {
    /// The groups that hold the register somewhere in `ranges`.
    fn conflicts(&self, ranges: &[Range], found: &mut Vec<usize>) {
        for &(start, end) in ranges {
            let before = self.0.range(..start).next_back().filter(|(_, v)| v.0 > start);
            let within = self.0.range(start..end);
            for (_, &(_, group)) in before.into_iter().chain(within) {
                if !found.contains(&group) {
                    found.push(group);
                }
            }
        }
    }

    fn take(&mut self, ranges: &[Range], group: usize) {
        for &(start, end) in ranges {
            self.0.insert(start, (end, group));
        }
    }

    fn free(&mut self, ranges: &[Range]) {
        for (start, _) in ranges {
            self.0.remove(start);
        }
    }
}

/// A register for each group, or none where it is to be spilled. Groups that no instruction touches get the first.
fn assign(groups: &[Group], level: Level) -> Vec<Option<u8>> {
    let mut order: Vec<usize> = (0..groups.len())
        .filter(|&g| !groups[g].ranges.is_empty())
        .collect();
    order.sort_by_key(|&g| groups[g].ranges[0].0);
    let mut assigned: Vec<Option<u8>> = groups.iter().map(|g| g.ranges.is_empty().then_some(0)).collect();
    let mut taken = [
        vec![Taken::default(); GPRS.len()],
        vec![Taken::default(); level.registers()],
    ];
    for g in order {
        let group = &groups[g];
        let file = &mut taken[usize::from(group.class == Class::Vec)];
        let mut best: Option<(f32, usize, Vec<usize>)> = None;
        for (register, held) in file.iter().enumerate() {
            let mut conflicts = Vec::new();
            held.conflicts(&group.ranges, &mut conflicts);
            let worst = conflicts.iter().map(|&c| groups[c].density).fold(0.0, f32::max);
            if best.as_ref().is_none_or(|b| worst < b.0) {
                let none = conflicts.is_empty();
                best = Some((worst, register, conflicts));
                if none {
                    break;
                }
            }
        }
        let Some((worst, register, conflicts)) = best else {
            continue;
        };
        if !conflicts.is_empty() && worst >= group.density {
            continue;
        }
        for c in conflicts {
            file[register].free(&groups[c].ranges);
            assigned[c] = None;
        }
        file[register].take(&group.ranges, g);
        assigned[g] = Some(register as u8);
    }
    assigned
}

/// Moves the registers `spilled` to the frame; `shared` names the group of each: a group has one place.
fn spill(function: &mut Function, level: Level, spilled: &[VReg], shared: &[usize]) {
    let mut place: Vec<Option<Src>> = vec![None; function.vregs.len()];
    let mut slots: std::collections::HashMap<usize, Slot> = std::collections::HashMap::new();
    for (&r, &group) in spilled.iter().zip(shared) {
        let info = function.vregs[r as usize];
        place[r as usize] = Some(match info.constant {
            Some(Constant::Splat(bits)) => Src::PoolSplat(function.pool.place32(bits)),
            Some(Constant::Full(offset)) => Src::Pool(offset),
            None => {
                let bytes = if info.class == Class::Gpr {
                    8
                } else {
                    level.bytes()
                };
                Src::Slot(*slots.entry(group).or_insert_with(|| {
                    function.slots.push(bytes);
                    function.slots.len() as Slot - 1
                }))
            }
        });
    }
    let code = std::mem::take(&mut function.code);
    for mut inst in code {
        let constant = inst
            .dst
            .is_some_and(|d| place[d as usize].is_some() && function.vregs[d as usize].constant.is_some());
        if constant {
            continue;
        }
        if inst.op == MOp::Mov && copy(function, &place, &inst) {
            continue;
        }
        fold(function, level, &place, &mut inst);
        let mut carried: Vec<(VReg, VReg)> = Vec::new();
        let used: Vec<VReg> = inst.uses().filter(|&r| place[r as usize].is_some()).collect();
        for r in used {
            if !carried.iter().any(|c| c.0 == r) {
                let new = short(function, r);
                carried.push((r, new));
                reload(function, new, place[r as usize].unwrap_or(Src::None), inst.depth);
            }
        }
        let written = inst.dst.filter(|&d| place[d as usize].is_some());
        if let Some(d) = written
            && !carried.iter().any(|c| c.0 == d)
        {
            let new = short(function, d);
            carried.push((d, new));
        }
        inst.rename(|r| carried.iter().find(|c| c.0 == r).map_or(r, |c| c.1));
        let value = inst.dst;
        function.code.push(inst);
        if let (Some(d), Some(value)) = (written, value) {
            store(
                function,
                value,
                place[d as usize].unwrap_or(Src::None),
                inst.depth,
            );
        }
    }
}

/// Rewrites a copy from or to the frame as one access. Returns whether it did.
fn copy(function: &mut Function, place: &[Option<Src>], inst: &MInst) -> bool {
    let (Some(dst), Src::Reg(src)) = (inst.dst, inst.src[0]) else {
        return false;
    };
    match (place[dst as usize], place[src as usize]) {
        (None, Some(from)) => reload(function, dst, from, inst.depth),
        (Some(to), None) => store(function, src, to, inst.depth),
        // Both in one place: the copy is done.
        (Some(to), Some(from)) if to == from => {}
        _ => return false,
    }
    true
}

fn store(function: &mut Function, value: VReg, to: Src, depth: u8) {
    function.code.push(MInst {
        op: MOp::Spill,
        width: function.vregs[value as usize].width,
        dst: None,
        tied: false,
        src: [Src::Reg(value), to, Src::None],
        imm: 0,
        depth,
    });
}

fn short(function: &mut Function, like: VReg) -> VReg {
    let info = function.vregs[like as usize];
    function.vregs.push(VRegInfo {
        constant: None,
        short: true,
        ..info
    });
    function.vregs.len() as VReg - 1
}

fn reload(function: &mut Function, dst: VReg, from: Src, depth: u8) {
    let info = function.vregs[dst as usize];
    let zero = |at: PoolOffset| function.pool.bytes[at as usize..][..4] == [0; 4];
    let op = match from {
        Src::PoolSplat(at) if zero(at) => MOp::Zero,
        Src::PoolSplat(_) => MOp::V(VOp::BroadcastD),
        Src::Pool(_) => MOp::V(VOp::MovUps),
        _ => MOp::Reload,
    };
    function.code.push(MInst {
        op,
        width: info.width,
        dst: Some(dst),
        tied: false,
        src: [
            if op == MOp::Zero { Src::None } else { from },
            Src::None,
            Src::None,
        ],
        imm: 0,
        depth,
    });
}

/// Lets an instruction read one spilled source from memory itself, where it can.
fn fold(function: &mut Function, level: Level, place: &[Option<Src>], inst: &mut MInst) {
    let Some(at) = inst.memory_source() else { return };
    let spilled = |src: Src| match src {
        Src::Reg(r) => place[r as usize],
        _ => None,
    };
    let plain = |src: Src| matches!(src, Src::Reg(r) if place[r as usize].is_none());
    if at == 1 && inst.commutes() && spilled(inst.src[0]).is_some() && plain(inst.src[1]) {
        inst.src.swap(0, 1);
    }
    let Some(from) = spilled(inst.src[at]) else { return };
    // The same register twice: reload it once.
    if inst.uses().filter(|&r| Src::Reg(r) == inst.src[at]).count() > 1 {
        return;
    }
    let MOp::V(op) = inst.op else { return };
    let bits = match inst.src[at] {
        Src::Reg(r) => function.vregs[r as usize].constant,
        _ => None,
    };
    inst.src[at] = match (from, bits) {
        (Src::PoolSplat(_), _) if level == Level::Avx512 && op.broadcasts() => from,
        (Src::PoolSplat(_), Some(Constant::Splat(bits))) if level == Level::Avx2 => {
            Src::Pool(function.pool.place_lanes(bits, inst.width.bytes()))
        }
        (Src::PoolSplat(_), _) => return,
        (Src::Pool(_) | Src::Slot(_), _) => from,
        _ => return,
    };
}
