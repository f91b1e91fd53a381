//! What binding a plan to memory relies on: every id exists, every range lies inside its memory, and every call has the
//! arguments that its kernel takes.

use lathe_ir::layout::ALIGN;
use lathe_ir::plan::{Arg, BufferDecl, Call, Plan};

/// The first thing in the plan that cannot be bound, if any.
pub(super) fn check_plan(plan: &Plan) -> Result<(), String> {
    for (id, buffer) in plan.buffers.iter() {
        check_buffer(plan, buffer).map_err(|e| format!("buffer {id} `{}`: {e}", buffer.name))?;
    }
    for kernel in plan.kernels.values() {
        lathe_ir::kernel::verify::verify(kernel).map_err(|e| format!("kernel @{}: {}", kernel.name, e[0]))?;
    }
    for (number, step) in plan.steps.iter().enumerate() {
        for call in &step.calls {
            check_call(plan, call).map_err(|e| format!("step {number} `{}`: {e}", step.label))?;
        }
    }
    let logits = plan.logits.ok_or("it has no logits")?;
    let buffer = plan.buffers.get(logits).ok_or("its logits are no buffer")?;
    let needed = u64::from(plan.limits.outputs) * u64::from(plan.vocab) * 4;
    if buffer.bytes < needed {
        return Err(format!(
            "the logits have {} bytes instead of {needed}",
            buffer.bytes
        ));
    }
    Ok(())
}

fn check_buffer(plan: &Plan, buffer: &BufferDecl) -> Result<(), String> {
    let end = buffer
        .offset
        .checked_add(buffer.bytes)
        .filter(|&end| end <= plan.arena_bytes);
    match end {
        None => Err(format!("it ends past the arena of {} bytes", plan.arena_bytes)),
        Some(_) if !buffer.offset.is_multiple_of(ALIGN) => {
            Err(format!("its offset {} is no multiple of {ALIGN}", buffer.offset))
        }
        Some(_) => Ok(()),
    }
}

fn check_call(plan: &Plan, call: &Call) -> Result<(), String> {
    let kernel = plan
        .kernels
        .get(call.kernel)
        .ok_or_else(|| format!("there is no kernel {}", call.kernel))?;
    if call.args.len() != kernel.bufs.len() || call.scalars.len() != kernel.scalars.len() {
        return Err(format!(
            "@{} takes {} buffers and {} scalars, but gets {} and {}",
            kernel.name,
            kernel.bufs.len(),
            kernel.scalars.len(),
            call.args.len(),
            call.scalars.len()
        ));
    }
    if call.cost == 0 {
        return Err(format!("a unit of @{} costs nothing", kernel.name));
    }
    for arg in &call.args {
        let exists = match *arg {
            Arg::Buffer(buffer) => plan.buffers.get(buffer).is_some(),
            Arg::Section(section) => plan.sections.get(section).is_some(),
            Arg::Kv(_, layer) => (layer as usize) < plan.kv_layers.len(),
            Arg::Rope(rope) => plan.ropes.get(rope).is_some(),
            Arg::Input(_) => true,
        };
        if !exists {
            return Err(format!("@{} gets {arg:?}, which does not exist", kernel.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lathe_ir::graph::KvPart;
    use lathe_ir::kernel::{Access, KernelBuilder};
    use lathe_ir::plan::{Count, Input, Limits, Step};

    fn plan() -> Plan {
        let mut plan = Plan {
            vocab: 4,
            arena_bytes: 64,
            ..Plan::default()
        };
        plan.limits = Limits {
            tokens: 2,
            outputs: 2,
            seqs: 1,
            ctx: 32,
        };
        plan.logits = Some(plan.buffers.push(BufferDecl {
            name: "logits".into(),
            offset: 0,
            bytes: 32,
        }));
        let mut b = KernelBuilder::new("copy");
        b.buf("x", Access::In);
        let kernel = plan.kernels.push(b.finish());
        let args = vec![Arg::Input(Input::Tokens)];
        let call = Call {
            kernel,
            args,
            scalars: Vec::new(),
            units: Count::constant(1),
            cost: 1,
        };
        plan.steps.push(Step {
            label: "copy".into(),
            calls: vec![call],
        });
        plan
    }

    fn error(change: impl Fn(&mut Plan)) -> String {
        let mut plan = plan();
        change(&mut plan);
        check_plan(&plan).unwrap_err()
    }

    #[test]
    fn broken_plans_are_refused() {
        assert_eq!(check_plan(&plan()), Ok(()));
        assert_eq!(error(|p| p.logits = None), "it has no logits");
        assert_eq!(error(|p| p.vocab = 5), "the logits have 32 bytes instead of 40");
        assert_eq!(
            error(|p| p.arena_bytes = 31),
            "buffer b0 `logits`: it ends past the arena of 31 bytes"
        );
        let args = error(|p| p.steps[0].calls[0].args.clear());
        assert_eq!(
            args,
            "step 0 `copy`: @copy takes 1 buffers and 0 scalars, but gets 0 and 0"
        );
        let layer = error(|p| p.steps[0].calls[0].args[0] = Arg::Kv(KvPart::K, 0));
        assert_eq!(layer, "step 0 `copy`: @copy gets Kv(K, 0), which does not exist");
        assert_eq!(
            error(|p| p.steps[0].calls[0].cost = 0),
            "step 0 `copy`: a unit of @copy costs nothing"
        );
    }
}
