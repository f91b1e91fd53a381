//! What measurements chose: shapes of products by what the products are, and their text.
//!
//! The text is a JSON object of a version and a list of products; see [`Tuning::parse`] for what is refused.

use super::linear::Tile;
use lathe_ir::layout::PANEL_ROWS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the text. It counts up when a field changes its meaning, and when generators change so much that
/// earlier measurements say nothing about them.
const VERSION: u32 = 1;

/// The most products in a text: far more than a model has.
const MOST_PRODUCTS: usize = 4096;

/// What a product is, as far as its speed goes: equal keys have equal kernels but for their shape.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProductKey {
    /// Outputs.
    pub n: u32,
    /// Length of a row.
    pub k: u32,
    /// Element type of the weight, as the file has it.
    pub format: String,
    /// Element type of the input, then what happens to the sums and where they go, separated by dots.
    pub epilogue: String,
    /// Vector width in f32 lanes.
    pub lanes: u8,
}

impl std::fmt::Display for ProductKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ProductKey {
            n,
            k,
            format,
            epilogue,
            lanes,
        } = self;
        write!(f, "{format}.{n}x{k}.{epilogue}.w{lanes}")
    }
}

/// How a product is tiled and cut.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Shape {
    /// The tile.
    pub tile: Tile,
    /// Most bytes of weights in a unit of several panels.
    pub unit_bytes: u32,
}

impl Shape {
    /// Why no product of this vector width can have the shape; `None` where products can.
    pub fn fault(&self, lanes: u8) -> Option<String> {
        let Tile {
            rows,
            groups,
            prefetch,
            ..
        } = self.tile;
        let vectors = PANEL_ROWS as u32 / u32::from(lanes.max(1));
        let fault = if !matches!(lanes, 4 | 8 | 16) {
            format!("no vectors have {lanes} lanes")
        } else if !(1..=16).contains(&rows) {
            format!("a tile has 1 to 16 rows, not {rows}")
        } else if !(1..=16).contains(&groups)
            || !(groups.is_multiple_of(vectors) || vectors.is_multiple_of(groups))
        {
            format!("{groups} vectors make no whole panels of {vectors}")
        } else if rows > 1 && rows * groups + groups + 1 > registers(lanes) {
            format!("a tile of {rows} rows and {groups} vectors needs too many registers")
        } else if prefetch > 1 << 16 || !prefetch.is_multiple_of(64) {
            format!("{prefetch} bytes ahead are no lines within 64 KiB")
        } else if !(1 << 10..=1 << 26).contains(&self.unit_bytes) {
            format!("units of {} bytes are too small or too large", self.unit_bytes)
        } else {
            return None;
        };
        Some(fault)
    }
}

/// Vector registers that a processor with vectors of `lanes` f32 has.
pub fn registers(lanes: u8) -> u32 {
    if lanes == 16 { 32 } else { 16 }
}

/// Shapes that were found best by measuring.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tuning {
    shapes: BTreeMap<ProductKey, Shape>,
}

/// Why a text is no tuning.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TuningError {
    /// It is no JSON of the right form.
    #[error("the tuning is not readable: {0}")]
    Text(String),
    /// It is of another version.
    #[error("the tuning is of version {0}, and this program reads version {VERSION}")]
    Version(u32),
    /// A product stands in it twice.
    #[error("the tuning has two shapes for {0}")]
    Twice(String),
    /// There is no such shape.
    #[error("the tuning of {product}: {what}")]
    Shape {
        /// The product.
        product: String,
        /// What is wrong.
        what: String,
    },
    /// It is too long.
    #[error("the tuning has {0} products, more than {MOST_PRODUCTS}")]
    Long(usize),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    products: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    n: u32,
    k: u32,
    format: String,
    epilogue: String,
    lanes: u8,
    rows: u32,
    groups: u32,
    expand: bool,
    prefetch: u32,
    unit_bytes: u32,
}

impl Tuning {
    /// The shape of a product, if one was found.
    pub fn get(&self, key: &ProductKey) -> Option<Shape> {
        self.shapes.get(key).copied()
    }

    /// Sets the shape of a product.
    ///
    /// # Errors
    /// Where no product of that width can have the shape.
    pub fn set(&mut self, key: ProductKey, shape: Shape) -> Result<(), TuningError> {
        if let Some(what) = shape.fault(key.lanes) {
            let product = key.to_string();
            return Err(TuningError::Shape { product, what });
        }
        self.shapes.insert(key, shape);
        Ok(())
    }

    /// Forgets the shape of a product.
    pub fn remove(&mut self, key: &ProductKey) {
        self.shapes.remove(key);
    }

    /// Products with a shape.
    pub fn len(&self) -> usize {
        self.shapes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// The text, products in order of their keys.
    pub fn text(&self) -> String {
        let products = self.shapes.iter().map(|(key, shape)| Entry {
            n: key.n,
            k: key.k,
            format: key.format.clone(),
            epilogue: key.epilogue.clone(),
            lanes: key.lanes,
            rows: shape.tile.rows,
            groups: shape.tile.groups,
            expand: shape.tile.expand,
            prefetch: shape.tile.prefetch,
            unit_bytes: shape.unit_bytes,
        });
        let file = File {
            version: VERSION,
            products: products.collect(),
        };
        let mut text = serde_json::to_string_pretty(&file).expect("numbers and strings have a JSON form");
        text.push('\n');
        text
    }

    /// Reads a text.
    ///
    /// # Errors
    /// Where it is no JSON of the right form, has fields that are unknown, is of another version, has a product twice,
    /// or a shape that no product can have.
    pub fn parse(text: &str) -> Result<Tuning, TuningError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let error = |e: serde_json::Error| TuningError::Text(e.to_string());
        let Head { version } = serde_json::from_str(text).map_err(error)?;
        if version != VERSION {
            return Err(TuningError::Version(version));
        }
        let file: File = serde_json::from_str(text).map_err(error)?;
        if file.products.len() > MOST_PRODUCTS {
            return Err(TuningError::Long(file.products.len()));
        }
        let mut tuning = Tuning::default();
        for entry in file.products {
            let tile = Tile {
                rows: entry.rows,
                groups: entry.groups,
                expand: entry.expand,
                prefetch: entry.prefetch,
            };
            let key = ProductKey {
                n: entry.n,
                k: entry.k,
                format: entry.format,
                epilogue: entry.epilogue,
                lanes: entry.lanes,
            };
            if tuning.get(&key).is_some() {
                return Err(TuningError::Twice(key.to_string()));
            }
            let unit_bytes = entry.unit_bytes;
            tuning.set(key, Shape { tile, unit_bytes })?;
        }
        Ok(tuning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = ProductKey> {
        (any::<u32>(), any::<u32>(), "\\PC{0,12}", "\\PC{0,30}", 0usize..3).prop_map(
            |(n, k, format, epilogue, width)| ProductKey {
                n,
                k,
                format,
                epilogue,
                lanes: [4, 8, 16][width],
            },
        )
    }

    fn shape() -> impl Strategy<Value = Shape> {
        (1u32..5, 0u32..3, any::<bool>(), 0u32..1025, 1u32 << 10..1 << 26).prop_map(
            |(rows, groups, expand, lines, unit_bytes)| Shape {
                tile: Tile {
                    rows,
                    groups: 1 << groups,
                    expand,
                    prefetch: 64 * lines,
                },
                unit_bytes,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            entries in prop::collection::vec((key(), shape()), 0..8),
        ) {
            let mut tuning = Tuning::default();
            for (key, shape) in entries {
                match shape.fault(key.lanes) {
                    None => tuning.set(key, shape).unwrap(),
                    Some(_) => prop_assert!(tuning.set(key, shape).is_err()),
                }
            }
            let text = tuning.text();
            let back = Tuning::parse(&text).unwrap();
            prop_assert_eq!(&back, &tuning);
            prop_assert_eq!(back.text(), text);
        }

        #[test]
        fn no_text_panics_and_errors_are_one_line(text in "\\PC{0,200}", cut in 0usize..400) {
            let mut good = Tuning::default();
            good.set(small_key(), SHAPE).unwrap();
            let good = good.text();
            let cut: String = good.chars().take(cut).collect();
            for text in [text, cut] {
                if let Err(error) = Tuning::parse(&text) {
                    prop_assert_eq!(error.to_string().lines().count(), 1);
                }
            }
        }
    }

    const SHAPE: Shape = Shape {
        tile: Tile {
            rows: 6,
            groups: 2,
            expand: false,
            prefetch: 1024,
        },
        unit_bytes: 1 << 18,
    };

    fn small_key() -> ProductKey {
        ProductKey {
            n: 64,
            k: 32,
            format: "q4_1".into(),
            epilogue: "q8a.add".into(),
            lanes: 16,
        }
    }

    #[test]
    fn bad_content_is_refused_with_its_reason() {
        let mut tuning = Tuning::default();
        tuning.set(small_key(), SHAPE).unwrap();
        let good = tuning.text();
        assert_eq!(Tuning::parse(&good).unwrap().get(&small_key()), Some(SHAPE));
        let entry = &good[good.find('[').unwrap() + 1..good.rfind(']').unwrap()];
        let cases = [
            (good.replace("\"version\": 1", "\"version\": 9"), "version 9"),
            (good.replace("\"rows\": 6", "\"rows\": 0"), "1 to 16 rows, not 0"),
            (good.replace("\"rows\": 6", "\"rows\": 15"), "too many registers"),
            (good.replace("\"rows\": 6", "\"rows\": -1"), "invalid value"),
            (good.replace("\"groups\": 2", "\"groups\": 0"), "0 vectors"),
            (good.replace("\"lanes\": 16", "\"lanes\": 5"), "5 lanes"),
            (good.replace("\"lanes\": 16", "\"lanes\": 0"), "0 lanes"),
            (
                good.replace("\"prefetch\": 1024", "\"prefetch\": 1"),
                "1 bytes ahead",
            ),
            (good.replace("262144", "3"), "units of 3 bytes"),
            (good.replace("\"k\": 32,", ""), "missing field `k`"),
            (
                good.replace("\"k\": 32", "\"k\": 32, \"j\": 1"),
                "unknown field `j`",
            ),
            (good.replace(entry, &format!("{entry},{entry}")), "two shapes"),
            (String::new(), "EOF"),
        ];
        for (text, want) in cases {
            let error = Tuning::parse(&text).unwrap_err().to_string();
            assert!(
                error.contains(want) && error.lines().count() == 1,
                "{error}, not {want}"
            );
        }
    }
}
