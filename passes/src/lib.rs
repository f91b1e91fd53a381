//! The pass pipeline: rewrites, fusions, lowering, scheduling, memory planning.
//!
//! A pass is a row of [`pipeline`]: a name, a reason, and a function over a graph. Most are a set of rules: functions
//! that look at one node, state their whole legality in what they match, and rewrite it or leave it alone.

mod attention;
mod cleanup;
mod cut;
mod gather;
mod linear;
pub mod lower;
mod pipeline;
mod quantize;
mod rewrite;

pub use cut::{CutError, cut};
pub use pipeline::{
    Backend, Hook, Pass, PassError, PipelineOptions, passes_by_name, pipeline, run_passes, run_pipeline,
};
