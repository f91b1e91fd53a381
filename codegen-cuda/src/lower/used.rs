//! Kernels that some call runs: of those made for numbers of rows that a better one took over, none stays.

use crate::plan::{Call, CudaPlan};
use lathe_ir::id::Id;
use lathe_ir::plan::KernelId;

/// Calls of the plan.
fn calls(plan: &mut CudaPlan) -> impl Iterator<Item = &mut Call> {
    let launches = plan.launches.iter_mut().chain(&mut plan.largest);
    let launches = launches.flat_map(|l| &mut l.calls);
    plan.unpacks.iter_mut().chain(launches)
}

/// Leaves out kernels that no call runs, and numbers the rest anew.
pub(super) fn keep_used(plan: &mut CudaPlan) {
    let mut used = vec![false; plan.kernels.len()];
    calls(plan).for_each(|call| used[call.kernel.index()] = true);
    let all = std::mem::take(&mut plan.kernels);
    let mut numbers: Vec<Option<KernelId>> = vec![None; used.len()];
    for (id, kernel) in all.iter() {
        numbers[id.index()] = used[id.index()].then(|| plan.kernels.push(kernel.clone()));
    }
    for call in calls(plan) {
        call.kernel = numbers[call.kernel.index()].unwrap_or(call.kernel);
    }
}
