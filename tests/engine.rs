//! The engine on tiny models: what ends a completion, what is reused, what is refused.

use lathe::build::{BuildOptions, build};
use lathe::session::ModelVocabulary;
use lathe_frontend::testing::{Family, TinyModel};
use lathe_runtime::{Completion, Engine, Error, Finish, Request, SamplingParams};
use std::sync::Arc;

struct Tiny {
    engine: Engine,
}

impl Tiny {
    fn new(family: Family, chunk: u32) -> Tiny {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        TinyModel::new(family).write(&path).unwrap();
        let built = build(
            &path,
            &BuildOptions {
                chunk,
                context: Some(128),
                ..BuildOptions::default()
            },
        )
        .unwrap();
        let vocabulary = ModelVocabulary::new(&built.text).unwrap();
        Tiny {
            engine: Engine::new(built.executable, Arc::new(vocabulary)),
        }
    }

    fn run(&mut self, request: &Request) -> (String, Completion) {
        let mut text = String::new();
        let completion = self.engine.generate(request, &mut |piece| {
            text.push_str(piece);
            true
        });
        (text, completion.unwrap())
    }
}

fn request(prompt: std::ops::Range<u32>, max_tokens: usize) -> Request {
    Request {
        prompt: prompt.collect(),
        max_tokens: Some(max_tokens),
        ..Request::default()
    }
}

#[test]
fn a_common_prefix_is_reused_and_changes_nothing() {
    let mut tiny = Tiny::new(Family::Qwen2, 16);
    let (first, completion) = tiny.run(&request(10..60, 12));
    assert_eq!(
        (
            completion.finish,
            completion.tokens.len(),
            completion.cached_tokens
        ),
        (Finish::Length, 12, 0)
    );
    let (again, completion) = tiny.run(&request(10..60, 12));
    assert_eq!(
        (again.as_str(), completion.cached_tokens),
        (first.as_str(), 32),
        "whole blocks are found"
    );
    let (longer, completion) = tiny.run(&request(10..70, 12));
    assert_eq!(completion.cached_tokens, 32);
    let (fresh, _) = Tiny::new(Family::Qwen2, 7).run(&request(10..70, 12));
    assert_eq!(longer, fresh, "reused blocks give what computed ones give");
    tiny.engine.reset();
    assert_eq!(tiny.run(&request(10..60, 12)).1.cached_tokens, 0);
}

#[test]
fn completions_end_as_they_are_asked_to() {
    let mut tiny = Tiny::new(Family::Llama, 32);
    let (text, whole) = tiny.run(&request(20..40, 30));
    let stop_token = whole.tokens[7];
    let at = whole.tokens.iter().position(|&t| t == stop_token).unwrap();
    let (_, stopped) = tiny.run(&Request {
        stop_tokens: vec![stop_token],
        ..request(20..40, 30)
    });
    assert_eq!((stopped.finish, stopped.tokens.len()), (Finish::Stop, at + 1));

    let chars: Vec<char> = text.chars().collect();
    let stop: String = chars[chars.len() / 2..chars.len() / 2 + 2].iter().collect();
    let (cut, stopped) = tiny.run(&Request {
        stop: vec![stop.clone()],
        ..request(20..40, 30)
    });
    assert_eq!(
        (cut.as_str(), stopped.finish),
        (text.split(&stop).next().unwrap(), Finish::Stop)
    );

    let mut pieces = 0;
    let cancelled = tiny.engine.generate(&request(20..40, 30), &mut |_| {
        pieces += 1;
        pieces < 3
    });
    assert_eq!((cancelled.unwrap().finish, pieces), (Finish::Cancelled, 3));

    let (_, full) = tiny.run(&Request {
        max_tokens: None,
        ..request(1..100, 0)
    });
    assert_eq!((full.finish, full.tokens.len()), (Finish::Length, 128 + 1 - 99));
}

#[test]
fn seeds_decide_sampled_text() {
    let mut tiny = Tiny::new(Family::Gemma3, 32);
    let mut run = |seed| {
        let sampling = SamplingParams {
            temperature: 1.0,
            seed,
            ..SamplingParams::default()
        };
        tiny.run(&Request {
            sampling,
            ..request(5..20, 20)
        })
        .1
        .tokens
    };
    let (a, b, c) = (run(1), run(1), run(2));
    assert!(a == b && a != c);
}

#[test]
fn bad_requests_are_refused() {
    let mut tiny = Tiny::new(Family::Llama, 32);
    let mut refuse = |request: Request| tiny.engine.generate(&request, &mut |_| true).unwrap_err();
    assert_eq!(refuse(request(0..0, 1)), Error::EmptyPrompt);
    assert_eq!(
        refuse(request(0..129, 1)),
        Error::PromptTooLong {
            prompt: 129,
            context: 128
        }
    );
    assert!(matches!(
        refuse(request(319..321, 1)),
        Error::TokenRange {
            index: 1,
            token: 320,
            vocab: 320
        }
    ));
    let bad = SamplingParams {
        min_p: -1.0,
        ..SamplingParams::default()
    };
    assert!(matches!(
        refuse(Request {
            sampling: bad,
            ..request(1..2, 1)
        }),
        Error::Parameter { name: "min_p", .. }
    ));
}
