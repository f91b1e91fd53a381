//! What aarch64 code keeps from one access of memory, or of codes, to the next.
//!
//! x86 addresses memory by base, index and displacement at once, and repeats a loaded word in all lanes on the way. An
//! aarch64 access with a displacement takes one register, and the repeating load no displacement at all. So where a
//! straight run of instructions uses a buffer and an index more than once, their sum is made once; and where it repeats
//! four neighbouring words one by one, as products do with activations, one load gets all four. Codes that have to be
//! signed for a dot product are made so once for all of its rows.

use super::lower::Lower;
use crate::target::Arch;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use lathe_ir::kernel::{Buf, Elem, Inst, KOp, Kernel, Mem, Region, Val};
use std::collections::HashMap;

/// Where memory is accessed, displacement aside.
type Place = (Buf, Val);

/// Words in the load that serves for several.
const WORDS: usize = 4;

/// What is to be kept in one region, and what has been so far.
#[derive(Default)]
pub(super) struct Reuse {
    /// How many accesses of the region use a place.
    uses: HashMap<Place, u32>,
    addresses: HashMap<Place, Value>,
    /// By the result of a repeating load: the first result that shares a load with it, and its word.
    shared: HashMap<Val, (Val, u8)>,
    /// The loads themselves, by the first result.
    loaded: HashMap<Val, Value>,
    /// Unsigned bytes as signed ones, by the vector that they come from.
    signed: HashMap<Value, Value>,
}

impl Reuse {
    /// What is worth keeping in the instructions of a region, nested ones aside.
    pub(super) fn of(kernel: &Kernel, region: &Region) -> Reuse {
        let mut reuse = Reuse::default();
        for inst in &region.insts {
            if let KOp::Load { buf, .. } | KOp::LoadSplat { buf, .. } | KOp::Store { buf, .. } = inst.op {
                *reuse.uses.entry((buf, inst.args[0])).or_default() += 1;
            }
        }
        // What makes no value is there to change memory, or is a hint; nested regions may do anything.
        let ends_run = |inst: &Inst| {
            let hint = matches!(inst.op, KOp::Prefetch { .. });
            !inst.regions.is_empty() || inst.results.is_empty() && !hint
        };
        for run in region.insts.split(ends_run) {
            reuse.share(kernel, run);
        }
        reuse
    }

    /// Groups the repeating loads of a run that read neighbouring words. All of them are executed or none is, so that
    /// the first may read for the others.
    fn share(&mut self, kernel: &Kernel, run: &[Inst]) {
        let mut places: HashMap<Place, Vec<(i32, Val)>> = HashMap::new();
        for inst in run {
            if let Some((buf, disp)) = repeated_bytes(kernel, inst) {
                let words = places.entry((buf, inst.args[0])).or_default();
                words.push((disp, inst.results[0]));
            }
        }
        let order: HashMap<Val, usize> = run
            .iter()
            .enumerate()
            .filter_map(|(i, inst)| Some((*inst.results.first()?, i)))
            .collect();
        for mut words in places.into_values() {
            words.sort_by_key(|&(disp, result)| (disp, order[&result]));
            let mut rest = &words[..];
            while rest.len() >= WORDS {
                let (group, after) = rest.split_at(WORDS);
                let start = i64::from(group[0].0);
                let neighbours = (0i64..).zip(group).all(|(i, w)| i64::from(w.0) == start + 4 * i);
                if !neighbours {
                    rest = &rest[1..];
                    continue;
                }
                let first = group.iter().map(|w| w.1).min_by_key(|result| order[result]);
                let first = first.expect("the group has words");
                let words = (0u8..)
                    .zip(group)
                    .map(|(word, &(_, result))| (result, (first, word)));
                self.shared.extend(words);
                rest = after;
            }
        }
    }
}

/// The buffer and displacement of an instruction that repeats four bytes in vectors.
fn repeated_bytes(kernel: &Kernel, inst: &Inst) -> Option<(Buf, i32)> {
    let KOp::LoadSplat { mem, buf, disp } = inst.op else {
        return None;
    };
    let ty = kernel.values[inst.results[0]];
    let bytes = matches!((mem, ty.elem), (Mem::I8, Elem::I8) | (Mem::U8, Elem::U8));
    (bytes && ty.lanes >= 4).then_some((buf, disp))
}

impl Lower<'_> {
    /// What the lowering of `region` starts with.
    pub(super) fn reuse_in(&self, region: &Region) -> Reuse {
        match self.features.arch() {
            Arch::X86_64 => Reuse::default(),
            Arch::Aarch64 => Reuse::of(self.kernel, region),
        }
    }

    /// The sum of a buffer and an index: kept where the region uses it again, else a new one, which the access that it
    /// is for takes into its addressing mode.
    pub(super) fn sum_of_address(&mut self, buf: Buf, index: Val, base: Value) -> Value {
        let place = (buf, index);
        if let Some(&address) = self.reuse.addresses.get(&place) {
            return address;
        }
        let index = self.one(index);
        let address = self.b.ins().iadd(base, index);
        if self.reuse.uses.get(&place).is_none_or(|&n| n < 2) {
            return address;
        }
        let address = self.pinned(types::I64, address);
        self.reuse.addresses.insert(place, address);
        address
    }

    /// Forgets sums, so that they take no registers in a region within this one.
    pub(super) fn forget_addresses(&mut self) {
        self.reuse.addresses.clear();
    }

    /// Four bytes, repeated, out of a load that serves for others too; `None` where `result` has a load of its own.
    pub(super) fn shared_word(&mut self, result: Val, address: Value, disp: i32) -> Option<Value> {
        let &(first, word) = self.reuse.shared.get(&result)?;
        let words = match self.reuse.loaded.get(&first) {
            Some(&words) => words,
            None => {
                let words = self.load_at(types::I8X16, address, disp - 4 * i32::from(word));
                self.reuse.loaded.insert(first, words);
                words
            }
        };
        let lanes = std::array::from_fn::<u8, 16, _>(|i| 4 * word + i as u8 % 4);
        let lanes = self.b.func.dfg.immediates.push(lanes[..].into());
        Some(self.b.ins().shuffle(words, words, lanes))
    }

    /// Bytes less 128, made once in a region.
    pub(super) fn signed_bytes(&mut self, bytes: Value, offset: Value) -> Value {
        if let Some(&signed) = self.reuse.signed.get(&bytes) {
            return signed;
        }
        let signed = self.b.ins().bxor(bytes, offset);
        self.reuse.signed.insert(bytes, signed);
        signed
    }

    /// The same value through a block parameter. Cranelift makes an instruction again for each user that could take it
    /// in, and counts users through the instructions between; a block parameter ends that, at no cost in code.
    pub(super) fn pinned(&mut self, ty: Type, value: Value) -> Value {
        let next = self.b.create_block();
        let result = self.b.append_block_param(next, ty);
        self.b.ins().jump(next, &[value.into()]);
        self.b.switch_to_block(next);
        result
    }
}
