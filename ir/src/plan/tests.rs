//! Each rule of the verifier, broken once in a plan that is valid otherwise.

use super::verify::{PlanError, verify};
use super::*;
use crate::DType;
use crate::graph::RopePairs;
use crate::id::Id;
use crate::kernel::builder::Addr;
use crate::kernel::{Access, KernelBuilder, Mem, Ty};
use crate::layout::KvType;

/// A kernel that stores into its last buffer and loads from the others.
pub(super) fn kernel(name: &str, bufs: &[(&str, Access)], scalars: &[&str]) -> Kernel {
    let mut b = KernelBuilder::new(name);
    let ids: Vec<_> = bufs
        .iter()
        .map(|(name, access)| (b.buf(*name, *access), *access))
        .collect();
    for name in scalars {
        b.scalar(*name);
    }
    let unit = b.unit();
    let index = b.shl(unit, 4);
    let mut sum = b.fconst(0.5, 4);
    for (buf, access) in &ids {
        let at = Addr {
            buf: *buf,
            index,
            disp: 16,
        };
        if *access != Access::Out {
            let x = b.load(Mem::F32, at, Ty::f32(4));
            sum = b.add(sum, x);
        }
        if *access != Access::In {
            b.store(Mem::F32, at, sum);
        }
    }
    b.finish()
}

fn call(kernel: KernelId, args: Vec<Arg>, units: Count) -> Call {
    Call {
        kernel,
        args,
        scalars: Vec::new(),
        units,
        cost: 7,
    }
}

/// A layer in small: embed, two products side by side with rotation, attention, logits. `b0` and `b2` share bytes.
pub(super) fn small() -> Plan {
    use Access::{In, Out};
    let mut plan = Plan {
        name: "small \"one\"".into(),
        vocab: 32,
        arena_bytes: 2048,
        ..Plan::default()
    };
    plan.limits = Limits {
        tokens: 4,
        outputs: 2,
        seqs: 1,
        ctx: 64,
    };
    plan.kv_layers.push(KvLayer {
        kv_heads: 1,
        head_dim: 16,
        types: KvTypes {
            k: KvType::F16,
            v: KvType::Q8_0,
        },
        window: 0,
    });
    let section = |weight: &str, ty, form, order, heads, dims| SectionDecl {
        weight: weight.into(),
        ty,
        form,
        order,
        heads,
        dims,
    };
    let q4 = TensorType::matrix(32u64, 32, DType::Q4_1);
    let w = section("blk.0.attn_q", q4, SectionForm::Panels, RowOrder::RopeHalf, 2, 16);
    let bias = TensorType::new([32u64], DType::F32);
    let bias = section("odd name", bias, SectionForm::Vector, RowOrder::Natural, 0, 0);
    let sections = [w, bias].map(|s| Arg::Section(plan.sections.push(s)));
    let spec = RopeSpec {
        pairs: RopePairs::Half,
        dims: 16,
        base: 1e5,
        freq_scale: 0.1,
        magnitude: 1.0,
    };
    let rope = plan.ropes.push(RopeDecl {
        spec,
        factors: Some("rope_freqs".into()),
    });
    let mut buffer = |name: &str, offset| {
        Arg::Buffer(plan.buffers.push(BufferDecl {
            name: name.into(),
            offset,
            bytes: 512,
        }))
    };
    let (x, q, attn, logits) = (
        buffer("x", 0),
        buffer("q", 512),
        buffer("attn", 0),
        buffer("logits", 1024),
    );
    plan.output = Some(Buffer::new(3));
    let embed = plan
        .kernels
        .push(kernel("embed.f32", &[("w", In), ("tok", In), ("y", Out)], &[]));
    let bufs = [("w", In), ("bias", In), ("x", In), ("rope", In), ("y", Out)];
    let linear = plan
        .kernels
        .push(kernel("linear.q4_1.32x32.norm1e-5", &bufs, &["rows"]));
    let bufs = [("q", In), ("k", In), ("tables", In), ("y", Out)];
    let attention = plan.kernels.push(kernel("attention", &bufs, &[]));
    let rows = |times| Count::per(Sym::Tokens, times);
    let tokens = Arg::Input(Input::Tokens);
    let embed_call = call(embed, vec![sections[0], tokens, x], rows(1));
    let product = |out| Call {
        scalars: vec![rows(1)],
        ..call(
            linear,
            vec![sections[0], sections[1], x, Arg::Rope(rope), out],
            Count::constant(2),
        )
    };
    let calls = vec![product(q), product(Arg::Kv(KvPart::K, 0))];
    let attention_args = vec![q, Arg::Kv(KvPart::K, 0), Arg::Input(Input::BlockTables), attn];
    let attention_call = call(attention, attention_args, rows(2));
    let outputs = Arg::Input(Input::Outputs);
    let logits_call = call(embed, vec![attn, outputs, logits], Count::per(Sym::Outputs, 1));
    for (label, calls) in [
        ("embed @token_embd", vec![embed_call]),
        ("linear @blk.0.attn_q", calls),
        ("attention.paged layer 0", vec![attention_call]),
        ("a line\nand \\ \u{7} é", vec![logits_call]),
    ] {
        plan.steps.push(Step {
            label: label.into(),
            calls,
        });
    }
    plan
}

fn errors(change: impl FnOnce(&mut Plan)) -> Vec<PlanError> {
    let mut plan = small();
    change(&mut plan);
    verify(&plan).err().unwrap_or_default()
}

/// The change breaks exactly one rule, and the error says so.
#[track_caller]
fn breaks(change: impl FnOnce(&mut Plan), error: &str) {
    let errors: Vec<String> = errors(change).iter().map(PlanError::to_string).collect();
    assert_eq!(errors, [error]);
}

#[test]
fn the_small_plan_is_valid() {
    assert_eq!(verify(&small()), Ok(()));
}

#[test]
fn limits_are_checked() {
    breaks(|p| p.limits.seqs = 0, "limits: seqs is 0");
    breaks(
        |p| p.limits.tokens = 1,
        "limits: 2 outputs are more than 1 tokens",
    );
    breaks(|p| p.limits.ctx = 65, "limits: ctx 65 is no multiple of 32");
}

#[test]
fn buffers_lie_in_the_arena() {
    let buffer = Buffer::new(1);
    breaks(
        |p| p.buffers[buffer].offset += 8,
        "buffer b1 (q): offset 520 is no multiple of 64",
    );
    breaks(|p| p.buffers[buffer].bytes = 0, "buffer b1 (q): it has no bytes");
    let logits = "buffer b3 (logits): 512 bytes at 1024 end after the arena of 1500";
    breaks(|p| p.arena_bytes = 1500, logits);
    let far = errors(|p| p.buffers[buffer].offset = u64::MAX - 63);
    assert!(far[0].what.ends_with("end after the arena of 2048"), "{far:?}");
}

#[test]
fn sections_have_a_form() {
    let section = Section::new(0);
    let order = "section s0 (@blk.0.attn_q): 32 rows in order rope_half over 2 heads, 18 rows of each";
    breaks(|p| p.sections[section].dims = 18, order);
    let order = "section s0 (@blk.0.attn_q): 32 rows in order rope_half over 0 heads, 16 rows of each";
    breaks(|p| p.sections[section].heads = 0, order);
    let form = "section s0 (@blk.0.attn_q): vector cannot be of type [32, 32]q4_1";
    breaks(|p| p.sections[section].form = SectionForm::Vector, form);
    let ragged = errors(|p| p.sections[section].ty = TensorType::matrix(32u64, 33, DType::Q4_1));
    assert_eq!(ragged.len(), 1, "{ragged:?}");
    let form = "section s0 (@blk.0.attn_q): panels cannot be of type [tokens, 32]q4_1";
    breaks(
        |p| p.sections[section].ty = TensorType::matrix(Sym::Tokens, 32, DType::Q4_1),
        form,
    );
}

#[test]
fn ropes_turn_pairs() {
    breaks(
        |p| p.ropes[Rope::new(0)].spec.dims = 15,
        "rope r0: 15 dims do not make pairs",
    );
    breaks(
        |p| p.ropes[Rope::new(0)].spec.base = f32::NAN,
        "rope r0: a number is not finite",
    );
}

#[test]
fn kernels_have_names_of_their_own() {
    let twice = |p: &mut Plan| p.kernels[KernelId::new(2)].name = "embed.f32".into();
    breaks(twice, "kernel k2 (@embed.f32): another kernel has the same name");
    let invalid = errors(|p| p.kernels[KernelId::new(0)].values = Arena::new());
    assert!(
        invalid.iter().all(|e| e.at == "kernel k0 (@embed.f32)") && !invalid.is_empty(),
        "{invalid:?}"
    );
}

#[test]
fn ids_exist() {
    let at = "step 2 (attention.paged layer 0), call 0";
    let layer = format!("{at}, arg 1 ($k): KV layer 9 does not exist");
    breaks(|p| p.steps[2].calls[0].args[1] = Arg::Kv(KvPart::K, 9), &layer);
    let section = format!("{at}, arg 0 ($q): section s9 does not exist");
    breaks(
        |p| p.steps[2].calls[0].args[0] = Arg::Section(Section::new(9)),
        &section,
    );
    let hidden = format!("{at}, arg 0 ($q): the input of hidden states does not exist");
    breaks(|p| p.steps[2].calls[0].args[0] = Arg::Hidden, &hidden);
    assert_eq!(
        errors(|p| (p.takes, p.steps[2].calls[0].args[0]) = (Some(32), Arg::Hidden)),
        []
    );
    let empty = errors(|p| p.kv_layers[0].head_dim = 0);
    assert_eq!(empty.len(), 2, "{empty:?}");
    assert_eq!(
        empty[1].to_string(),
        format!("{at}, arg 1 ($k): KV layer 0 has 1 heads of 0")
    );
    let kernel = errors(|p| p.steps[2].calls[0].kernel = KernelId::new(9));
    assert_eq!(kernel[0].to_string(), format!("{at}: kernel k9 does not exist"));
}

#[test]
fn calls_fit_their_kernels() {
    let at = "step 1 (linear @blk.0.attn_q), call 1";
    let kernel = "@linear.q4_1.32x32.norm1e-5";
    breaks(
        |p| p.steps[1].calls[1].scalars.clear(),
        &format!("{at}: {kernel} takes 1 scalars, not 0"),
    );
    let extra = Arg::Input(Input::Seqs);
    breaks(
        |p| p.steps[1].calls[1].args.push(extra),
        &format!("{at}: {kernel} takes 5 arguments, not 6"),
    );
    breaks(|p| p.steps[1].calls[1].cost = 0, &format!("{at}: the cost is 0"));
    let huge = Count::per(Sym::Tokens, u64::MAX / 4);
    breaks(
        |p| p.steps[1].calls[1].units = huge,
        &format!("{at}: units: {} times 4 overflows", u64::MAX / 4),
    );
    let split = |of, most| Split {
        what: SplitCount::Pieces,
        of,
        most,
        rows: 2,
    };
    let split_units = |split| Count::per(Sym::Tokens, 1 << 30).times(split);
    breaks(
        |p| p.steps[1].calls[1].units = split_units(split(32, u32::MAX)),
        &format!(
            "{at}: units: {} times {} overflows",
            1 << 30,
            4 * u64::from(u32::MAX)
        ),
    );
    for none in [split(0, 1), split(1, 0)] {
        breaks(
            |p| p.steps[1].calls[1].units = split_units(none),
            &format!("{at}: units: pieces of no positions, or none at most"),
        );
    }
}

#[test]
fn splits_count_pieces_and_merges() {
    let split = Split {
        what: SplitCount::Pieces,
        of: 100,
        most: 3,
        rows: 16,
    };
    let merges = Split {
        what: SplitCount::Merges,
        ..split
    };
    // (rows, context, pieces)
    for (rows, context, pieces) in [
        (1, 1, 1),
        (1, 100, 1),
        (1, 101, 2),
        (16, 300, 3),
        (16, 999, 3),
        (17, 999, 1),
    ] {
        let sizes = |sym| if sym == Sym::Tokens { rows } else { context };
        let units = Count::per(Sym::Tokens, 5);
        assert_eq!(units.times(split).at(sizes), 5 * rows * pieces);
        let merged = if pieces > 1 { 5 * rows } else { 0 };
        assert_eq!(units.times(merges).at(sizes), merged);
        assert_eq!(Count::constant(1).times(split).at(sizes), pieces);
    }
}

#[test]
fn only_buffers_and_kv_are_written() {
    let at = "step 1 (linear @blk.0.attn_q), call 1, arg 4 ($y)";
    let rope = Arg::Rope(Rope::new(0));
    let found = errors(|p| p.steps[1].calls[1].args[4] = rope);
    assert_eq!(
        found[0].to_string(),
        format!("{at}: only buffers and KV can be written")
    );
}

#[test]
fn what_is_written_is_named_once() {
    let at = "step 1 (linear @blk.0.attn_q)";
    let (x, q) = (Arg::Buffer(Buffer::new(0)), Arg::Buffer(Buffer::new(1)));
    let found = errors(|p| p.steps[1].calls[1].args[4] = q);
    let both = [0, 1].map(|call| format!("{at}: call {call} writes b1, which the step names 2 times"));
    assert_eq!(found.iter().map(PlanError::to_string).collect::<Vec<_>>(), both);
    // A call may not write what it or another one reads either.
    breaks(
        |p| p.steps[1].calls[1].args[4] = x,
        &format!("{at}: call 1 writes b0, which the step names 3 times"),
    );
}

#[test]
fn buffers_are_written_before_they_are_read() {
    let found = errors(|p| p.steps.swap(1, 2));
    let early = "step 1 (attention.paged layer 0): call 0 reads buffer b1, which no step before wrote";
    assert!(found.iter().any(|e| e.to_string() == early), "{found:?}");
    let read = |p: &mut Plan| p.kernels[KernelId::new(1)].bufs = bufs_inout();
    let found = errors(read);
    let early = "step 1 (linear @blk.0.attn_q): call 0 reads buffer b1, which no step before wrote";
    assert_eq!(
        found.iter().map(PlanError::to_string).collect::<Vec<_>>(),
        [early]
    );
}

fn bufs_inout() -> Arena<crate::kernel::Buf, crate::kernel::BufDecl> {
    let decl = |(i, access)| crate::kernel::BufDecl {
        name: format!("x{i}"),
        access,
    };
    let access = [Access::In, Access::In, Access::In, Access::In, Access::InOut];
    access.into_iter().enumerate().map(decl).collect()
}

#[test]
fn live_buffers_have_no_byte_in_common() {
    let (q, logits) = (Buffer::new(1), Buffer::new(3));
    let shared = ["buffer b0 (x)", "buffer b2 (attn)"].into_iter().zip([1, 2]);
    let shared = shared
        .map(|(b, step)| format!("{b}: shares bytes with buffer b1 (q) while both live, in step {step}"));
    let found = errors(|p| p.buffers[q].offset = 448);
    assert_eq!(
        found.iter().map(PlanError::to_string).collect::<Vec<_>>(),
        shared.collect::<Vec<_>>()
    );
    let shared = "buffer b2 (attn): shares bytes with buffer b3 (logits) while both live, in step 3";
    breaks(|p| p.buffers[logits].offset = 64, shared);
    // The logits may take the place of a buffer that is no longer read.
    assert_eq!(errors(|p| p.buffers[logits].offset = 512), []);
}

#[test]
fn the_result_outlives_the_steps() {
    breaks(|p| p.output = None, "output: the plan has none");
    breaks(
        |p| p.output = Some(Buffer::new(4)),
        "output: buffer b4 does not exist",
    );
    breaks(
        |p| p.vocab = 65,
        "output: buffer b3 has 512 bytes, 520 are needed",
    );
    breaks(
        |p| p.embedding = Some(65),
        "output: buffer b3 has 512 bytes, 520 are needed",
    );
    // Ids and rows of the result have bounds of their own.
    assert_eq!(errors(|p| (p.vocab, p.embedding) = (4096, Some(64))), []);
    // Of hidden states there are as many rows as tokens.
    breaks(
        |p| p.leaves = Some(64),
        "output: buffer b3 has 512 bytes, 1024 are needed",
    );
    breaks(|p| p.takes = Some(0), "limits: takes is 0");
    let unused = |p: &mut Plan| {
        p.output = Some(p.buffers.push(BufferDecl {
            name: "none".into(),
            offset: 1536,
            bytes: 512,
        }));
    };
    breaks(unused, "output: no step writes buffer b4");
    // As logits, b0 lives past the step that writes b2 over it.
    let shared = "buffer b0 (x): shares bytes with buffer b2 (attn) while both live, in step 2";
    breaks(|p| p.output = Some(Buffer::new(0)), shared);
}
