//! The memory plan: which buffers may share bytes of the arena.
//!
//! A buffer lives from the step that writes it to the last step that reads it, both included. Buffers are placed in
//! order of size, each at the lowest offset where it overlaps no buffer that is alive at the same time.

use super::BufferDecl;

/// Offsets are multiples of this.
const ALIGN: u64 = 64;

/// When a buffer is alive: first and last step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetime {
    /// The step that writes it.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Sets the offset of every buffer and returns the arena's size.
pub fn assign(buffers: &mut [BufferDecl], lifetimes: &[Lifetime]) -> u64 {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), i));
    let mut placed: Vec<usize> = Vec::new();
    let mut end = 0;
    for i in order {
        let mut taken: Vec<(u64, u64)> = placed
            .iter()
            .filter(|&&p| lifetimes[p].overlaps(&lifetimes[i]))
            .map(|&p| (buffers[p].offset, buffers[p].offset + buffers[p].bytes))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, stop) in taken {
            if offset + buffers[i].bytes <= start {
                break;
            }
            offset = offset.max(stop.next_multiple_of(ALIGN));
        }
        buffers[i].offset = offset;
        end = end.max(offset + buffers[i].bytes);
        placed.push(i);
    }
    end.next_multiple_of(ALIGN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn live_buffers_never_overlap(specs in prop::collection::vec((1u64..5000, 0usize..20, 0usize..6), 1..40)) {
            let mut buffers: Vec<BufferDecl> = specs
                .iter()
                .map(|s| BufferDecl { name: String::new(), offset: 0, bytes: s.0 })
                .collect();
            let lifetimes: Vec<Lifetime> =
                specs.iter().map(|s| Lifetime { first: s.1, last: s.1 + s.2 }).collect();
            let size = assign(&mut buffers, &lifetimes);
            for i in 0..buffers.len() {
                prop_assert!(buffers[i].offset.is_multiple_of(ALIGN));
                prop_assert!(buffers[i].offset + buffers[i].bytes <= size);
                for j in 0..i {
                    let apart = buffers[i].offset + buffers[i].bytes <= buffers[j].offset
                        || buffers[j].offset + buffers[j].bytes <= buffers[i].offset;
                    prop_assert!(apart || !lifetimes[i].overlaps(&lifetimes[j]));
                }
            }
        }
    }

    #[test]
    fn a_chain_reuses_two_buffers() {
        let decl = |bytes| BufferDecl {
            name: String::new(),
            offset: 0,
            bytes,
        };
        let mut buffers = vec![decl(64); 10];
        let lifetimes: Vec<Lifetime> = (0..10)
            .map(|i| Lifetime {
                first: i,
                last: i + 1,
            })
            .collect();
        assert_eq!(assign(&mut buffers, &lifetimes), 128);
    }
}
