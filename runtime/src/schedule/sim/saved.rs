//! Prefixes that the simulator saves, forgets and puts back.

use super::{Content, Simulator, below};
use lathe_ir::plan::KV_BLOCK;

/// The content of a prefix's blocks.
pub(super) struct Saved {
    tokens: Vec<u32>,
    blocks: Vec<(Content, Option<Content>)>,
}

impl Simulator {
    /// Sometimes saves what is known of a sequence, or puts back what was saved, maybe after all of it was forgotten.
    pub(super) fn save_and_restore(&mut self) {
        match below(&mut self.rng, 20) {
            0 => self.save(),
            1 => self.restore(),
            2 => self.scheduler.forget_prefixes(),
            _ => {}
        }
    }

    fn save(&mut self) {
        let running = self.scheduler.running.len() as u64;
        let which = below(&mut self.rng, running) as usize;
        let Some(&place) = self.scheduler.running.get(which) else {
            return;
        };
        let tokens = &self.scheduler.sequences[place].tokens;
        let pairs = self.scheduler.known_blocks(tokens);
        let tokens = tokens[..pairs.len() * KV_BLOCK as usize].to_vec();
        let content = |&(block, window): &_| self.content(block, window);
        let blocks = pairs.iter().map(content).collect();
        self.saved = Some(Saved { tokens, blocks });
    }

    /// What is restored is found, and free.
    fn restore(&mut self) {
        let Some(Saved { tokens, blocks }) = &self.saved else {
            return;
        };
        let free = self.scheduler.pool().free();
        let Some((table, pairs)) = self.scheduler.take_prefix(blocks.len()) else {
            return;
        };
        assert_eq!(pairs.len(), blocks.len());
        for (&(block, window), (own, own_window)) in pairs.iter().zip(blocks) {
            self.kv[block.number() as usize] = *own;
            if let Some(window) = window {
                self.window_kv[window.number() as usize] = own_window.expect("it was seen");
            }
        }
        self.scheduler.give_prefix(table, tokens);
        self.report.restored += blocks.len();
        assert_eq!(self.scheduler.pool().free(), free, "nobody holds it");
        assert_eq!(
            self.scheduler.known_blocks(tokens).len(),
            blocks.len(),
            "it is found"
        );
    }
}
