//! Tests of plans: what the verifier refuses.
