//! Compiles a model into the cache.

use super::format::{CODE, KERNELS, PLAN, PlanData, TOKENIZER, WEIGHTS, WeightsData};
use super::key::Key;
use super::{PACKING, Plans, Progress};
use crate::build::{BuildError, BuildOptions, cpu_options, limits, optimize};
use lathe_codegen_cpu::pack::CHUNK;
use lathe_codegen_cpu::{CpuOptions, compile_kernels, pack_weights, packed_bytes, rope_factors};
use lathe_frontend::model::Model;
use lathe_ir::plan::Plan;
use lathe_passes::lower::{LowerOptions, lower};
use lathe_runtime::cache::{Bundle, BundleWriter, Cache, Kind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Stages and their time, in order.
pub type Stages = Vec<(String, Duration)>;

// A chunk that is packed is a chunk that is hashed and written.
const _: () = assert!(CHUNK == lathe_runtime::cache::CHUNK);

/// Compiles the model in the file at `path`, unless another process was faster.
pub(super) fn compile(
    plans: &Plans,
    key: &Key,
    path: &Path,
    options: &BuildOptions,
) -> Result<(Bundle, Stages), BuildError> {
    let mut stages = Stages::new();
    let plan = plans.cache.get_or_make(Kind::Plan, &key.id, |writer| {
        (plans.progress)(Progress::Begin);
        let before = Cache::stamps(&key.files)?;
        let mut job = Job {
            plans,
            key,
            path,
            stages: &mut stages,
        };
        let data = job.compile(options, writer);
        (plans.progress)(Progress::End);
        // The id is that of the content that was hashed.
        match Cache::stamps(&key.files)? == before {
            true => data,
            false => Err(BuildError::Changed(path.to_owned())),
        }
    })?;
    Ok((plan, stages))
}

struct Job<'a> {
    plans: &'a Plans<'a>,
    key: &'a Key,
    path: &'a Path,
    stages: &'a mut Stages,
}

impl Job<'_> {
    fn time<T>(&mut self, stage: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.stages.push((stage.to_owned(), start.elapsed()));
        result
    }

    fn compile(&mut self, options: &BuildOptions, writer: &mut BundleWriter) -> Result<PlanData, BuildError> {
        let path = self.path;
        let model = self.time("load", || Model::load_for(path, options.output))?;
        let graph = self.time("passes", || optimize(&model.graph, options.verify))?;
        let lowering = LowerOptions {
            limits: limits(&model, options)?,
            ..self.key.lowering.clone()
        };
        let plan = self.time("lower", || lower(&graph, &lowering))?;
        drop(graph);
        let cpu = cpu_options(&plan, self.key.features.clone(), options);
        let stage = format!("compile {} kernels", plan.kernels.len());
        let kernels = self.time(&stage, || compile_kernels(&plan, &cpu))?;
        let (code, entries) = kernels.image();
        writer.write(CODE, code)?;
        writer.write(PLAN, plan.without_bodies().to_string().as_bytes())?;
        let texts: Vec<String> = plan.kernels.values().map(|k| format!("{k}\n")).collect();
        writer.write(KERNELS, texts.concat().as_bytes())?;
        let weights = self.weights(&model, &plan, &cpu)?;
        Ok(PlanData {
            model: model.config.name.clone(),
            source: path.to_owned(),
            features: cpu.features.to_string(),
            threads: options.threads,
            kv_types: options.kv_types.unwrap_or_default().to_string(),
            chunk: plan.limits.tokens,
            pooling: model.pooling,
            outputs: plan.limits.outputs,
            seqs: plan.limits.seqs,
            context: plan.limits.ctx,
            weights,
            entries: entries.to_vec(),
            rope_factors: rope_factors(&plan, &model.weights)?,
            stages: self
                .stages
                .iter()
                .map(|(stage, time)| (stage.clone(), time.as_secs_f64()))
                .collect(),
        })
    }

    /// The id of the packed weights, which several plans share; they are packed where they are not there.
    fn weights(&mut self, model: &Model, plan: &Plan, cpu: &CpuOptions) -> Result<String, BuildError> {
        let sections: Vec<String> = plan.sections.values().map(ToString::to_string).collect();
        let content = self.key.content.to_string();
        let id = Cache::id(&["weights", PACKING, &content, &sections.join("\n")]);
        let cache = self.plans.cache;
        if cache.get(Kind::Weights, &id)?.is_some() {
            return Ok(id);
        }
        let bytes = packed_bytes(plan)?;
        let start = Instant::now();
        cache.get_or_make(Kind::Weights, &id, |writer| -> Result<WeightsData, BuildError> {
            self.pack(model, plan, cpu, bytes, writer)?;
            if let Ok(tokenizer) = &model.text.tokenizer {
                writer.write(TOKENIZER, &tokenizer.to_bytes())?;
            }
            let template = model.text.chat_template.as_ref();
            Ok(WeightsData {
                model: model.config.name.clone(),
                source: self.path.to_owned(),
                chat_template: template.and_then(|t| Some(t.as_ref().ok()?.source().to_owned())),
                no_tokenizer: model.text.tokenizer.as_ref().err().cloned(),
            })
        })?;
        let time = start.elapsed();
        let rate = bytes as f64 / 1e9 / time.as_secs_f64().max(1e-9);
        let stage = format!("pack weights ({:.2} GB at {rate:.1} GB/s)", bytes as f64 / 1e9);
        self.stages.push((stage, time));
        Ok(id)
    }

    fn pack(
        &self,
        model: &Model,
        plan: &Plan,
        cpu: &CpuOptions,
        bytes: u64,
        writer: &mut BundleWriter,
    ) -> Result<(), BuildError> {
        let chunks = writer.chunks(WEIGHTS, bytes)?;
        let done = AtomicU64::new(0);
        pack_weights(plan, &model.weights, cpu, &|number, chunk| {
            chunks.put(number, chunk)?;
            let done = done.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
            (self.plans.progress)(Progress::Packed(done, bytes));
            Ok(())
        })?;
        Ok(writer.end_chunks(chunks)?)
    }
}
