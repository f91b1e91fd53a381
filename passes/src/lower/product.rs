//! How products come to their shapes, and what is remembered of it.

use super::Lowering;
use super::cost::{MachineModel, Prediction, Product, UnitColumns, unit_sizes};
use super::linear::Tile;
use super::tuning::{ProductKey, Shape};

/// Where a shape came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The options.
    Given,
    /// Measurements.
    Tuned,
    /// The cost model.
    Model,
}

/// What was decided for a product.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    pub(super) shape: Shape,
    source: Source,
    pub(super) columns: u32,
    prediction: Prediction,
}

/// A product of a plan, and how it came to its shape.
#[derive(Clone, Debug)]
pub struct LoweredProduct {
    /// The step of its call.
    pub step: usize,
    /// The number of the call in the step.
    pub call: usize,
    /// What the product is.
    pub key: ProductKey,
    /// Outputs of a unit.
    pub columns: u32,
    /// Its shape.
    pub shape: Shape,
    /// Where the shape came from.
    pub source: Source,
    /// What the cost model says of it.
    pub prediction: Prediction,
    machine: MachineModel,
    product: Product,
}

impl LoweredProduct {
    pub(super) fn new(
        (step, call): (usize, usize),
        key: ProductKey,
        decision: Decision,
        machine: MachineModel,
        product: Product,
    ) -> LoweredProduct {
        LoweredProduct {
            step,
            call,
            key,
            columns: decision.columns,
            shape: decision.shape,
            source: decision.source,
            prediction: decision.prediction,
            machine,
            product,
        }
    }

    /// What the cost model says of another shape.
    pub fn predict(&self, shape: &Shape) -> Prediction {
        self.product.predict(&self.machine, shape)
    }

    /// Outputs of a unit in another shape.
    pub fn columns_of(&self, shape: &Shape) -> u32 {
        self.product.unit_columns(&self.machine, shape.unit_bytes)
    }

    /// Tiles that the product can have, without prefetching.
    pub fn tiles(&self) -> Vec<Tile> {
        self.product.tiles()
    }

    /// Bytes of weights in a unit that are worth trying.
    pub fn unit_sizes(&self) -> Vec<u32> {
        unit_sizes(&self.machine).collect()
    }
}

impl Lowering<'_> {
    /// The shape of a product: the one that the options name, else the one that was measured, else what the cost model
    /// prefers.
    pub(super) fn decide(&mut self, product: &Product, key: ProductKey) -> Decision {
        let smallest = match product.columns {
            UnitColumns::Head(columns) | UnitColumns::AtLeast(columns) => columns,
        };
        if let Some(&known) = self.shapes.get(&(key.clone(), smallest)) {
            return known;
        }
        let tuned = self.options.tuning.as_ref().and_then(|t| t.get(&key));
        let machine = self.options.machine;
        let (shape, source) = match (self.options.shape, tuned) {
            (Some(shape), _) => (shape, Source::Given),
            (None, Some(shape)) => (shape, Source::Tuned),
            (None, None) => (product.choose(&machine), Source::Model),
        };
        let decision = Decision {
            shape,
            source,
            columns: product.unit_columns(&machine, shape.unit_bytes),
            prediction: product.predict(&machine, &shape),
        };
        self.shapes.insert((key, smallest), decision);
        decision
    }
}
