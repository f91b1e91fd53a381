//! Tables of rotations: cosines and sines of the angles at each row's position.

use lathe_ir::plan::RopeDecl;

/// What a table is filled from.
pub(super) struct RopeAngles {
    /// Angle of each pair at position 1.
    per_position: Vec<f64>,
    magnitude: f64,
}

impl RopeAngles {
    /// `None` where there are not as many factors as the declaration asks for.
    pub(super) fn new(decl: &RopeDecl, factors: Option<&[f32]>) -> Option<RopeAngles> {
        Some(RopeAngles {
            per_position: decl.angles(factors)?,
            magnitude: f64::from(decl.spec.magnitude),
        })
    }

    /// f32 of a row: cosines, then sines.
    pub(super) fn row_len(&self) -> usize {
        2 * self.per_position.len()
    }

    /// Fills the row of `position`, `row_len` long.
    pub(super) fn fill(&self, position: u32, row: &mut [f32]) {
        let (cosines, sines) = row.split_at_mut(self.per_position.len());
        for ((angle, cos), sin) in self.per_position.iter().zip(cosines).zip(sines) {
            let (s, c) = (angle * f64::from(position)).sin_cos();
            (*cos, *sin) = ((c * self.magnitude) as f32, (s * self.magnitude) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lathe_ir::graph::{RopePairs, RopeSpec};

    fn decl(dims: u32, factors: Option<&str>) -> RopeDecl {
        let spec = RopeSpec {
            pairs: RopePairs::Half,
            dims,
            base: 100.0,
            freq_scale: 0.5,
            magnitude: 2.0,
        };
        RopeDecl {
            spec,
            factors: factors.map(str::to_owned),
        }
    }

    #[test]
    fn rows_hold_cosines_then_sines() {
        let angles = RopeAngles::new(&decl(4, Some("factors")), Some(&[1.0, 4.0])).unwrap();
        let mut row = vec![0.0; angles.row_len()];
        angles.fill(8, &mut row);
        // Angles 8 · 0.5 · 1 / 1 and 8 · 0.5 · 0.1 / 4.
        let want = [4.0f64.cos(), 0.1f64.cos(), 4.0f64.sin(), 0.1f64.sin()].map(|x| (2.0 * x) as f32);
        for (got, want) in row.iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{row:?}");
        }
        angles.fill(0, &mut row);
        assert_eq!(row, [2.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn factors_must_fit() {
        let fits = |decl: RopeDecl, factors: Option<&[f32]>| RopeAngles::new(&decl, factors).is_some();
        assert!(fits(decl(4, None), None));
        assert!(!fits(decl(4, None), Some(&[1.0, 4.0])));
        assert!(!fits(decl(4, Some("factors")), None));
        assert!(!fits(decl(8, Some("factors")), Some(&[1.0, 4.0])));
    }
}
