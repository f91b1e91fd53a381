//! Plans and kernel texts of a tiny model: as they were seen last, and what the verifier refuses.

mod support;

use lathe_codegen_cuda::kernels::Kernel;
use lathe_codegen_cuda::plan::verify::verify;
use lathe_codegen_cuda::plan::{Arg, Call, CudaPlan, Launch};
use lathe_codegen_cuda::{LowerOptions, PanelsIn, lower};
use lathe_ir::plan::{Limits, ModelOutput};
use std::fmt::Write;
use support::{LIMITS, PLAIN_TARGET, TARGET, cases};

fn tiny() -> CudaPlan {
    let (case, _) = cases::models().remove(0);
    let options = LowerOptions {
        output: ModelOutput::Logits,
        limits: LIMITS,
        kv_types: case.kv_types,
        target: TARGET,
        panels: Some(PanelsIn::Memory),
    };
    lower(&case.graph, options).unwrap()
}

/// The text that `LATHE_BLESS=1` writes; a change of it should be meant.
#[test]
fn texts_are_as_they_were() {
    let plan = tiny();
    let mut text = lathe_codegen_cuda::plan::print::print(&plan) + "\n";
    // One kernel of each family: the plan names them all.
    let mut families = Vec::new();
    for kernel in plan.kernels.values() {
        let family = std::mem::discriminant(kernel);
        if families.contains(&family) {
            continue;
        }
        families.push(family);
        let _ = writeln!(text, "\n// {}\n{}", kernel.name(), kernel.source());
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama-q4_k.cu");
    if std::env::var_os("LATHE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    let differs = text.lines().zip(golden.lines()).position(|(a, b)| a != b);
    assert!(
        text == golden,
        "from line {:?} on; LATHE_BLESS=1 writes it anew",
        differs.map(|n| n + 1)
    );
}

/// Cases of products of some rows have nothing else for such rows.
#[test]
fn products_of_some_rows_are_streams() {
    for case in cases::streams() {
        let plan = lower(&case.graph, case.options(TARGET)).unwrap();
        let kernel = |launch: &Launch, rows| launch.call(rows).map(|c| &plan.kernels[c.kernel]);
        let products = || {
            plan.launches
                .iter()
                .filter(|l| matches!(kernel(l, 1), Some(Kernel::Product(_))))
        };
        assert_eq!(products().count(), 2, "{}", case.name);
        for rows in [9, 16, 17, 64, 65, 128] {
            assert!(products().all(|l| matches!(kernel(l, rows), Some(Kernel::Stream(_)))));
            let joins = plan
                .launches
                .iter()
                .filter(|l| matches!(kernel(l, rows), Some(Kernel::Join(_))));
            assert_eq!(joins.count(), 2, "{} of {rows} rows", case.name);
        }
    }
}

/// The last two of the cases of many rows have products whose elements blocks share, on each core.
#[test]
fn elements_are_shared_where_tiles_are_few() {
    for target in [TARGET, PLAIN_TARGET] {
        for (number, case) in cases::wide().iter().enumerate() {
            let options = case.options(target);
            // Steps of more rows than share elements too.
            let limits = Limits {
                tokens: 1000,
                ..LIMITS
            };
            lower(&case.graph, LowerOptions { limits, ..options }).unwrap();
            let plan = lower(&case.graph, options).unwrap();
            let joins = plan.kernels.values().any(|k| matches!(k, Kernel::JoinWide(_)));
            assert_eq!(joins, number >= 4, "{}", case.name);
        }
    }
}

/// Where elements are stored by themselves, products of few rows do what happens to heads.
#[test]
fn products_of_few_rows_turn_and_store_heads() {
    for case in cases::heads() {
        let plan = lower(&case.graph, case.options(TARGET)).unwrap();
        let launches = |rows: u32| {
            let calls = plan.launches.iter().filter_map(move |l| l.call(rows));
            let heads = |c: &&Call| matches!(plan.kernels[c.kernel], Kernel::Heads(_));
            calls.filter(heads).count()
        };
        let alone = !case.name.ends_with("q8_0");
        assert_eq!(launches(1) == 0, alone, "{}", case.name);
        assert_eq!((launches(8), launches(9)), (launches(1), 1), "{}", case.name);
    }
}

/// A plan with a fault, and a part of what the verifier says of it.
fn refused(what: &str, fault: impl FnOnce(&mut CudaPlan)) {
    let mut plan = tiny();
    verify(&plan).unwrap();
    fault(&mut plan);
    let message = verify(&plan).unwrap_err().to_string();
    assert!(message.contains(what), "{message}");
}

#[test]
fn faults_are_found() {
    refused("is not in the arena", |plan| plan.arena_bytes -= 64);
    refused("the logits have", |plan| plan.vocab += 1);
    refused("the logits are not in the arena", |plan| plan.logits = None);
    refused("which holds nothing then", |plan| _ = plan.launches.remove(0));
    refused("takes", |plan| _ = plan.launches[0].calls[0].args.pop());
    refused("follows one for", |plan| {
        let several = plan.launches.iter_mut().find(|l| l.calls.len() > 1);
        several.unwrap().calls[1].least += 1;
    });
    refused("is made 0 times", |plan| _ = plan.unpacks.pop());
    refused("tiles have", |plan| plan.tile_rows += 1);
    refused("it has another type", |plan| {
        let section = plan.sections.ids().next().unwrap();
        let arg = plan.launches[1].calls[0]
            .args
            .iter_mut()
            .find(|a| matches!(a, Arg::Buffer(_)));
        *arg.unwrap() = Arg::Section(section);
    });
    refused("they are looked for elsewhere", |plan| {
        let other = plan.buffers.ids().next().unwrap();
        plan.largest.as_mut().unwrap().calls[0].args[0] = Arg::Buffer(other);
    });
    refused("no call runs embed_", |plan| {
        let embed = plan.kernels.values().find(|k| k.name().starts_with("embed_"));
        let copy = embed.unwrap().clone();
        plan.kernels.push(copy);
    });
    refused("bytes, and the kernel works on", |plan| {
        let id = plan.buffers.ids().next().unwrap();
        plan.buffers[id].bytes = 4;
    });
}
