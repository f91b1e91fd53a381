//! Reads `.npy` files of little-endian f32 matrices (format version 1.0 of the NumPy documentation).

use std::path::Path;

/// The rows of the matrix in the file at `path`.
pub fn read(path: &Path) -> Vec<Vec<f64>> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(
        &bytes[..8],
        b"\x93NUMPY\x01\0",
        "{}: a .npy file of version 1.0",
        path.display()
    );
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + header_len]).unwrap();
    assert!(
        header.contains("'<f4'") && header.contains("'fortran_order': False"),
        "{header}"
    );
    let shape = header
        .split_once("'shape': (")
        .unwrap()
        .1
        .split_once(')')
        .unwrap()
        .0;
    let shape: Vec<usize> = shape.split(',').map(|n| n.trim().parse().unwrap()).collect();
    let [rows, columns] = shape[..] else {
        panic!("{shape:?} is no matrix")
    };
    let values: Vec<f64> = bytes[10 + header_len..]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f64::from(f32::from_le_bytes(*b)))
        .collect();
    assert_eq!(values.len(), rows * columns);
    values.chunks(columns).map(<[f64]>::to_vec).collect()
}
