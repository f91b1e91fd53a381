//! The order in which free blocks are taken: those without content first, then the least recently freed.

use super::pool::Block;

/// A doubly linked list through two tables, so that a block in the middle leaves in constant time.
#[derive(Clone, Debug)]
pub(super) struct FreeList {
    /// `(previous, next)` of each block; the last entry is the list's two ends.
    links: Vec<(u32, u32)>,
    len: usize,
}

impl FreeList {
    /// A list of `blocks` blocks, all free, the lowest first.
    pub(super) fn new(blocks: u32) -> FreeList {
        // Block i stands between i - 1 and i + 1, around the circle that the end closes.
        let around = |i: u32| if i == 0 { blocks } else { i - 1 };
        let links = (0..=blocks).map(|i| (around(i), if i == blocks { 0 } else { i + 1 }));
        FreeList {
            links: links.collect(),
            len: blocks as usize,
        }
    }

    fn end(&self) -> u32 {
        self.links.len() as u32 - 1
    }

    /// The number of free blocks.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn insert(&mut self, block: u32, before: u32) {
        let previous = self.links[before as usize].0;
        self.links[block as usize] = (previous, before);
        self.links[previous as usize].1 = block;
        self.links[before as usize].0 = block;
        self.len += 1;
    }

    /// Adds a block that is to be taken before all others.
    pub(super) fn push_first(&mut self, block: Block) {
        let first = self.links[self.end() as usize].1;
        self.insert(block.0, first);
    }

    /// Adds a block that is to be taken after all others.
    pub(super) fn push_last(&mut self, block: Block) {
        self.insert(block.0, self.end());
    }

    /// Takes out a block of the list.
    pub(super) fn remove(&mut self, block: Block) {
        let (previous, next) = self.links[block.index()];
        self.links[previous as usize].1 = next;
        self.links[next as usize].0 = previous;
        self.len -= 1;
    }

    /// Takes the block whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Block> {
        if self.len == 0 {
            return None;
        }
        let first = Block(self.links[self.end() as usize].1);
        self.remove(first);
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(list: &mut FreeList) -> Vec<u32> {
        std::iter::from_fn(|| list.pop()).map(|b| b.0).collect()
    }

    #[test]
    fn blocks_leave_in_turn() {
        let mut list = FreeList::new(4);
        list.remove(Block(2));
        list.remove(Block(0));
        list.push_last(Block(2));
        list.push_first(Block(0));
        list.remove(Block(1));
        list.push_first(Block(1));
        assert_eq!(list.len(), 4);
        assert_eq!(drain(&mut list), [1, 0, 3, 2]);
        assert_eq!(list.pop(), None);
        list.push_last(Block(3));
        assert_eq!(drain(&mut list), [3]);
        assert_eq!(FreeList::new(0).pop(), None);
    }
}
