//! Traces played by the [simulator](super::sim), and single decisions.

use super::sim::{Report, Trace, play};
use super::*;
use lathe_ir::backend::WindowPool;
use proptest::prelude::*;

fn config(tokens: u32, outputs: u32, seqs: u32, ctx: u32, blocks: u32) -> Config {
    let limits = Limits {
        tokens,
        outputs,
        seqs,
        ctx,
    };
    Config {
        aging: Duration::from_millis(20),
        ..Config::new(limits, blocks)
    }
}

/// As few window blocks as there must be, and `more`.
fn windows(positions: u32, rows: u32, more: u32) -> WindowPool {
    WindowPool {
        blocks: positions.div_ceil(KV_BLOCK) + rows.div_ceil(KV_BLOCK) + 2 + more,
        positions,
    }
}

/// A machine with room for all.
fn roomy(seed: u64, requests: usize) -> Trace {
    Trace {
        seed,
        requests,
        config: config(64, 16, 8, 256, 64),
        arrivals: 1,
        prompt: 90,
        max_new: 40,
        choices: 1,
        cancels: 0,
        deadlines: 0,
        every_row: 0,
        drafts: false,
        forced: false,
        swap_cost: 0.0,
        saves: false,
    }
}

fn show(name: &str, report: &Report) {
    eprintln!("{name}: {report:?}");
}

#[test]
fn all_requests_finish_with_the_tokens_they_get_alone() {
    let mut trace = roomy(1, 2000);
    trace.config.queue = 2000;
    let report = play(&trace);
    show("roomy", &report);
    assert_eq!((report.finished, report.refused), (2000, 0));
    assert!(report.cached_tokens > 2000, "prompts share prefixes");
    assert!(report.stats.rows > 10_000);
}

/// More sequences than blocks.
fn tiny_pool() -> Trace {
    Trace {
        config: Config {
            queue: 3000,
            headroom: 0,
            ..config(48, 8, 6, 160, 8)
        },
        ..roomy(2, 3000)
    }
}

#[test]
fn a_tiny_pool_preempts_and_loses_nothing() {
    let trace = tiny_pool();
    let report = play(&trace);
    show("tiny pool", &report);
    assert_eq!(report.finished, 3000);
    assert!(report.stats.preemptions > 100);
}

#[test]
fn forks_drafts_and_forced_tokens_change_no_text() {
    let trace = Trace {
        config: Config {
            headroom: 0,
            ..config(40, 24, 6, 192, 14)
        },
        choices: 3,
        drafts: true,
        forced: true,
        cancels: 20,
        deadlines: 20,
        every_row: 20,
        ..roomy(3, 3000)
    };
    for copies in [true, false] {
        let mut trace = trace.clone();
        trace.config.copies = copies;
        let report = play(&trace);
        show("everything", &report);
        assert!(report.finished > 300 && report.cancelled > 10 && report.expired > 10);
        assert!(report.stats.accepted > 100 && report.stats.accepted < report.stats.drafts);
        assert!(report.stats.forks > 100 && report.stats.preemptions > 20);
    }
}

#[test]
fn a_hundred_thousand_requests_leak_nothing() {
    let trace = Trace {
        prompt: 40,
        max_new: 12,
        cancels: 40,
        arrivals: 6,
        config: Config {
            queue: 100_000,
            headroom: 0,
            ..config(128, 16, 16, 64, 16)
        },
        ..roomy(4, 100_000)
    };
    let report = play(&trace);
    show("many", &report);
    assert_eq!(report.finished + report.cancelled, 100_000);
    assert!(report.cancelled > 10_000 && report.stats.preemptions > 100);
}

/// What gave way is put back and not computed again, as far as there is room for it elsewhere.
#[test]
fn blocks_that_are_kept_elsewhere_come_back() {
    let recompute = tiny_pool();
    let mut swap = recompute.clone();
    swap.config.swap_blocks = 12;
    let (without, with) = (play(&recompute), play(&swap));
    show("recompute", &without);
    show("swap", &with);
    assert_eq!((without.stats.swapped_out, with.finished), (0, 3000));
    assert!(with.stats.swapped_in > 100 && with.stats.swapped_in <= with.stats.swapped_out);
    assert!(with.stats.rows < without.stats.rows, "rows are saved");
    // A block that costs more than the rows it holds is not worth keeping.
    let dear = play(&Trace {
        swap_cost: f64::from(KV_BLOCK),
        ..swap
    });
    assert_eq!((dear.stats.swapped_out, dear.stats.rows), (0, without.stats.rows));
}

#[test]
fn saved_prefixes_come_back() {
    for windows in [None, Some(windows(40, 64, 12))] {
        let mut trace = Trace {
            saves: true,
            ..roomy(6, 1000)
        };
        trace.config.queue = 1000;
        trace.config.windows = windows;
        let report = play(&trace);
        show("saves", &report);
        assert!(report.finished == 1000 && report.restored > 20);
    }
}

/// Windows take a few blocks for each sequence, and no other blocks; prefixes are found all the same.
#[test]
fn windows_leave_blocks_behind() {
    let whole = Trace {
        prompt: 200,
        max_new: 120,
        config: config(64, 16, 4, 352, 60),
        ..roomy(7, 400)
    };
    let mut trace = whole.clone();
    trace.config.queue = 400;
    trace.config.windows = Some(windows(40, 64, 12));
    let report = play(&trace);
    show("windows", &report);
    assert_eq!((report.finished, report.stats.preemptions), (400, 0));
    assert!(report.cached_tokens > 1000, "ends of prefixes are there");
    // Where they are few, sequences give way to each other.
    trace.config.windows = Some(windows(40, 64, 0));
    let report = play(&trace);
    show("few windows", &report);
    assert_eq!(report.finished, 400);
}

fn any_trace() -> impl Strategy<Value = Trace> {
    let machine = (1u32..40, 1u32..12, 1u32..8, 1u32..7, 0u32..12, 0u32..3, 1u32..50);
    let window = (prop::option::of((1u32..100, 0u32..8)), prop::option::of(0u32..20));
    let load = (any::<u64>(), 0u64..4, 1u64..120, 0u64..40, 1u64..4);
    let mix = (
        0u64..50,
        0u64..50,
        0u64..101,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    (machine, window, load, mix).prop_map(|(machine, (window, swap), load, mix)| {
        let (tokens, outputs, seqs, ctx, more, headroom, budget) = machine;
        let (seed, arrivals, prompt, max_new, choices) = load;
        let (cancels, deadlines, every_row, drafts, forced, copies) = mix;
        let base = config(tokens, outputs, seqs, ctx * 32, ctx + more);
        Trace {
            seed,
            requests: 60,
            arrivals,
            prompt: prompt.min(u64::from(ctx) * 32),
            max_new,
            choices,
            cancels,
            deadlines,
            every_row,
            drafts,
            forced,
            // Between nothing and more than a block is worth.
            swap_cost: (seed % 40) as f64,
            saves: seed % 3 == 0,
            config: Config {
                headroom,
                copies,
                budget,
                queue: 40,
                swap_blocks: swap.unwrap_or(0),
                windows: window.map(|(positions, more)| windows(positions, budget.min(tokens), more)),
                ..base
            },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_machine_serves_any_load(trace in any_trace()) {
        let report = play(&trace);
        prop_assert!(report.finished + report.cancelled + report.expired + report.refused >= 60);
    }
}

/// A scheduler, and prompts that share nothing.
fn scheduler(config: Config) -> Scheduler {
    Scheduler::new(config)
}

fn prompt(len: u32, from: u32) -> Vec<u32> {
    (from..from + len).collect()
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The sequences of the next step and their numbers of rows. Every list gets token 7.
fn round(scheduler: &mut Scheduler, now: Duration) -> Vec<(u64, usize)> {
    let step = scheduler.schedule(now);
    let parts: Vec<_> = step
        .sequences()
        .iter()
        .map(|p| (p.id.request.0, p.rows.len()))
        .collect();
    let lists: u32 = step.sequences().iter().map(|p| p.lists).sum();
    let mut results = Results::default();
    (0..lists).for_each(|_| results.push(&[7], false));
    scheduler.commit(&results).unwrap();
    parts
}

#[test]
fn decoding_goes_first_and_prompts_fill_the_rest_in_chunks() {
    let mut s = scheduler(config(16, 8, 4, 128, 16));
    for (i, len) in [4, 30, 5].into_iter().enumerate() {
        s.submit(Request::new(prompt(len, 1000 * i as u32), 5), at(i as u64))
            .unwrap();
    }
    assert_eq!(round(&mut s, at(9)), [(0, 4), (1, 12)]);
    assert_eq!(round(&mut s, at(9)), [(0, 1), (1, 15)]);
    assert_eq!(round(&mut s, at(9)), [(0, 1), (1, 3), (2, 5)]);
    assert_eq!(round(&mut s, at(9)), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(s.drain_ended().count(), 0);
    assert_eq!(round(&mut s, at(9)), [(0, 1), (1, 1), (2, 1)]);
    let ended = s.drain_ended().next().unwrap();
    assert_eq!(
        (ended.id.request.0, ended.reason, ended.made),
        (0, Reason::Length, 5)
    );
}

#[test]
fn a_prefix_is_computed_once_until_it_is_forgotten() {
    let mut s = scheduler(config(128, 8, 4, 128, 16));
    for (forget, rows) in [(false, 100), (false, 4), (true, 100)] {
        if forget {
            s.forget_prefixes();
        }
        let request = s.submit(Request::new(prompt(100, 0), 1), at(0)).unwrap();
        assert_eq!(round(&mut s, at(0)), [(request.0, rows)]);
        let ended: Vec<_> = s.drain_ended().map(|e| e.cached_tokens).collect();
        assert_eq!(ended, [100 - rows]);
    }
}

#[test]
fn who_wants_every_row_gets_every_row() {
    // Four outputs a step bound its rows; the prefix that is known is computed again.
    let mut s = scheduler(config(16, 4, 4, 128, 16));
    for _ in 0..2 {
        let mut request = Request::new(prompt(70, 0), 0);
        request.every_row = true;
        s.submit(request, at(0)).unwrap();
        let mut seen = Vec::new();
        while !s.is_idle() {
            let step = s.schedule(at(0));
            let part = &step.sequences()[0];
            assert_eq!((step.sequences().len(), part.rows.len()), (1, part.outputs.len()));
            seen.extend(step.batch().outputs.iter().map(|&row| part.start + row as usize));
            let lists = part.lists;
            let mut results = Results::default();
            (0..lists).for_each(|_| results.push(&[], true));
            s.commit(&results).unwrap();
        }
        assert_eq!(seen, (0..70).collect::<Vec<_>>());
        assert_eq!(s.drain_ended().map(|e| e.cached_tokens).collect::<Vec<_>>(), [0]);
    }
}

#[test]
fn scarce_outputs_go_around() {
    let mut s = scheduler(config(16, 2, 4, 128, 16));
    for i in 0..4 {
        s.submit(Request::new(prompt(1, i), 50), at(0)).unwrap();
    }
    let mut served = [0; 4];
    for _ in 0..20 {
        round(&mut s, at(0))
            .iter()
            .for_each(|&(request, _)| served[request as usize] += 1);
    }
    assert_eq!(served, [10; 4]);
}

#[test]
fn priority_is_a_head_start() {
    let admitted = |first: (i32, u64), second: (i32, u64)| {
        let mut s = scheduler(config(16, 1, 1, 64, 2));
        for (i, (priority, arrival)) in [first, second].into_iter().enumerate() {
            let request = Request::new(prompt(3, 100 * i as u32), 1);
            s.submit(Request { priority, ..request }, at(arrival)).unwrap();
        }
        round(&mut s, at(1000))[0].0
    };
    assert_eq!(admitted((0, 0), (0, 0)), 0, "equals go in order");
    assert_eq!(admitted((0, 0), (1, 19)), 1, "a level is worth 20 ms");
    assert_eq!(admitted((0, 0), (1, 20)), 0);
    assert_eq!(admitted((-1, 0), (1, 39)), 1);
    assert_eq!(
        admitted((i32::MIN, 0), (i32::MAX, u64::MAX / 2)),
        0,
        "age wins in the end"
    );
}

#[test]
fn a_low_priority_is_served_however_many_high_ones_come() {
    let mut s = scheduler(config(16, 2, 2, 64, 4));
    let low = Request {
        priority: -3,
        ..Request::new(prompt(3, 0), 4)
    };
    let low = s.submit(low, at(0)).unwrap();
    for ms in 0..1000 {
        // More than can be served, all with priority.
        for _ in 0..2 {
            let high = Request {
                priority: 3,
                ..Request::new(prompt(3, 50), 4)
            };
            s.submit(high, at(ms)).unwrap();
        }
        round(&mut s, at(ms));
        if s.drain_ended().any(|e| e.id.request == low) {
            assert!(ms > 120, "the others had a head start of 120 ms");
            return;
        }
    }
    panic!("starved");
}

#[test]
fn the_latest_gives_up_its_blocks_and_comes_back_with_its_tokens() {
    let mut s = scheduler(Config {
        headroom: 0,
        ..config(64, 4, 4, 96, 4)
    });
    let first = s.submit(Request::new(prompt(63, 0), 20), at(0)).unwrap();
    let second = s.submit(Request::new(prompt(40, 500), 20), at(1)).unwrap();
    assert_eq!(round(&mut s, at(2)), [(0, 63), (1, 1)]);
    assert_eq!(round(&mut s, at(2)), [(0, 1), (1, 39)]);
    // The first needs a third block, and none is free.
    assert_eq!(round(&mut s, at(2)), [(0, 1)]);
    assert_eq!((s.load(), s.stats().preemptions), ((1, 1), 1));
    assert_eq!(
        s.tokens(ChoiceId {
            request: second,
            choice: 0
        })
        .unwrap()
        .len(),
        41
    );
    s.cancel(first);
    assert_eq!(round(&mut s, at(2)), [(1, 9)], "one block of 32 was still there");
    let ended = s.drain_ended().next().unwrap();
    assert_eq!((ended.id.request, ended.reason), (first, Reason::Cancelled));
}

#[test]
fn what_cannot_be_served_is_refused_with_numbers() {
    let mut s = scheduler(Config {
        queue: 3,
        ..config(16, 4, 4, 128, 3)
    });
    let refused = |s: &mut Scheduler, r: Request| s.submit(r, at(0)).unwrap_err().to_string();
    let long = refused(&mut s, Request::new(prompt(97, 0), 1));
    assert_eq!(long, "the prompt has 97 tokens, but the context holds 96");
    assert_eq!(
        refused(&mut s, Request::new(vec![], 1)),
        Refused::EmptyPrompt.to_string()
    );
    let none = Request {
        choices: 0,
        ..Request::new(vec![1], 1)
    };
    assert_eq!(refused(&mut s, none), "the request asks for 0 choices");
    s.submit(Request::new(vec![1], 1), at(0)).unwrap();
    let many = Request {
        choices: 3,
        ..Request::new(vec![1], 1)
    };
    assert_eq!(
        refused(&mut s, many),
        "1 sequences wait and 3 more would, but the queue holds 3"
    );
    s.submit(Request::new(prompt(96, 0), usize::MAX), at(0)).unwrap();
    while !s.is_idle() {
        round(&mut s, at(0));
    }
    let made: Vec<_> = s.drain_ended().map(|e| (e.made, e.reason)).collect();
    assert_eq!(
        made,
        [(1, Reason::Length); 2],
        "the whole context, and one token after it"
    );
    assert_eq!(Config::new(Limits::default(), 9).context(), 0);
}

#[test]
fn rejected_drafts_are_rolled_back_and_accepted_ones_not_computed_again() {
    let mut s = scheduler(config(16, 8, 4, 128, 4));
    let request = s.submit(Request::new(prompt(31, 0), 40), at(0)).unwrap();
    let id = ChoiceId { request, choice: 0 };
    assert_eq!(
        (round(&mut s, at(0)), round(&mut s, at(0))),
        (vec![(0, 16)], vec![(0, 15)])
    );
    assert!(s.set_draft(id, &[1, 2, 3, 4]));
    let step = s.schedule(at(0));
    let part = step.sequences()[0].clone();
    assert_eq!(
        (part.start, part.drafts, part.outputs, part.rows),
        (31, 4, 0..5, 0..5)
    );
    assert_eq!(step.batch().tokens, [7, 1, 2, 3, 4]);
    let mut results = Results::default();
    assert_eq!(s.commit(&results), Err(CommitError::Lists { got: 0, want: 1 }));
    results.push(&[], false);
    assert_eq!(s.commit(&results), Err(CommitError::NoToken { list: 0 }));
    results.clear();
    // Two drafts are right; another proposal in the meantime changes nothing.
    assert!(s.set_draft(id, &[9]));
    results.push(&[1, 2, 8], false);
    s.commit(&results).unwrap();
    assert_eq!((s.stats().drafts, s.stats().accepted), (4, 2));
    let step = s.schedule(at(0));
    assert_eq!(
        (step.batch().tokens, step.batch().positions),
        (&[8][..], &[34][..])
    );
    assert!(!s.set_draft(ChoiceId { choice: 1, ..id }, &[1]));
}
