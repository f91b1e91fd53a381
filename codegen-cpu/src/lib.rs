//! CPU code: Cranelift lowering, packed weights, thread pool, executable.
