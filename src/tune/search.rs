//! Which shapes are tried, in which order, for how long, and which one wins.
//!
//! Three stages, each from what the one before chose: tiles of rows, bytes of a unit, and how far ahead a single row
//! prefetches. In each stage a product gets time by its share of the model's weights. All its shapes run in turn; after
//! half the time all but the best few are dropped. A shape wins where it is at least two percent faster than the default
//! in the median of the rounds and in the fastest ones; else, and on a machine too busy to tell, the default stays.

use super::TuneError;
use super::probe::{Experiment, Probe, Setting, Site};
use crate::build::{BuildOptions, cpu_features, limits, lower_options, optimize};
use lathe_codegen_cpu::limits::Caches;
use lathe_frontend::model::Model;
use lathe_ir::graph::Graph;
use lathe_ir::plan::{Arg, Plan, SectionForm};
use lathe_ir::types::Sym;
use lathe_passes::lower::{
    LowerOptions, Lowered, LoweredProduct, MANY_ROWS, Prediction, ProductKey, Shape, Tile, Tuning,
    lower_with_products,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much faster than the default a shape must be.
const GAIN: f64 = 0.98;
/// How much slower it may be for the other number of rows.
const LOSS: f64 = 1.01;
/// Most shapes that a stage tries, the default not counted.
const CANDIDATES: usize = 14;
/// Shapes left after half of the time, the default not counted.
const FINALISTS: usize = 3;
/// Rounds: at least in the first half, at least in the second, at most in each.
const ROUNDS: (usize, usize, usize) = (2, 5, 40);
/// The spread of a product's own times above which no shape is taken: the machine is too busy to tell.
pub const BUSY: f64 = 0.2;
/// Products with many rows run on the weights of so many layers.
const MANY_SITES: usize = 2;
/// Shares of the time that the three stages may take.
const SHARES: [f64; 3] = [0.55, 0.25, 0.2];
/// What the stages try.
const STAGES: [&str; 3] = ["tiles", "units", "prefetching"];
/// Distances of prefetching that are tried.
const AHEAD: [u32; 4] = [0, 1024, 2048, 4096];

/// What became of a product.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The product.
    pub key: ProductKey,
    /// Calls of it in the model.
    pub calls: usize,
    /// Its shape without tuning.
    pub default: Shape,
    /// Its shape now.
    pub best: Shape,
    /// Its time for [`MANY_ROWS`] rows, as a share of the default's; `None` where it never has many rows or time was up.
    pub many: Option<f64>,
    /// Its time for one row, as a share of the default's; `None` where time was up.
    pub one: Option<f64>,
    /// How much longer the default took in the median than at best, in the worst stage: a sign of a busy machine.
    pub spread: f64,
    /// Shapes that were tried.
    pub trials: Vec<Trial>,
}

/// A shape that was tried, and its times as shares of those of another.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The shape.
    pub shape: Shape,
    /// The shape that it was compared with.
    pub against: Shape,
    /// For [`MANY_ROWS`] rows, where that was measured.
    pub many: Option<f64>,
    /// For one row, where that was measured.
    pub one: Option<f64>,
    /// What the cost model says for many rows.
    pub predicted_many: f64,
    /// What the cost model says for one row.
    pub predicted_one: f64,
}

/// A distinct product of the model.
struct Job {
    key: ProductKey,
    sites: Vec<Site>,
    /// The first of its calls, as lowered without tuning.
    product: LoweredProduct,
    best: Shape,
    /// Bytes of packed weights of one call.
    bytes: u64,
    /// Whether it has as many rows as a step has tokens.
    many: bool,
    spread: f64,
    many_share: Option<f64>,
    one_share: Option<f64>,
    trials: Vec<Trial>,
}

/// Tries shapes for all products of a model for about `time`, and returns what was found, products with the most weights
/// first. `note` is told what is being tried.
///
/// # Errors
/// As builds up to the plan; and where a kernel can't be compiled or run.
pub fn tune(
    model: &Model,
    options: &BuildOptions,
    time: Duration,
    note: &mut dyn FnMut(&str),
) -> Result<Vec<Tuned>, TuneError> {
    let start = Instant::now();
    let features = cpu_features(&options.cpu_features)?;
    let mut bounds = limits(model, options)?;
    bounds.tokens = bounds.tokens.min(MANY_ROWS);
    bounds.outputs = bounds.outputs.min(bounds.tokens);
    let mut search = Search {
        graph: optimize(&model.graph, options.verify)?,
        options: lower_options(bounds, &features, options.threads)
            .with_kv_types(options.kv_types.unwrap_or_default())
            .with_output(model.output()),
        setting: Setting {
            weights: &model.weights,
            features: &features,
            threads: options.threads,
        },
        caches: Caches::host(),
        jobs: Vec::new(),
    };
    search.find_jobs()?;
    let mut until = start;
    for (stage, share) in SHARES.into_iter().enumerate() {
        until += time.mul_f64(share);
        search.stage(stage, until, note)?;
    }
    Ok(search.jobs.into_iter().map(Job::result).collect())
}

/// The shapes that differ from the default, for later builds.
///
/// # Errors
/// Never for results of [`tune`]: their shapes are possible.
pub fn keep(results: &[Tuned], into: &mut Tuning) -> Result<(), lathe_passes::lower::TuningError> {
    for result in results {
        into.remove(&result.key);
        if result.best != result.default {
            into.set(result.key.clone(), result.best)?;
        }
    }
    Ok(())
}

struct Search<'m> {
    graph: Graph,
    options: LowerOptions,
    setting: Setting<'m>,
    caches: Caches,
    jobs: Vec<Job>,
}

impl Search<'_> {
    fn find_jobs(&mut self) -> Result<(), TuneError> {
        let lowered = lower_with_products(&self.graph, &self.options)?;
        for product in &lowered.products {
            let site = (product.step, product.call);
            if let Some(job) = self.jobs.iter_mut().find(|job| job.key == product.key) {
                job.sites.push(site);
                continue;
            }
            let call = &lowered.plan.steps[site.0].calls[site.1];
            self.jobs.push(Job {
                key: product.key.clone(),
                sites: vec![site],
                product: product.clone(),
                best: product.shape,
                bytes: weight_bytes(&lowered.plan, &call.args),
                many: call.scalars.iter().any(|c| c.sym == Some(Sym::Tokens))
                    || self.options.limits.outputs > 1,
                many_share: None,
                one_share: None,
                spread: 0.0,
                trials: Vec::new(),
            });
        }
        self.jobs.sort_by_key(|job| std::cmp::Reverse(job.work()));
        Ok(())
    }

    /// One stage for every product, until about `until`.
    fn stage(&mut self, stage: usize, until: Instant, note: &mut dyn FnMut(&str)) -> Result<(), TuneError> {
        let candidates: Vec<Vec<Shape>> = self.jobs.iter().map(|job| self.candidates(job, stage)).collect();
        let plans = self.lower_all(&candidates)?;
        let mut work: u64 = self.jobs.iter().map(Job::work).sum();
        for (index, shapes) in candidates.iter().enumerate() {
            let job = &self.jobs[index];
            let left = until.saturating_duration_since(Instant::now());
            let share = left.mul_f64(job.work() as f64 / work.max(1) as f64);
            work -= job.work();
            let variants = variants(job, shapes, &plans);
            if variants.len() < 2 || left.is_zero() {
                continue;
            }
            note(&format!(
                "{} of {} shapes: {}",
                STAGES[stage],
                variants.len(),
                job.key
            ));
            let (many, one) = (job.many && stage < 2, stage > 0);
            let share = if many && one { share / 2 } else { share };
            let measured = |wanted: bool, many: bool| {
                wanted
                    .then(|| self.measure(job, &variants, many, share))
                    .transpose()
            };
            let (many, one) = (measured(many, true)?, measured(one, false)?);
            let (many, many_spread) = many.unzip();
            let (one, one_spread) = one.unzip();
            let job = &mut self.jobs[index];
            job.spread = [many_spread, one_spread]
                .into_iter()
                .flatten()
                .fold(job.spread, f64::max);
            job.decide(&variants, many.as_deref(), one.as_deref());
        }
        Ok(())
    }

    /// What a stage tries for a product; the present choice first, then what the cost model finds most promising: the fewer
    /// there are, the longer each is measured.
    fn candidates(&self, job: &Job, stage: usize) -> Vec<Shape> {
        let (best, product) = (job.best, &job.product);
        let with_tile = |tile| Shape { tile, ..best };
        let mut others: Vec<Shape> = match stage {
            0 if job.many => product.tiles().into_iter().map(with_tile).collect(),
            0 => Vec::new(),
            1 => {
                let sizes = product.unit_sizes().into_iter();
                sizes.map(|unit_bytes| Shape { unit_bytes, ..best }).collect()
            }
            _ => AHEAD
                .map(|prefetch| {
                    with_tile(Tile {
                        prefetch,
                        ..best.tile
                    })
                })
                .to_vec(),
        };
        // Sizes that make the same units are the same.
        let mut seen = vec![self.effect(job, &best)];
        others.retain(|shape| {
            let effect = self.effect(job, shape);
            let new = !seen.contains(&effect);
            seen.push(effect);
            new
        });
        others.sort_by(|a, b| product.predict(a).many.total_cmp(&product.predict(b).many));
        others.truncate(CANDIDATES);
        [best].into_iter().chain(others).collect()
    }

    /// What a shape comes down to.
    fn effect(&self, job: &Job, shape: &Shape) -> (Tile, u32) {
        (shape.tile, job.product.columns_of(shape))
    }

    /// Plans of which number i has candidate i of every product.
    fn lower_all(&self, candidates: &[Vec<Shape>]) -> Result<Vec<Lowered>, TuneError> {
        let most = candidates.iter().map(Vec::len).max().unwrap_or(0);
        let plan = |i: usize| -> Result<Lowered, TuneError> {
            let mut tuning = Tuning::default();
            for (job, shapes) in self.jobs.iter().zip(candidates) {
                let shape = shapes.get(i).or(shapes.first()).copied().unwrap_or(job.best);
                tuning
                    .set(job.key.clone(), shape)
                    .expect("candidates are possible");
            }
            let options = self.options.clone().with_tuning(Some(Arc::new(tuning)));
            Ok(lower_with_products(&self.graph, &options)?)
        };
        (0..most).map(plan).collect()
    }

    /// The variants' times as shares of the first one's: all of them for half of the time, the best few for the rest. And
    /// the spread of the first one's times.
    fn measure(
        &self,
        job: &Job,
        variants: &[Variant],
        many: bool,
        time: Duration,
    ) -> Result<(Vec<Share>, f64), TuneError> {
        let start = Instant::now();
        let all: Vec<usize> = (0..variants.len()).collect();
        let (first, _) = self.rounds(job, variants, &all, many, (ROUNDS.0, start + time / 2))?;
        let mut order: Vec<usize> = (1..variants.len()).collect();
        order.sort_by(|&a, &b| first[a].total_cmp(&first[b]));
        order.truncate(FINALISTS);
        let finalists: Vec<usize> = [0].into_iter().chain(order).collect();
        let (second, spread) = self.rounds(job, variants, &finalists, many, (ROUNDS.1, start + time))?;
        let mut shares: Vec<Share> = first.into_iter().map(|of| Share { of, last: false }).collect();
        for (&index, of) in finalists.iter().zip(second) {
            let last = spread <= BUSY;
            shares[index] = Share { of, last };
        }
        Ok((shares, spread))
    }

    /// The times of `chosen` as shares of the time of the first of them, and the spread of that, from at least `least` rounds.
    fn rounds(
        &self,
        job: &Job,
        variants: &[Variant],
        chosen: &[usize],
        many: bool,
        (least, until): (usize, Instant),
    ) -> Result<(Vec<f64>, f64), TuneError> {
        let memory = 2 * self.caches.l3.max(self.caches.l2);
        let wanted = match many {
            true => MANY_SITES,
            false => memory.div_ceil(job.bytes.max(1)).max(1) as usize,
        };
        let sites = &job.sites[..wanted.min(job.sites.len())];
        let read = job.bytes * sites.len() as u64;
        let experiment = Experiment {
            variants: chosen.iter().map(|&i| variants[i].plan).collect(),
            sites,
            rows: if many { self.options.limits.tokens } else { 1 },
            flush: if many { 0 } else { memory.saturating_sub(read) },
        };
        let mut probe = Probe::new(&experiment, &self.setting)?;
        probe.run()?;
        let mut rounds: Vec<Vec<f64>> = Vec::new();
        while rounds.len() < least || (rounds.len() < ROUNDS.2 && Instant::now() < until) {
            let times = probe.run()?;
            rounds.push(times.iter().map(|t| t.as_secs_f64().max(1e-9)).collect());
        }
        let shares = (0..chosen.len()).map(|i| share(&rounds, i)).collect();
        Ok((shares, spread(&rounds)))
    }
}

/// The time of variant `i` as a share of the first one's, from the times of rounds: the larger of the median of the
/// rounds' shares and of the share of the fastest rounds, so that a shape is not better than both say; and at least 1
/// where not three rounds of four agree that it is faster at all.
fn share(rounds: &[Vec<f64>], i: usize) -> f64 {
    let mut shares: Vec<f64> = rounds.iter().map(|times| times[i] / times[0]).collect();
    let middle = median(&mut shares).max(fastest(rounds, i) / fastest(rounds, 0));
    let faster = shares.iter().filter(|&&share| share < 1.0).count();
    if 4 * faster < 3 * shares.len() {
        middle.max(1.0)
    } else {
        middle
    }
}

/// How much longer the first variant takes in the median than at best: what else the machine does.
fn spread(rounds: &[Vec<f64>]) -> f64 {
    let mut times: Vec<f64> = rounds.iter().map(|times| times[0]).collect();
    median(&mut times) / fastest(rounds, 0) - 1.0
}

fn fastest(rounds: &[Vec<f64>], i: usize) -> f64 {
    rounds.iter().map(|times| times[i]).fold(f64::INFINITY, f64::min)
}

/// The candidates of a job with their plans.
fn variants<'p>(job: &Job, candidates: &[Shape], plans: &'p [Lowered]) -> Vec<Variant<'p>> {
    let variants = candidates.iter().zip(plans).map(|(&shape, lowered)| Variant {
        shape,
        plan: &lowered.plan,
        prediction: job.product.predict(&shape),
    });
    variants.collect()
}

/// A shape with its kernels.
struct Variant<'p> {
    shape: Shape,
    plan: &'p Plan,
    prediction: Prediction,
}

/// A time as a share of the default's.
#[derive(Clone, Copy)]
struct Share {
    of: f64,
    /// Whether it was measured to the end.
    last: bool,
}

impl Job {
    /// Its share of the model's work, for one row as for many.
    fn work(&self) -> u64 {
        self.bytes * self.sites.len() as u64
    }

    /// Takes the best variant where it is better than the first by enough, and no worse for the other number of rows.
    fn decide(&mut self, variants: &[Variant], many: Option<&[Share]>, one: Option<&[Share]>) {
        let at = |shares: Option<&[Share]>, i: usize| shares.map_or(1.0, |s| s[i].of);
        let ended = |i: usize| [many, one].into_iter().flatten().all(|s| s[i].last);
        let good = |&i: &usize| {
            let (many, one) = (at(many, i), at(one, i));
            ended(i) && many.min(one) <= GAIN && many.max(one) <= LOSS
        };
        let both = |i: usize| at(many, i) * at(one, i);
        let best = (1..variants.len())
            .filter(good)
            .min_by(|&a, &b| both(a).total_cmp(&both(b)))
            .unwrap_or(0);
        self.best = variants[best].shape;
        let first = variants[0].prediction;
        self.trials
            .extend(variants.iter().enumerate().skip(1).map(|(i, variant)| Trial {
                shape: variant.shape,
                against: variants[0].shape,
                many: many.map(|s| s[i].of),
                one: one.map(|s| s[i].of),
                predicted_many: variant.prediction.many / first.many,
                predicted_one: variant.prediction.one / first.one,
            }));
        for (total, measured) in [(&mut self.many_share, many), (&mut self.one_share, one)] {
            if let Some(shares) = measured {
                *total = Some(total.unwrap_or(1.0) * shares[best].of);
            }
        }
    }

    fn result(self) -> Tuned {
        Tuned {
            calls: self.sites.len(),
            key: self.key,
            default: self.product.shape,
            best: self.best,
            many: self.many_share,
            one: self.one_share,
            spread: self.spread,
            trials: self.trials,
        }
    }
}

/// Bytes of the packed matrices among the arguments.
fn weight_bytes(plan: &Plan, args: &[Arg]) -> u64 {
    let bytes = args.iter().filter_map(|arg| {
        let Arg::Section(id) = arg else { return None };
        let decl = &plan.sections[*id];
        let rows = decl.ty.dims.first()?.constant()?;
        let layout = lathe_ir::layout::PackedLayout::of(decl.ty.dtype, rows, decl.ty.columns()?).ok()?;
        (decl.form == SectionForm::Panels).then(|| layout.bytes())
    });
    bytes.sum()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::INFINITY,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_what_median_and_fastest_agree_on() {
        let rounds = |times: &[[f64; 2]]| -> Vec<Vec<f64>> { times.iter().map(|t| t.to_vec()).collect() };
        let even = rounds(&[[1.0, 0.9]; 5]);
        assert_eq!(share(&even, 0), 1.0);
        assert_eq!(share(&even, 1), 0.9);
        assert_eq!(spread(&even), 0.0);
        // One disturbed round of the first variant changes nothing.
        assert_eq!(
            share(&rounds(&[[1.0, 0.9], [1.0, 0.9], [9.0, 0.9], [1.0, 0.9]]), 1),
            0.9
        );
        // Luck in the fastest round alone, or in a few rounds, is no gain.
        assert_eq!(share(&rounds(&[[1.0, 1.0], [1.0, 1.0], [1.0, 0.5]]), 1), 1.0);
        assert_eq!(share(&rounds(&[[2.0, 1.0], [2.0, 1.0], [1.0, 1.1]]), 1), 1.0);
        let busy = rounds(&[[1.0, 1.0], [1.5, 1.0], [2.0, 1.0]]);
        assert_eq!(spread(&busy), 0.5);
    }
}
