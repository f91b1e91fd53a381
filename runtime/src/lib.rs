//! The engine: step loop, paged KV, sampling, streaming.
