//! Lathe: compiles GGUF language models into plans for one machine and runs them.
