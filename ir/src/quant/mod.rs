//! The quant-format table.
