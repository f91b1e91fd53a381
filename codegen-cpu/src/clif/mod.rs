//! Kernel IR to machine code through Cranelift.
//!
//! Kernels call nothing: the code of each is position-independent and has no relocations, so that it can be written to
//! memory as it is. Results equal the definition of the ops bit for bit.

mod arith;
mod dot;
mod hoist;
mod lower;
mod memory;
mod reuse;
mod value;

use crate::Error;
use crate::kernels::Code;
use crate::target::CpuFeatures;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::settings::OptLevel;
use cranelift_codegen::{CodegenResult, CompiledCode, Context};
use lathe_ir::kernel::Kernel;

/// Compiles one kernel; `text` asks for its printed forms.
pub(crate) fn compile(
    kernel: &Kernel,
    features: &CpuFeatures,
    isa: &dyn TargetIsa,
    text: bool,
) -> Result<Code, Error> {
    let error = |what: String| Error::Compile {
        kernel: kernel.name.clone(),
        what,
    };
    let function = lower::lower_kernel(kernel, features, isa)?;
    let clif = text.then(|| function.display().to_string());
    let compiled = generate(function, isa, text).map_err(|e| error(format!("{e:?}")))?;
    if let Some(reloc) = compiled.buffer.relocs().first() {
        return Err(error(format!(
            "the code needs {:?}, which is outside of it",
            reloc.target
        )));
    }
    Ok(Code {
        bytes: compiled.code_buffer().to_vec(),
        assembly: compiled.vcode.clone(),
        clif,
    })
}

/// Generates machine code. Without optimization, this takes the steps of Cranelift's own driver but one: it keeps block
/// parameters that always get the same value, which the lowering uses (see `broadcast`).
fn generate(function: Function, isa: &dyn TargetIsa, text: bool) -> CodegenResult<CompiledCode> {
    let mut control = ControlPlane::default();
    let mut context = Context::for_function(function);
    context.verify_if(isa)?;
    if isa.flags().opt_level() == OptLevel::None {
        context.flowgraph();
        context.eliminate_unreachable_code(isa)?;
        context.func.dfg.resolve_all_aliases();
    } else {
        context.optimize(isa, &mut control)?;
    }
    let registers = &mut Default::default();
    let stencil = isa.compile_function(&context.func, &context.domtree, registers, text, &mut control)?;
    Ok(stencil.apply_params(&context.func.params))
}
