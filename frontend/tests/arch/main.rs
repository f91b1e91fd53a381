//! Architectures: graphs are evaluated by the interpreter and compared with a plain forward pass in f64 (tiny models
//! that the test writes) and with reference logits (`../shared/conformance`, where it is there).

mod eval;
mod npy;
mod reference;
mod shared;
mod tiny;
