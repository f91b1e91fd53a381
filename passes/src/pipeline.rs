//! The passes in order, each with what it does and why it stands where it stands.

use crate::{attention, cleanup, gather, linear, quantize};
use lathe_ir::graph::Graph;
use lathe_ir::graph::infer::TypeError;
use lathe_ir::graph::verify::verify;

/// A step of the pipeline.
#[derive(Clone, Copy)]
pub struct Pass {
    /// The name, as `--after` and `--passes` take it.
    pub name: &'static str,
    /// What it does, and why here.
    pub explain: &'static str,
    run: fn(&mut Graph) -> Result<(), PassError>,
}

/// Why the pipeline stopped. Each is an error of a pass, not of a model.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum PassError {
    /// A rule made a node that has no type.
    #[error("pass {pass}: {error}")]
    Type {
        /// The pass.
        pass: &'static str,
        /// The error.
        error: TypeError,
    },
    /// As [`PassError::Type`], before the driver knows the pass.
    #[error(transparent)]
    Rule(#[from] TypeError),
    /// Rules undo each other.
    #[error("rewriting did not come to an end after {fired} steps")]
    Endless {
        /// Rewrites done.
        fired: usize,
    },
    /// A pass left an invalid graph.
    #[error("after pass {pass}: {error}")]
    Invalid {
        /// The pass.
        pass: &'static str,
        /// The first broken rule.
        error: String,
    },
    /// No pass has this name.
    #[error("no pass is named `{name}`; there are {}", names())]
    Unknown {
        /// The name.
        name: String,
    },
}

fn names() -> String {
    PIPELINE.iter().map(|p| p.name).collect::<Vec<_>>().join(", ")
}

/// Declares the pipeline.
macro_rules! passes {
    ($($name:tt $run:path: $explain:literal;)*) => {
        static PIPELINE: &[Pass] = &[$(Pass { name: $name, explain: $explain, run: $run }),*];
    };
}

/// Passes that are not for GPUs.
const CPU_ONLY: [&str; 2] = ["rope-half", "quantize-activations"];

passes! {
    "fold-constants" cleanup::fold_constants:
        "Products with numbers become `scale`, chains of scales one. First, so that later rules meet one form only.";
    "cse" cleanup::cse:
        "Merges equal nodes: a weight decoded twice, a norm computed twice.";
    "fuse-attention" attention::fuse:
        "Scores, scale, cap, mask, softmax and weighted sum become `attention.paged`, which never holds the scores of a row \
         at once. Before anything else could take its pieces apart.";
    "fuse-matmul" linear::fuse_matmul:
        "A product with a decoded weight becomes `linear`: the weight is decoded in registers, never in memory.";
    "fuse-epilogue" linear::fuse_epilogue:
        "Bias, heads, head norm, RoPE, activation and soft cap move into the product before them, while its sums are at hand.";
    "fuse-kv-store" linear::fuse_kv_store:
        "Keys and values go from the product straight into the cache. After RoPE, which keys carry.";
    "rope-half" linear::rope_half:
        "RoPE on adjacent pairs becomes RoPE on halves by reading the projection's rows in another order: vectors instead of \
         shuffles. After keys are stored by their projection, so that only weights have to move.";
    "fuse-glu" linear::fuse_glu:
        "Gate and up meet in one tile: activation and product happen before either is stored.";
    "fuse-residual" linear::fuse_residual:
        "A residual is added as the product is stored.";
    "fuse-norm-add" quantize::fuse_norm_add:
        "A norm after a product and the residual after it become one walk over the rows.";
    "gather-early" gather::early:
        "Rows without logits leave after the last attention: all that follows works row by row. After the fusions, which \
         leave few nodes to move through.";
    "merge-linears" linear::merge_linears:
        "Products that share their input share a launch: queries with keys and values.";
    "quantize-activations" quantize::activations:
        "Products with quantized weights take their input as int8 with a scale per 32.";
    "cse-quantize" cleanup::cse:
        "Products that share an input share its quantized form.";
    "fuse-norm-quant" quantize::fuse_norm:
        "A norm that is only read quantized is quantized as it is made.";
    "fuse-quantize-output" quantize::fuse_output:
        "A product that is only read quantized is quantized as it is stored.";
    "dce" cleanup::dce:
        "Removes what is left unread.";
}

/// The passes in order.
pub fn pipeline() -> &'static [Pass] {
    PIPELINE
}

/// The passes with these names, in the order given.
///
/// # Errors
/// Names the first that is unknown.
pub fn passes_by_name(names: &[&str]) -> Result<Vec<Pass>, PassError> {
    let find = |name: &&str| {
        let found = PIPELINE.iter().find(|p| p.name == *name).copied();
        found.ok_or_else(|| PassError::Unknown {
            name: (*name).to_owned(),
        })
    };
    names.iter().map(find).collect()
}

/// Looks at the graph after a pass.
pub type Hook<'a> = dyn FnMut(&Pass, &Graph) + 'a;

/// What a graph is optimized for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Backend {
    /// A processor: products with quantized weights take int8 with a scale per 32, since it multiplies bytes fastest, and
    /// halves of heads rotate, since its vectors hold neighbours.
    #[default]
    Cpu,
    /// A GPU: products take f32, of which the backend makes what its tensor cores take, and a thread's neighbour has the other
    /// element of a pair.
    Cuda,
}

/// What to do around passes.
#[derive(Default)]
pub struct PipelineOptions<'a> {
    /// Of the whole pipeline, leaves out what is for another.
    pub backend: Backend,
    /// Verify the graph after every pass.
    pub verify: bool,
    /// Called after every pass.
    pub after_each: Option<&'a mut Hook<'a>>,
}

/// Runs the whole pipeline.
///
/// # Errors
/// Where a pass is wrong; see [`PassError`].
pub fn run_pipeline(graph: &mut Graph, options: PipelineOptions) -> Result<(), PassError> {
    let all = options.backend == Backend::Cpu;
    // The passes after them work on what they make.
    let chosen = PIPELINE.iter().filter(|p| all || !CPU_ONLY.contains(&p.name));
    run_passes(graph, &chosen.copied().collect::<Vec<_>>(), options)
}

/// Runs passes in order.
///
/// # Errors
/// As [`run_pipeline`].
pub fn run_passes(graph: &mut Graph, passes: &[Pass], mut options: PipelineOptions) -> Result<(), PassError> {
    for pass in passes {
        (pass.run)(graph).map_err(|e| match e {
            PassError::Rule(error) => PassError::Type {
                pass: pass.name,
                error,
            },
            e => e,
        })?;
        if options.verify || cfg!(debug_assertions) {
            check(graph, pass.name)?;
        }
        if let Some(hook) = &mut options.after_each {
            hook(pass, graph);
        }
    }
    Ok(())
}

fn check(graph: &Graph, pass: &'static str) -> Result<(), PassError> {
    verify(graph).map_err(|errors| PassError::Invalid {
        pass,
        error: errors[0].to_string(),
    })
}
