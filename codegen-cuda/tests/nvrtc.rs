//! NVRTC takes the text of every kernel that the cases of the other tests and the shapes of known models use, for the oldest
//! and the newest architectures. Needs no GPU. Skipped where `LATHE_NVRTC` is not set.

mod support;

use lathe_codegen_cuda::arch::Arch;
use lathe_codegen_cuda::code::{self, NoStore};
use lathe_codegen_cuda::device::Target;
use lathe_codegen_cuda::kernels::Kernel;
use lathe_codegen_cuda::plan::CudaPlan;
use lathe_codegen_cuda::{LowerOptions, PanelsIn, lower, nvrtc};
use lathe_frontend::synthetic;
use lathe_ir::graph::Graph;
use lathe_ir::layout::{KvType, KvTypes};
use lathe_ir::plan::{Limits, ModelOutput};
use std::collections::BTreeMap;
use support::{LIMITS, PLAIN_TARGET, TARGET, cases};

fn plans(target: Target) -> Vec<CudaPlan> {
    let plan = |graph: &Graph, limits, kv_types| {
        let options = LowerOptions {
            output: ModelOutput::Logits,
            limits,
            kv_types,
            target,
            panels: Some(PanelsIn::Memory),
        };
        lower(graph, options).unwrap()
    };
    let mut plans = Vec::new();
    let groups = [
        cases::products(),
        cases::epilogues(),
        cases::rows(),
        cases::attention(),
        cases::heads(),
        cases::wide(),
        cases::streams(),
    ];
    for case in groups.iter().flatten() {
        plans.push(plan(&case.graph, LIMITS, case.kv_types));
    }
    for (case, _) in cases::models() {
        plans.push(plan(&case.graph, LIMITS, case.kv_types));
    }
    let limits = Limits {
        tokens: 2048,
        outputs: 16,
        seqs: 16,
        ctx: 8192,
    };
    for (name, ty) in [
        ("llama-3.1-8b:q4_k_m", KvType::F16),
        ("llama-3.2-1b:q8_0", KvType::Q8_0),
    ] {
        let (shape, quant) = synthetic::parse(name).unwrap();
        let mut graph = synthetic::model(&shape, &quant).unwrap().graph;
        lathe_passes::run_pipeline(&mut graph, cases::passes()).unwrap();
        plans.push(plan(&graph, limits, KvTypes::both(ty)));
    }
    plans
}

#[test]
fn every_kernel_compiles() {
    if std::env::var_os(nvrtc::FOLDER).is_none() {
        eprintln!("skipped: {} names no folder with NVRTC", nvrtc::FOLDER);
        return;
    }
    for (arch, target) in [
        ("sm_80", PLAIN_TARGET),
        ("sm_90", TARGET),
        ("sm_120", PLAIN_TARGET),
    ] {
        let arch: Arch = arch.parse().unwrap();
        let plans = plans(target);
        let all: BTreeMap<String, &Kernel> = plans
            .iter()
            .flat_map(|p| p.kernels.values())
            .map(|k| (k.name(), k))
            .collect();
        let kernels: Vec<&Kernel> = all.into_values().collect();
        let code = code::load(&kernels, arch, 2, &NoStore, &|_| Ok(())).unwrap();
        println!("{arch}: {} kernels, {} bytes", kernels.len(), code.bytes());
        assert_eq!((code.cubins.len(), code.compiled), (kernels.len(), kernels.len()));
        for (kernel, cubin) in kernels.iter().zip(&code.cubins) {
            let name = kernel.name();
            let named = cubin.windows(name.len()).any(|w| w == name.as_bytes());
            assert!(cubin.starts_with(b"\x7fELF") && named, "{name}");
        }
    }
}
