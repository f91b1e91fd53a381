//! What the target and the caller want of a plan.

use super::cost::MachineModel;
use super::tuning::{Shape, Tuning};
use lathe_ir::layout::KvTypes;
use lathe_ir::plan::{Limits, ModelOutput};
use std::sync::Arc;

/// What the target and the caller want of a plan.
#[derive(Clone, PartialEq, Debug)]
pub struct LowerOptions {
    /// Bounds of the symbols.
    pub limits: Limits,
    /// Vector width in f32 lanes: 4, 8 or 16.
    pub lanes: u8,
    /// What shapes of products are chosen for where nothing was tuned.
    pub machine: MachineModel,
    /// The shape of all products, whatever the cost model and the tuning say; for measuring shapes.
    pub shape: Option<Shape>,
    /// Shapes that were found best by measuring.
    pub tuning: Option<Arc<Tuning>>,
    /// Whether products of codes with sixteen rows and more are for a matrix unit.
    pub matrix_unit: bool,
    /// How keys and values are stored.
    pub kv_types: KvTypes,
    /// What the graph's result is.
    pub output: ModelOutput,
}

impl LowerOptions {
    /// For vectors of `lanes` f32: 4 (and sixteen registers), 8 (sixteen), 16 (thirty-two), and a typical machine that has
    /// them.
    pub fn for_width(limits: Limits, lanes: u8) -> LowerOptions {
        LowerOptions {
            limits,
            lanes,
            machine: MachineModel::for_width(lanes),
            shape: None,
            tuning: None,
            matrix_unit: false,
            kv_types: KvTypes::default(),
            output: ModelOutput::default(),
        }
    }

    /// The same for a processor that has a matrix unit, or has none.
    pub fn with_matrix_unit(self, matrix_unit: bool) -> LowerOptions {
        LowerOptions { matrix_unit, ..self }
    }

    /// The same with keys and values stored as `kv_types`.
    pub fn with_kv_types(self, kv_types: KvTypes) -> LowerOptions {
        LowerOptions { kv_types, ..self }
    }

    /// The same for a graph whose result is `output`.
    pub fn with_output(self, output: ModelOutput) -> LowerOptions {
        LowerOptions { output, ..self }
    }

    /// The same for the machine that `machine` describes.
    pub fn with_machine(self, machine: MachineModel) -> LowerOptions {
        LowerOptions { machine, ..self }
    }

    /// The same with shapes that were measured, if there are any.
    pub fn with_tuning(self, tuning: Option<Arc<Tuning>>) -> LowerOptions {
        LowerOptions { tuning, ..self }
    }

    /// The same with one shape for all products.
    pub fn with_shape(self, shape: Option<Shape>) -> LowerOptions {
        LowerOptions { shape, ..self }
    }
}
