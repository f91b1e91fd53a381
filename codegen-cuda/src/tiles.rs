//! Tiles of rows: what a block of a kernel for steps of many rows works on.
//!
//! A tile is rows of a step that follow each other, of one sequence and at positions one after another.

/// The tiles of a step, of up to `most` rows each: first row and number of rows. Those with the longest context come first,
/// so that blocks that begin last are short.
pub fn of(seqs: &[u32], positions: &[u32], most: u32) -> Vec<[u32; 2]> {
    let mut tiles: Vec<[u32; 2]> = Vec::new();
    for row in 0..seqs.len() {
        let goes_on = row > 0 && seqs[row] == seqs[row - 1] && positions[row] == positions[row - 1] + 1;
        match tiles.last_mut() {
            Some([_, rows]) if goes_on && *rows < most => *rows += 1,
            _ => tiles.push([row as u32, 1]),
        }
    }
    tiles.sort_by_key(|[first, rows]| std::cmp::Reverse(positions[(first + rows - 1) as usize]));
    tiles
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn tiles_end_with_their_sequence_and_when_they_are_full() {
        let seqs = [0, 0, 0, 0, 0, 1, 1, 2, 0];
        let positions = [4, 5, 6, 7, 8, 0, 1, 90, 9];
        assert_eq!(of(&seqs, &positions, 3), [[7, 1], [8, 1], [3, 2], [0, 3], [5, 2]]);
    }

    #[test]
    fn a_gap_in_positions_begins_a_tile() {
        assert_eq!(of(&[1, 1, 1], &[0, 2, 3], 8), [[1, 2], [0, 1]]);
        assert!(of(&[], &[], 8).is_empty());
    }
}
