//! The pass pipeline: rewrites, fusions, lowering, scheduling, memory planning.
