//! Plans read back as they were printed; texts that are no plans are refused at the right place.

use super::parse::{ParseError, parse};
use super::tests::{kernel, small};
use super::*;
use crate::DType;
use crate::graph::RopePairs;
use crate::kernel::Access;
use crate::layout::KvType;
use crate::types::Dim;
use proptest::prelude::*;
use proptest::sample::select;

#[test]
fn the_text_is_as_described() {
    let text = print::plan(&small());
    let lines: Vec<&str> = text.lines().collect();
    let head = r#"
plan "small \"one\"" {
  limits tokens=4 outputs=2 seqs=1 ctx=64
  vocab 32
  kv 0: heads=1 dim=16 k=f16 v=q8_0
  section s0: panels @blk.0.attn_q [32, 32]q4_1 rope_half(heads=2, dims=16)
  section s1: vector @"odd name" [32]f32
  rope r0: half dims=16 base=100000.0 freq_scale=0.1 magnitude=1.0 factors=@rope_freqs
  arena 2048
  buffer b0 "x": 512 at 0
  buffer b1 "q": 512 at 512
  buffer b2 "attn": 512 at 0
  buffer b3 "logits": 512 at 1024
  output b3
  step 0 "embed @token_embd" {
    embed.f32(s0, in.tokens, b0) units=tokens cost=7
  }
  step 1 "linear @blk.0.attn_q" {
    linear.q4_1.32x32.norm1e-5(s0, s1, b0, r0, b1) [tokens] units=2 cost=7
    linear.q4_1.32x32.norm1e-5(s0, s1, b0, r0, kv.k.0) [tokens] units=2 cost=7
  }
  step 2 "attention.paged layer 0" {
    attention(b1, kv.k.0, in.block_tables, b2) units=tokens*2 cost=7
  }
  step 3 "a line\nand \\ \u{7} é" {
    embed.f32(b2, in.outputs, b3) units=outputs cost=7
  }
}
"#;
    let head: Vec<&str> = head.trim_start().lines().collect();
    assert_eq!(lines[..head.len()], head);
    assert_eq!(lines.iter().filter(|l| l.starts_with("kernel ")).count(), 3);
}

#[test]
fn a_printed_plan_reads_back() {
    let plan = small();
    assert_eq!(parse(&print::plan(&plan)), Ok(plan));
}

#[test]
fn comments_and_blanks_are_skipped() {
    let text = print::plan(&small()).replace("  arena", "; a comment } \"\n\n\tarena");
    let text = text.replacen("}\n\nkernel", "} ; kernels\n ; more\nkernel", 1);
    assert_eq!(parse(&text), Ok(small()));
}

/// Parses the small plan's text with the first `from` replaced by `to`; the error must start with `error`.
#[track_caller]
fn refused(from: &str, to: &str, error: &str) {
    let text = print::plan(&small());
    assert!(text.contains(from), "{from} is not in the text");
    let found = parse(&text.replacen(from, to, 1))
        .expect_err("the text is no plan")
        .to_string();
    assert!(found.starts_with(error), "{found}\nwanted {error}");
}

#[test]
fn errors_name_line_and_column() {
    refused("plan", "plane", "1:1: expected `plan`, found `plane`");
    refused("seqs=1", "seqs=-1", "2:34: expected a number, found `-1`");
    refused("tokens=4", "tokens=4294967296", "2:17: expected a number");
    refused("kv 0", "kv 1", "4:6: expected `0`, found `1`");
    refused(
        "panels",
        "rows",
        "5:15: expected `panels` or `vector`, found `rows`",
    );
    refused("q4_1", "q4_9", "5:44: expected an element type");
    refused(
        "base=100000.0",
        "base=inf",
        "7:30: expected a finite number, found `inf`",
    );
    refused("\"x\"", "\"x", "9:13: a string has no closing quote");
    refused("\"x\"", "\"\\x\"", "9:14: unknown escape");
    refused("\"x\"", "\"\\u{d800}\"", "9:14: unknown escape");
    refused("b0)", "b00)", "15:30: expected an argument, found `b00`");
    refused("kv.k.0", "kv.q.0", "19:48: expected an argument");
    refused("embed.f32(", "embed.f16(", "15:5: no kernel @embed.f16 follows");
    refused("units=2", "units=2%", "18:68: unexpected character '%'");
    refused(
        "  }\n}\n",
        "  }\n",
        "28:1: expected `step` or `}`, found `kernel`",
    );
    refused("}\n\nkernel", "} x\n\nkernel", "27:2: only kernels follow a plan");
    assert_eq!(
        parse(""),
        Err(ParseError {
            line: 1,
            column: 1,
            what: "expected `plan`, found the end of the text".into()
        })
    );
}

#[test]
fn errors_in_kernels_have_lines_of_the_whole_text() {
    let text = print::plan(&small());
    let line = text
        .lines()
        .position(|l| l.starts_with("kernel @attention"))
        .expect("a kernel")
        + 1;
    let broken = text.replacen("kernel @attention", "kernel %attention", 1);
    let error = parse(&broken).expect_err("no kernel's name starts with %");
    assert_eq!(error.line, line, "{error}");
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9._-]{1,12}", "[a-z \"\\\\\n\t;{}é@]{0,8}", any::<String>()]
}

fn count() -> impl Strategy<Value = Count> {
    let what = select(&SplitCount::ALL[..]);
    let split = (what, any::<u32>(), any::<u32>(), any::<u32>());
    let split = split.prop_map(|(what, of, most, rows)| Split { what, of, most, rows });
    let sym = prop::option::of(select(&Sym::ALL[..]));
    (any::<u64>(), sym, prop::option::of(split)).prop_map(|(times, sym, split)| Count { times, sym, split })
}

fn arg() -> impl Strategy<Value = Arg> {
    let part = select(&[KvPart::K, KvPart::V][..]);
    prop_oneof![
        (0usize..9).prop_map(|i| Arg::Buffer(crate::Id::new(i))),
        any::<u32>().prop_map(|i| Arg::Section(crate::Id::new(i as usize))),
        (0usize..9).prop_map(|i| Arg::Rope(crate::Id::new(i))),
        Just(Arg::Hidden),
        (part, any::<u32>()).prop_map(|(part, layer)| Arg::Kv(part, layer)),
        select(&Input::ALL[..]).prop_map(|(input, _)| Arg::Input(input)),
    ]
}

fn section() -> impl Strategy<Value = SectionDecl> {
    let dim = prop_oneof![
        any::<u64>().prop_map(Dim::Const),
        select(&Sym::ALL[..]).prop_map(Dim::Sym)
    ];
    let ty = (prop::collection::vec(dim, 0..4), select(DType::GGUF))
        .prop_map(|(dims, dtype)| TensorType { dims, dtype });
    let ty = prop_oneof![ty, Just(TensorType::kv())];
    let form = select(&SectionForm::ALL[..]);
    let order = select(&[RowOrder::Natural, RowOrder::RopeHalf][..]);
    (name(), ty, form, order, any::<u32>(), any::<u32>()).prop_map(
        |(weight, ty, form, order, heads, dims)| SectionDecl {
            weight,
            ty,
            form,
            order,
            heads,
            dims,
        },
    )
}

fn rope() -> impl Strategy<Value = RopeDecl> {
    let finite = || any::<f32>().prop_filter("finite", |x| x.is_finite());
    let pairs = select(&[RopePairs::Adjacent, RopePairs::Half][..]);
    let spec = (pairs, any::<u32>(), finite(), finite(), finite());
    (spec, prop::option::of(name())).prop_map(|((pairs, dims, base, freq_scale, magnitude), factors)| {
        RopeDecl {
            spec: RopeSpec {
                pairs,
                dims,
                base,
                freq_scale,
                magnitude,
            },
            factors,
        }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use prop::collection::vec;
    let call = (
        0usize..2,
        vec(arg(), 0..5),
        vec(count(), 0..3),
        count(),
        any::<u64>(),
    );
    let call = call.prop_map(|(kernel, args, scalars, units, cost)| Call {
        kernel: crate::Id::new(kernel),
        args,
        scalars,
        units,
        cost,
    });
    let step = (name(), vec(call, 0..4)).prop_map(|(label, calls)| Step { label, calls });
    vec(step, 0..5)
}

/// Plans of all kinds of text, valid ones and others, that call two kernels.
fn plans() -> impl Strategy<Value = Plan> {
    use prop::collection::vec;
    let limits = any::<[u32; 4]>().prop_map(|[tokens, outputs, seqs, ctx]| Limits {
        tokens,
        outputs,
        seqs,
        ctx,
    });
    let buffer = (name(), any::<u64>(), any::<u64>()).prop_map(|(name, offset, bytes)| BufferDecl {
        name,
        offset,
        bytes,
    });
    let kv_type = || prop::sample::select(&KvType::ALL[..]);
    let kv = (any::<u32>(), any::<u32>(), kv_type(), kv_type(), any::<u32>()).prop_map(
        |(kv_heads, head_dim, k, v, window)| KvLayer {
            kv_heads,
            head_dim,
            types: KvTypes { k, v },
            window,
        },
    );
    let output = prop::option::of((0usize..9).prop_map(crate::Id::new));
    let width = || prop::option::of(any::<u32>());
    let widths = [width(), width(), width()];
    let head = (name(), limits, any::<u32>(), any::<u64>(), output, widths);
    let lists = (
        vec(kv, 0..3),
        vec(section(), 0..4),
        vec(rope(), 0..3),
        vec(buffer, 0..4),
        steps(),
    );
    let kernels = (name(), name()).prop_filter("names differ", |(a, b)| a != b);
    (head, lists, kernels).prop_map(|(head, (kv_layers, sections, ropes, buffers, steps), kernels)| {
        let (name, limits, vocab, arena_bytes, output, [embedding, takes, leaves]) = head;
        let bufs = [("x", Access::In), ("y", Access::Out)];
        Plan {
            name,
            limits,
            vocab,
            embedding,
            takes,
            leaves,
            kernels: [kernels.0, kernels.1]
                .map(|n| kernel(&n, &bufs, &["rows"]))
                .into_iter()
                .collect(),
            buffers: buffers.into_iter().collect(),
            arena_bytes,
            sections: sections.into_iter().collect(),
            ropes: ropes.into_iter().collect(),
            kv_layers,
            steps,
            output,
        }
    })
}

proptest! {
    #[test]
    fn every_plan_reads_back(plan in plans()) {
        // Values of the bodies that are gone are not read back.
        let bare = print::plan(&plan.without_bodies());
        prop_assert_eq!(parse(&bare).map(|plan| print::plan(&plan)), Ok(bare));
        prop_assert_eq!(parse(&print::plan(&plan)), Ok(plan));
    }

    #[test]
    fn mutated_text_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..3, "[ -~\n\u{e9}]{0,3}"), 1..6)
    ) {
        let mut text: Vec<char> = print::plan(&small()).chars().collect();
        for (at, removed, inserted) in edits {
            let start = at.index(text.len() + 1);
            let end = (start + removed).min(text.len());
            text.splice(start..end, inserted.chars());
        }
        let text: String = text.into_iter().collect();
        match parse(&text) {
            Ok(plan) => {
                // What was read may be invalid, but checking and printing it is safe and reading it again changes nothing.
                let _ = verify::verify(&plan);
                prop_assert_eq!(parse(&print::plan(&plan)), Ok(plan));
            }
            Err(e) => prop_assert!((1..=text.lines().count() + 1).contains(&e.line) && e.column > 0, "{}", e),
        }
    }

    #[test]
    fn text_never_panics(text in "(plan \"x\" \\{|[a-z0-9 =.*\"{}\\[\\]():,@\n]|\\PC){0,60}") {
        let _ = parse(&text);
    }
}
