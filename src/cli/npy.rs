//! NumPy's .npy files, version 1.0, `<f4` in C order. Source: NumPy enhancement proposal 1 ("NEP 1").

use super::error::CliError;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// Writes a matrix row by row.
pub struct NpyWriter {
    file: BufWriter<File>,
    path: String,
}

impl NpyWriter {
    /// Creates `path` for a matrix of `rows` × `columns`.
    pub fn create(path: &Path, rows: usize, columns: usize) -> Result<NpyWriter, CliError> {
        let name = path.display().to_string();
        let file =
            File::create(path).map_err(|e| CliError::failed(format!("{name} can't be written: {e}")))?;
        let mut header =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
        let length = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 2;
        header.push_str(&" ".repeat(length - header.len() - 1));
        header.push('\n');
        let mut writer = NpyWriter {
            file: BufWriter::with_capacity(1 << 20, file),
            path: name,
        };
        writer.write(MAGIC)?;
        writer.write(&(length as u16).to_le_bytes())?;
        writer.write(header.as_bytes())?;
        Ok(writer)
    }

    /// Writes values in order.
    pub fn values(&mut self, values: &[f32]) -> Result<(), CliError> {
        for chunk in values.chunks(1 << 16) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
            self.write(&bytes)?;
        }
        Ok(())
    }

    /// Flushes: the file is complete.
    pub fn finish(mut self) -> Result<(), CliError> {
        self.file
            .flush()
            .map_err(|e| CliError::failed(format!("{} can't be written: {e}", self.path)))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file
            .write_all(bytes)
            .map_err(|e| CliError::failed(format!("{} can't be written: {e}", self.path)))
    }
}

/// A matrix of f32.
#[derive(Debug, PartialEq)]
pub struct Matrix {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Row-major values.
    pub values: Vec<f32>,
}

/// Reads a matrix that NumPy or [`NpyWriter`] wrote as `<f4` in C order.
pub fn read(path: &Path) -> Result<Matrix, CliError> {
    let wrong = |what: &str| CliError::input(format!("{}: {what}", path.display()));
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(|e| wrong(&e.to_string()))?;
    file.read_to_end(&mut bytes).map_err(|e| wrong(&e.to_string()))?;
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| wrong("not an .npy file of version 1.0"))?;
    let (length, rest) = rest
        .split_first_chunk::<2>()
        .ok_or_else(|| wrong("the header is cut short"))?;
    let length = usize::from(u16::from_le_bytes(*length));
    let header = rest.get(..length).and_then(|h| std::str::from_utf8(h).ok());
    let header = header.ok_or_else(|| wrong("the header is cut short"))?;
    if !header.contains("'<f4'") || !header.contains("'fortran_order': False") {
        return Err(wrong("not float32 in C order"));
    }
    let shape = header
        .split_once("'shape': (")
        .and_then(|(_, s)| s.split_once(')'))
        .map(|(s, _)| s);
    let dims: Option<Vec<usize>> = shape.map(|s| {
        s.split(',')
            .map(str::trim)
            .filter(|d| !d.is_empty())
            .map_while(|d| d.parse().ok())
            .collect()
    });
    let Some(&[rows, columns]) = dims.as_deref() else {
        return Err(wrong("not a matrix"));
    };
    let data = &rest[length..];
    if rows.checked_mul(columns).and_then(|n| n.checked_mul(4)) != Some(data.len()) {
        return Err(wrong(&format!(
            "{} bytes of data where {rows}×{columns} float32 need more or less",
            data.len()
        )));
    }
    let values = data
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    Ok(Matrix {
        rows,
        columns,
        values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.npy");
        let mut writer = NpyWriter::create(&path, 2, 3).unwrap();
        writer.values(&[1.0, -2.5, 3.0]).unwrap();
        writer.values(&[0.0, f32::MIN_POSITIVE, 1e30]).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((bytes.len() - 24) % 64, 0, "data starts at a multiple of 64");
        let matrix = read(&path).unwrap();
        assert_eq!((matrix.rows, matrix.columns), (2, 3));
        assert_eq!(matrix.values, [1.0, -2.5, 3.0, 0.0, f32::MIN_POSITIVE, 1e30]);
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("23 bytes"));
    }
}
