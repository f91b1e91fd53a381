//! The rules of a plan. A plan that passes makes no launch read or write outside of what it names.
//!
//! - Ids are those of the plan; buffers lie in the arena; sections have a form that kernels read.
//! - A call has an argument for each parameter of its kernel, of a type that fits it: f32 and operands are buffers (or, where
//!   only read and the same for every row, vectors), matrices are sections of exactly the kernel's layout, i32 are inputs,
//!   angles are those of a rotation with as many pairs, and halves of the cache have the kernel's bytes in a block.
//! - Sections of panels are made by one call each of those that run once, which make nothing else.
//! - Kernels that work on tiles of rows work on tiles of the plan's number of rows.
//! - An argument is as large as the kernel reads or writes at the plan's limits and at the call's most rows.
//! - A buffer is written before it is read, and no write of another buffer overlaps it until it was last read.
//! - Of the calls of a launch, at most one fits any number of rows; together they fit all from a first number up to the
//!   limit, or end at a bound.
//! - What finds the largest logits reads them, and alone writes keys.
//! - Each kernel is run by a call.
//! - The logits are a buffer of outputs times vocab f32 that is written; hidden states in their place, one of a row a token.

use super::{Arg, Call, CudaPlan, Form, Launch};
use crate::error::Error;
use crate::kernels::{Kernel, Param, ParamType};
use crate::layout::KvHead;
use lathe_ir::id::Id;
use lathe_ir::plan::{Buffer, BufferDecl};

/// Checks a plan.
///
/// # Errors
/// The first rule that it breaks.
pub fn verify(plan: &CudaPlan) -> Result<(), Error> {
    let fail = |what: String| Error::Plan {
        plan: plan.name.clone(),
        what,
    };
    arena(plan).map_err(fail)?;
    panels(plan).map_err(fail)?;
    for (i, launch) in plan.launches.iter().enumerate() {
        ranges(launch).map_err(|what| fail(format!("launch {i} ({}): {what}", launch.label)))?;
        for call in &launch.calls {
            let most = plan.limits.bound(launch.rows);
            check_call(plan, most, call)
                .map_err(|what| fail(format!("launch {i} ({}): {what}", launch.label)))?;
        }
    }
    lifetimes(plan).map_err(fail)?;
    logits(plan).map_err(fail)?;
    largest(plan).map_err(|what| fail(format!("the largest logits: {what}")))?;
    used(plan).map_err(fail)
}

fn arena(plan: &CudaPlan) -> Result<(), String> {
    for (id, b) in plan.buffers.iter() {
        let end = b.offset.checked_add(b.bytes);
        if end.is_none_or(|end| end > plan.arena_bytes) || !b.offset.is_multiple_of(64) {
            return Err(format!("buffer {id} is not in the arena"));
        }
    }
    for (id, s) in plan.sections.iter() {
        if s.bytes().is_none() {
            return Err(format!("section {id} ({s}) has no form that kernels read"));
        }
    }
    Ok(())
}

/// What is made once: panels, all of them, each by one call.
fn panels(plan: &CudaPlan) -> Result<(), String> {
    let mut made = vec![0; plan.sections.len()];
    for call in &plan.unpacks {
        check_call(plan, 0, call)?;
        match (&plan.kernels[call.kernel], call.args.last()) {
            (Kernel::Unpack(_), Some(Arg::Section(id))) => made[id.index()] += 1,
            (kernel, _) => return Err(format!("{} makes no panels", kernel.name())),
        }
    }
    for (id, decl) in plan.sections.iter() {
        if made[id.index()] != u32::from(decl.panels().is_some()) {
            return Err(format!(
                "section {id} ({decl}) is made {} times",
                made[id.index()]
            ));
        }
    }
    let kept = |call: &Call| {
        let unpack = matches!(plan.kernels.get(call.kernel), Some(Kernel::Unpack(_)));
        unpack && matches!(call.args.last(), Some(Arg::Section(_)))
    };
    match plan.launches.iter().any(|l| l.calls.iter().any(kept)) {
        true => Err("a launch of a step makes panels that are kept".into()),
        false => Ok(()),
    }
}

/// What runs after the rest where nothing but the largest logits is wanted.
fn largest(plan: &CudaPlan) -> Result<(), String> {
    let is_it = |call: &Call| matches!(plan.kernels.get(call.kernel), Some(Kernel::Largest(_)));
    if plan.launches.iter().any(|l| l.calls.iter().any(is_it)) {
        return Err("every step finds them".into());
    }
    let Some(launch) = &plan.largest else {
        return Ok(());
    };
    ranges(launch)?;
    for call in &launch.calls {
        check_call(plan, plan.limits.bound(launch.rows), call)?;
        let logits = plan.logits.map(Arg::Buffer);
        if !is_it(call) || call.args.first().copied() != logits || launch.rows != plan.result_rows() {
            return Err("they are looked for elsewhere".into());
        }
    }
    Ok(())
}

fn used(plan: &CudaPlan) -> Result<(), String> {
    let mut used = vec![false; plan.kernels.len()];
    let launches = plan.launches.iter().chain(&plan.largest);
    let calls = launches.flat_map(|l| &l.calls);
    calls
        .chain(&plan.unpacks)
        .for_each(|call| used[call.kernel.index()] = true);
    match plan.kernels.iter().find(|(id, _)| !used[id.index()]) {
        Some((_, kernel)) => Err(format!("no call runs {}", kernel.name())),
        None => Ok(()),
    }
}

fn ranges(launch: &Launch) -> Result<(), String> {
    let mut end = launch.calls.first().map_or(0, |c| c.least.saturating_sub(1));
    for call in &launch.calls {
        if call.least != end + 1 || call.most < call.least {
            return Err(format!(
                "a call for {} to {} rows follows one for {end}",
                call.least, call.most
            ));
        }
        if call.most == u32::MAX {
            end = u32::MAX - 1;
        } else {
            end = call.most;
        }
    }
    Ok(())
}

fn check_call(plan: &CudaPlan, most: u32, call: &Call) -> Result<(), String> {
    let kernel = plan
        .kernels
        .get(call.kernel)
        .ok_or_else(|| format!("there is no kernel {}", call.kernel))?;
    let params = kernel.params();
    if params.len() != call.args.len() {
        let (want, got) = (params.len(), call.args.len());
        return Err(format!("{} takes {want} arguments, not {got}", kernel.name()));
    }
    if let Kernel::TiledAttention(tiled) = kernel
        && tiled.rows != plan.tile_rows
    {
        return Err(format!(
            "tiles have {} rows, and the kernel works on {}",
            plan.tile_rows, tiled.rows
        ));
    }
    let most = u64::from(call.most.min(most));
    for (param, arg) in params.iter().zip(&call.args) {
        fits(plan, param, *arg, most)
            .map_err(|what| format!("{}: {arg} as {}: {what}", kernel.name(), param.name))?;
    }
    Ok(())
}

fn fits(plan: &CudaPlan, param: &Param, arg: Arg, rows: u64) -> Result<(), String> {
    let need = if param.per_row {
        param.bytes * rows
    } else {
        param.bytes
    };
    let wrong = || Err("it has another type".to_owned());
    let (have, exact) = match (arg, param.ty) {
        (Arg::Buffer(id), ParamType::F32 | ParamType::Operands | ParamType::Panels) => {
            let buffer = plan.buffers.get(id).ok_or("there is no such buffer")?;
            (buffer.bytes, false)
        }
        (Arg::Section(id), ParamType::Panels) => {
            let decl = plan.sections.get(id).ok_or("there is no such section")?;
            if decl.panels().is_none() {
                return wrong();
            }
            (decl.bytes().unwrap_or(0), true)
        }
        (Arg::Section(id), ParamType::Bytes | ParamType::F32) => {
            let decl = plan.sections.get(id).ok_or("there is no such section")?;
            let form = match param.ty {
                ParamType::F32 => Form::Vector,
                _ => Form::Matrix,
            };
            if decl.form != form || param.written || param.per_row {
                return wrong();
            }
            (decl.bytes().unwrap_or(0), true)
        }
        (Arg::Angles(id), ParamType::F64) => {
            let decl = plan.ropes.get(id).ok_or("there is no such rotation")?;
            (u64::from(decl.spec.dims) / 2 * 8, true)
        }
        (Arg::Kv(part, layer), ParamType::Bytes) => {
            let kv = plan
                .kv_layers
                .get(layer as usize)
                .ok_or("there is no such layer")?;
            let head = KvHead {
                head_dim: kv.head_dim,
                ty: kv.types.of(part),
            };
            (head.bytes() * u64::from(kv.kv_heads), true)
        }
        (Arg::Keys, ParamType::Keys) if param.written && param.per_row => return Ok(()),
        // As many as the executable makes of each.
        (Arg::Input(_) | Arg::Tiles, ParamType::I32) if !param.written => return Ok(()),
        _ => return wrong(),
    };
    if have < need || (exact && have != need) {
        return Err(format!("it has {have} bytes, and the kernel works on {need}"));
    }
    Ok(())
}

/// Every buffer that a call has, with whether it writes there.
fn accesses<'p>(plan: &'p CudaPlan, call: &'p Call) -> impl Iterator<Item = (Buffer, bool)> + 'p {
    let params = plan.kernels[call.kernel].params();
    let named = params.into_iter().zip(&call.args);
    named.filter_map(|(param, arg)| match arg {
        Arg::Buffer(id) => Some((*id, param.written)),
        _ => None,
    })
}

fn overlap(a: &BufferDecl, b: &BufferDecl) -> bool {
    a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes
}

/// Follows, for steps of one row and of the most, what the bytes of the arena hold.
fn lifetimes(plan: &CudaPlan) -> Result<(), String> {
    for few in [true, false] {
        let mut held = vec![false; plan.buffers.len()];
        for launch in &plan.launches {
            let rows = if few { 1 } else { plan.limits.bound(launch.rows) };
            let Some(call) = launch.call(rows) else { continue };
            for (id, _) in accesses(plan, call).filter(|(_, written)| !written) {
                if !held[id.index()] {
                    return Err(format!("{} reads {id}, which holds nothing then", launch.label));
                }
            }
            for (id, _) in accesses(plan, call).filter(|(_, written)| *written) {
                let decl = &plan.buffers[id];
                for (other, held) in plan.buffers.ids().zip(&mut held) {
                    *held &= other == id || !overlap(decl, &plan.buffers[other]);
                }
                held[id.index()] = true;
            }
        }
        if plan.logits.is_none_or(|id| held.get(id.index()) != Some(&true)) {
            return Err("the logits are not in the arena at the end".into());
        }
    }
    Ok(())
}

fn logits(plan: &CudaPlan) -> Result<(), String> {
    let bytes = plan.logits.and_then(|id| plan.buffers.get(id)).map(|b| b.bytes);
    let rows = plan.limits.bound(plan.result_rows());
    let want = u64::from(rows) * u64::from(plan.width()) * 4;
    match bytes == Some(want) && plan.vocab > 0 && plan.width() > 0 {
        true => Ok(()),
        false => Err(format!("the logits have {bytes:?} bytes and not {want}")),
    }
}

/// Whether two kernels of one name would be different ones.
pub fn same(a: &Kernel, b: &Kernel) -> bool {
    a.source() == b.source()
}
