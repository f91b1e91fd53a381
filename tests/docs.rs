//! The documentation against the code: examples of `docs/ir.md` parse, verify and print as they stand there, and its
//! tables name every op, every attribute and every pass.

use lathe_ir::graph::interp::{Inputs, KvCache, MemoryWeights, Tensor, eval};
use lathe_ir::graph::{Graph, Op};
use lathe_ir::kernel::{Kernel, Region};
use lathe_ir::plan::Plan;
use lathe_ir::{graph, kernel, plan};
use std::collections::{BTreeMap, BTreeSet};

const IR: &str = include_str!("../docs/ir.md");
/// Where the kernel ops are declared; the enum has no list of its keywords.
const KERNEL_OPS: &str = include_str!("../ir/src/kernel/op.rs");

/// A fenced block: the line of `docs/ir.md` on which its text starts, and the text.
struct Block {
    line: usize,
    text: String,
}

/// Every block fenced with this language.
fn blocks(language: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(&str, Block)> = None;
    for (number, line) in IR.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(tag), None) => {
                open = Some((
                    tag,
                    Block {
                        line: number + 2,
                        text: String::new(),
                    },
                ))
            }
            (Some(tag), Some(_)) => {
                assert_eq!(tag, "", "docs/ir.md:{}: a fence within a fence", number + 1);
                found.extend(
                    open.take()
                        .filter(|(tag, _)| *tag == language)
                        .map(|(_, block)| block),
                );
            }
            (None, Some((_, block))) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "docs/ir.md: the last fence is not closed");
    assert!(!found.is_empty(), "docs/ir.md has no example of a {language}");
    found
}

/// The text without comments and blank lines. No name of an example has a `;` in it.
fn bare(text: &str) -> String {
    let code = text
        .lines()
        .map(|l| l.split(';').next().unwrap_or_default().trim_end());
    code.filter(|l| !l.is_empty()).map(|l| format!("{l}\n")).collect()
}

/// Fails where an example does not print as it stands in the page, but for comments.
#[track_caller]
fn prints_as_shown(block: &Block, printed: &str) {
    assert_eq!(
        bare(printed),
        bare(&block.text),
        "docs/ir.md:{}: printed is left, the page is right",
        block.line
    );
}

fn graphs() -> Vec<Graph> {
    let read = |block: Block| {
        let at = format!("docs/ir.md:{}", block.line);
        let graph = graph::parse::parse(&block.text).unwrap_or_else(|e| panic!("{at}: {e}"));
        graph::verify::verify(&graph).unwrap_or_else(|e| panic!("{at}: {e:?}"));
        let printed = graph::print::print(&graph);
        assert_eq!(
            graph::parse::parse(&printed).as_ref(),
            Ok(&graph.compact()),
            "{at}"
        );
        prints_as_shown(&block, &printed);
        graph
    };
    blocks("graph").into_iter().map(read).collect()
}

fn kernels() -> Vec<Kernel> {
    let read = |block: Block| {
        let at = format!("docs/ir.md:{}", block.line);
        let kernel = kernel::parse::parse(&block.text).unwrap_or_else(|e| panic!("{at}: {e}"));
        kernel::verify::verify(&kernel).unwrap_or_else(|e| panic!("{at}: {e:?}"));
        let printed = kernel.to_string();
        assert_eq!(
            kernel::parse::parse(&printed).as_ref(),
            Ok(&kernel.compact()),
            "{at}"
        );
        prints_as_shown(&block, &printed);
        kernel
    };
    blocks("kernel").into_iter().map(read).collect()
}

fn plans() -> Vec<Plan> {
    let read = |block: Block| {
        let at = format!("docs/ir.md:{}", block.line);
        let plan = plan::parse::parse(&block.text).unwrap_or_else(|e| panic!("{at}: {e}"));
        plan::verify::verify(&plan).unwrap_or_else(|e| panic!("{at}: {e:?}"));
        let printed = plan.to_string();
        assert_eq!(plan::parse::parse(&printed).as_ref(), Ok(&plan), "{at}");
        prints_as_shown(&block, &printed);
        plan
    };
    blocks("plan").into_iter().map(read).collect()
}

/// The rows of the table under the heading `title`: the words in code quotes of each cell.
fn table(title: &str) -> Vec<Vec<Vec<&'static str>>> {
    let heading = format!("### {title}\n");
    let (_, section) = IR
        .split_once(&heading)
        .unwrap_or_else(|| panic!("docs/ir.md has no heading `{title}`"));
    let words = |cell: &'static str| cell.split('`').skip(1).step_by(2).collect();
    let rows = section
        .lines()
        .take_while(|l| !l.starts_with('#'))
        .filter(|l| l.starts_with("| `"));
    rows.map(|row| row.split('|').skip(1).map(words).collect())
        .collect()
}

#[test]
fn plans_parse_verify_and_print_as_shown() {
    for plan in plans() {
        assert!(
            !plan.steps.is_empty() && !plan.kernels.is_empty(),
            "{} does something",
            plan.name
        );
    }
}

#[test]
fn the_graph_table_has_every_op_with_its_attributes() {
    let rows = table("Ops of the graph");
    let keywords: Vec<&str> = rows.iter().map(|row| row[0][0]).collect();
    assert_eq!(keywords, Op::KEYWORDS, "the page is left, the op table right");
    let mut shown = BTreeMap::new();
    for node in graphs().iter().flat_map(|g| g.order.iter().map(|&n| &g.nodes[n])) {
        let attrs: Vec<&str> = node.op.attrs().iter().map(|(name, _)| *name).collect();
        shown.insert(node.op.info().keyword, attrs);
    }
    for row in &rows {
        let attrs = shown
            .get(row[0][0])
            .unwrap_or_else(|| panic!("no example has `{}`", row[0][0]));
        assert_eq!(
            row[3], *attrs,
            "the attributes of `{}`: the page is left",
            row[0][0]
        );
    }
}

/// Rows of numbers as a tensor.
fn tensor(rows: &[Vec<f32>]) -> Tensor {
    Tensor::f32(&[rows.len(), rows[0].len()], rows.concat())
}

#[test]
fn graphs_that_say_so_give_the_values_shown() {
    let numbers = |json: &str| -> Vec<Vec<f32>> { serde_json::from_str(json).unwrap() };
    let mut checked = 0;
    for block in blocks("graph") {
        let shown: Vec<&str> = block
            .text
            .lines()
            .filter_map(|l| l.strip_prefix("; gives "))
            .collect();
        if shown.is_empty() {
            continue;
        }
        let given = block
            .text
            .lines()
            .filter_map(|l| l.strip_prefix("; given %")?.split_once(" = "));
        let inputs = given.fold(Inputs::new(), |all, (name, json)| {
            all.with(name, tensor(&numbers(json)))
        });
        let graph = graph::parse::parse(&block.text).unwrap();
        let weights = MemoryWeights::random(&graph, 1).unwrap();
        let results = eval(&graph, &weights, &inputs, &mut KvCache::new()).unwrap();
        assert_eq!(results.len(), shown.len(), "docs/ir.md:{}", block.line);
        for (result, json) in results.iter().zip(shown) {
            let (got, want) = (result.to_f32().unwrap(), numbers(json).concat());
            let close = got.len() == want.len() && got.iter().zip(&want).all(|(a, b)| (a - b).abs() <= 1e-6);
            assert!(
                close,
                "docs/ir.md:{}: {got:?}, but the page has {want:?}",
                block.line
            );
            checked += 1;
        }
    }
    assert!(checked > 0, "no example says what it gives");
}

/// The keywords of a region's ops.
fn keywords(region: &Region, found: &mut BTreeSet<&'static str>) {
    for inst in &region.insts {
        found.insert(inst.op.info().keyword);
        inst.regions.iter().for_each(|inner| keywords(inner, found));
    }
}

#[test]
fn the_kernel_table_has_every_op_and_examples_show_it() {
    let rows = table("Ops of kernels");
    let page: BTreeSet<&str> = rows.iter().flat_map(|row| row[0].iter().copied()).collect();
    let declared = KERNEL_OPS.lines().filter(|l| l.trim_start().starts_with("KOp::"));
    let declared: BTreeSet<&str> = declared
        .filter_map(|l| l.split_once("=> (\"")?.1.split('"').next())
        .collect();
    assert!(declared.len() > 40, "the declarations were found");
    assert_eq!(page, declared, "the page is left, the op table right");
    let mut shown = BTreeSet::new();
    kernels().iter().for_each(|k| keywords(&k.body, &mut shown));
    assert_eq!(shown, declared, "the examples are left, the op table right");
}

#[test]
fn the_pass_table_is_the_pipeline() {
    let page: Vec<&str> = table("The pipeline").iter().map(|row| row[0][0]).collect();
    let passes: Vec<&str> = lathe_passes::pipeline().iter().map(|p| p.name).collect();
    assert_eq!(page, passes, "the page is left");
}
#[test]
fn the_second_graph_is_what_the_passes_make_of_the_first() {
    let (mut first, second) = (graphs().swap_remove(0), graphs().swap_remove(1));
    lathe_passes::run_pipeline(&mut first, Default::default()).unwrap();
    assert_eq!(graph::print::print(&first), graph::print::print(&second));
}
