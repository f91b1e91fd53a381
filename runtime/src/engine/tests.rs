//! Of which steps the engine asks for the largest logits alone, on a model that counts up.

use super::*;
use crate::constrain::{Constraint, Grammars, Start};
use crate::sampling::SamplingParams;
use lathe_ir::backend::{Batch, BuildReport, ExecError, largest_of_rows};
use lathe_ir::plan::Limits;
use std::sync::Mutex;

const VOCAB: u32 = 256;

/// Whether each step was asked for the largest alone.
type Asked = Arc<Mutex<Vec<bool>>>;

/// After each token, the next one is the most likely.
#[derive(Default)]
struct CountsUp {
    asked: Asked,
    /// Whether the step under way is asked for the largest alone.
    largest: bool,
    output: Vec<f32>,
    report: BuildReport,
}

impl Executable for CountsUp {
    fn limits(&self) -> Limits {
        Limits {
            tokens: 16,
            outputs: 4,
            seqs: 4,
            ctx: 64,
        }
    }

    fn vocab(&self) -> u32 {
        VOCAB
    }

    fn gives(&self) -> ModelOutput {
        ModelOutput::Logits
    }

    fn width(&self) -> u32 {
        VOCAB
    }

    fn kv_blocks(&self) -> u32 {
        8
    }

    fn run(&mut self, batch: &Batch) -> Result<&[f32], ExecError> {
        let largest = std::mem::take(&mut self.largest);
        self.asked.lock().unwrap().push(largest);
        let row = |&row: &u32| {
            let next = (batch.tokens[row as usize] + 1) % VOCAB;
            (0..VOCAB).map(move |token| if token == next { 9.0 } else { 0.0 })
        };
        self.output = batch.outputs.iter().flat_map(row).collect();
        Ok(&self.output)
    }

    fn run_largest(&mut self, batch: &Batch, largest: &mut Vec<Option<u32>>) -> Result<(), ExecError> {
        self.largest = true;
        largest_of_rows(self, batch, largest)
    }

    fn copy_block(&mut self, _from: u32, _to: u32) -> Result<(), ExecError> {
        Ok(())
    }

    fn output(&self) -> &[f32] {
        &self.output
    }

    fn weight_bytes_per_step(&self) -> Option<u64> {
        None
    }

    fn report(&self) -> &BuildReport {
        &self.report
    }
}

/// Tokens are bytes.
struct Bytes(Vec<u8>);

impl Vocabulary for Bytes {
    fn token_bytes(&self, token: u32) -> &[u8] {
        &self.0[token as usize..][..1]
    }
}

fn request(prompt: u8) -> Request {
    Request {
        prompt: vec![prompt.into()],
        max_tokens: Some(4),
        ..Request::default()
    }
}

/// What requests that run together make, and of which steps no logits were asked for.
fn run(requests: &[Request]) -> (Vec<Vec<u32>>, Vec<bool>) {
    let asked = Asked::default();
    let executable = CountsUp {
        asked: asked.clone(),
        ..CountsUp::default()
    };
    let mut engine = Engine::new(Box::new(executable), Arc::new(Bytes((0..=255).collect())));
    let ids: Vec<RequestId> = requests
        .iter()
        .map(|request| engine.submit(request.clone()).unwrap())
        .collect();
    let mut made = BTreeMap::new();
    while engine.step(&mut |id, event| {
        if let Event::Done { result, .. } = event {
            made.insert(id, result.unwrap().tokens);
        }
        true
    }) {}
    let made = ids.iter().map(|id| made[id].clone()).collect();
    (made, asked.lock().unwrap().clone())
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

#[test]
fn greedy_steps_ask_for_the_largest_alone() {
    let (made, asked) = run(&[request(b'a'), request(b'k')]);
    assert_eq!(made, [bytes("bcde"), bytes("lmno")]);
    assert_eq!(asked, [true; 4]);
}

#[test]
fn what_needs_logits_gets_them() {
    let sampled = SamplingParams {
        temperature: 0.01,
        ..SamplingParams::default()
    };
    let biased = SamplingParams {
        logit_bias: vec![(b'q'.into(), 1.0)],
        ..SamplingParams::default()
    };
    let wanting = |change: fn(&mut Request)| {
        let mut request = request(b'a');
        change(&mut request);
        request
    };
    for needs in [
        Request {
            sampling: sampled,
            ..request(b'a')
        },
        Request {
            sampling: biased,
            ..request(b'a')
        },
        wanting(|r| r.logprobs = Some(0)),
        wanting(|r| (r.ignore_stop_tokens, r.stop_tokens) = (true, vec![0])),
    ] {
        // What runs beside it goes by its logits too.
        let (made, asked) = run(&[needs, request(b'k')]);
        assert_eq!(made, [bytes("bcde"), bytes("lmno")]);
        assert_eq!(asked, [false; 4]);
    }
    // Until enough tokens are made, the one that ends the text is left out.
    let (made, asked) = run(&[wanting(|r| {
        (r.min_tokens, r.stop_tokens) = (2, vec![b'd'.into()])
    })]);
    assert_eq!((made, asked), (vec![bytes("bcd")], vec![false, false, true]));
}

#[test]
fn a_constraint_needs_logits_from_where_it_begins() {
    let grammar = Grammars::of_bytes()
        .compile(&Constraint::Regex("[x-z]{2}".into()))
        .unwrap();
    let of = |start: Start| Request {
        constraint: Some(grammar.clone()),
        constrain_from: start,
        ..request(b'a')
    };
    let (made, asked) = run(&[of(Start::After("c".into()))]);
    // Of equal logits the first is picked; what ends the text is known without.
    assert_eq!(made, [bytes("bcxy")]);
    assert_eq!(asked, [true, true, false, false]);
    assert_eq!(run(&[of(Start::Now)]).1, [false; 2]);
}
