//! Translations against a recognizer of GBNF's own meaning, on written and random grammars.

use super::ast::{Expr, Grammar};
use super::parse::parse;
use super::{is_rule, to_lark};
use crate::constrain::{Constraint, Grammars};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Where each rule may end, by where it starts: the least table that agrees with itself.
struct Oracle<'a> {
    grammar: &'a Grammar,
    text: Vec<char>,
    ends: Vec<Vec<BTreeSet<usize>>>,
}

impl Oracle<'_> {
    fn accepts(grammar: &Grammar, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let ends = vec![vec![BTreeSet::new(); text.len() + 1]; grammar.rules.len()];
        let mut oracle = Oracle { grammar, text, ends };
        while oracle.round() {}
        oracle.ends[grammar.root][0].contains(&oracle.text.len())
    }

    fn round(&mut self) -> bool {
        let mut changed = false;
        for (rule, body) in self.grammar.rules.iter().enumerate() {
            for start in 0..=self.text.len() {
                let ends = self.ends(body, start);
                changed |= ends.len() > self.ends[rule][start].len();
                self.ends[rule][start] = ends;
            }
        }
        changed
    }

    fn ends(&self, expr: &Expr, start: usize) -> BTreeSet<usize> {
        match expr {
            Expr::Chars(set) => {
                let c = self.text.get(start).map(|&c| u32::from(c));
                let found =
                    c.is_some_and(|c| set.ranges().iter().any(|&(low, high)| (low..=high).contains(&c)));
                found.then_some(start + 1).into_iter().collect()
            }
            Expr::Rule(rule) => self.ends[*rule][start].clone(),
            Expr::Seq(parts) => parts
                .iter()
                .fold(BTreeSet::from([start]), |starts, part| self.after(&starts, part)),
            Expr::Alt(parts) => parts.iter().flat_map(|part| self.ends(part, start)).collect(),
            Expr::Repeat(part, low, high) => {
                // More rounds than characters add only empty ones.
                let high = high.unwrap_or(u32::MAX).min(low + self.text.len() as u32);
                let mut starts =
                    (0..*low).fold(BTreeSet::from([start]), |starts, _| self.after(&starts, part));
                let mut all = starts.clone();
                for _ in *low..high {
                    starts = self.after(&starts, part);
                    all.extend(&starts);
                }
                all
            }
        }
    }

    fn after(&self, starts: &BTreeSet<usize>, part: &Expr) -> BTreeSet<usize> {
        starts.iter().flat_map(|&start| self.ends(part, start)).collect()
    }
}

/// Compiles a grammar and compares what it accepts with the oracle. Without texts, all of up to four letters.
fn check(source: &str, texts: &[&str]) {
    let grammar = parse(source).unwrap();
    let lark = to_lark(source).unwrap();
    let compiled = Grammars::of_bytes().compile(&Constraint::Gbnf(source.into()));
    let compiled = compiled.unwrap_or_else(|e| panic!("{e}\n{source}\n{lark}"));
    let mut all = vec![String::new()];
    if texts.is_empty() {
        for length in 0..4 {
            let longest: Vec<String> = all.iter().filter(|t| t.len() == length).cloned().collect();
            all.extend(
                longest
                    .iter()
                    .flat_map(|t| ["a", "b", "c"].map(|c| format!("{t}{c}"))),
            );
        }
    } else {
        all = texts.iter().map(|t| t.to_string()).collect();
    }
    for text in all {
        let (got, want) = (
            compiled.accepts(text.as_bytes()).unwrap().is_ok(),
            Oracle::accepts(&grammar, &text),
        );
        assert_eq!(got, want, "{text:?} of\n{source}\n{lark}");
    }
}

#[test]
fn lexemes_that_overlap_lose_no_text() {
    for source in [
        r#"root ::= "a" root "b" | "ab" "c""#,
        r#"root ::= x x? root? ; "#.trim_end_matches("; "),
        "root ::= x+ \"b\" root | \"ab\" \"a\"\nx ::= \"a\" | \"aab\"",
        "root ::= [ab]* \"b\" | \"c\" root",
        "root ::= \"\" | \"a\" root \"a\" | [abc]",
        "root ::= (\"a\"{0} | \"b\"{2} root | \"bba\") \"c\"?",
        "root ::= y \"c\" root | y\ny ::= \"a\"* \"b\"*",
        "root ::= root \"a\" | \"b\"",
        "root ::= .{2,3} | \"a\" root",
    ] {
        let source = source.replace("x x?", "[ab] \"c\"?");
        check(&source, &[]);
    }
}

#[test]
fn characters_that_begin_alike_are_apart() {
    check(
        "root ::= \"a\" root? | x \"é\"\nx ::= \"a\" \"è\"*",
        &["a", "aé", "aè", "aèé", "aèè", "aaé", "aaèèé", "é"],
    );
    check(
        "root ::= [^\\x00-\\x7f] root | \"\\u20ac\" \"!\"",
        &["€!", "€€!", "é€!", "a€!", "€", "\u{10FFFF}€!"],
    );
}

/// JSON as llama.cpp writes it: mostly lexemes, and exact.
const JSON: &str = r#"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
"#;

#[test]
fn a_real_grammar_is_cut_into_words() {
    let texts = [
        "{}",
        "{ \"a\": [1, -2.5e+1, true], \"b\\u00e9\": {\"c\": null}}",
        "{\"a\":1}\n  ",
        "{\"a\":01}",
        "[]",
        "{\"a\":}",
        "{\"a\" :1}",
        "{\"é\":\"\u{1F600}\"}",
        "{\"a\":tru}",
        "{\"a\":\"\t\"}",
    ];
    check(JSON, &texts);
    let lark = to_lark(JSON).unwrap();
    let words = lark.lines().filter(|line| line.starts_with('T')).count();
    assert!((8..20).contains(&words), "{words} lexemes:\n{lark}");
}

#[test]
fn one_word_where_nothing_comes_back() {
    let lark =
        to_lark("root ::= greeting \" \" name\ngreeting ::= \"hello\" | \"hi\"\nname ::= [A-Z] [a-z]*")
            .unwrap();
    assert_eq!(
        lark.lines().filter(|line| line.starts_with('T')).count(),
        1,
        "{lark}"
    );
}

#[test]
fn faults_name_their_place() {
    for (source, place, message) in [
        ("a ::= \"x\"", "line 1, column 1", "there is no rule `root`"),
        ("root ::= b", "line 1, column 10", "the rule `b` is not defined"),
        (
            "root ::= \"x\"\nroot ::= \"y\"",
            "line 2, column 1",
            "the rule `root` is defined twice",
        ),
        ("root ::= \"x", "line 1, column 10", "`\"` is not closed"),
        ("root ::= [x", "line 1, column 10", "`[` is not closed"),
        (
            "root ::= [z-a]",
            "line 1, column 11",
            "the range ends before it begins",
        ),
        ("root ::= (\"x\"", "line 1, column 10", "`(` is not closed"),
        (
            "root ::= \"\\q\"",
            "line 1, column 11",
            "this is no escape sequence",
        ),
        (
            "root ::= \"\\ud800\"",
            "line 1, column 11",
            "4 hexadecimal digits of a character are expected",
        ),
        (
            "root ::= \"x\"{3,2}",
            "line 1, column 13",
            "`{n}`, `{n,}` or `{n,m}` with n at most m is expected",
        ),
        (
            "root ::= \"x\"{10001}",
            "line 1, column 14",
            "a count is at most 10000",
        ),
        (
            "root = \"x\"",
            "line 1, column 6",
            "`::=` is expected after the rule's name",
        ),
        ("root ::= []", "line 1, column 10", "no character is in this set"),
        (
            "root ::= \"x\" \\",
            "line 1, column 14",
            "a rule's name is expected",
        ),
    ] {
        let error = to_lark(source).unwrap_err();
        assert_eq!(
            (error.place.as_deref(), error.message.as_str()),
            (Some(place), message),
            "{source}"
        );
    }
    let deep = format!("root ::= {}\"x\"{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(
        to_lark(&deep).unwrap_err().message,
        "parentheses are nested too deeply"
    );
    assert!(is_rule("  my-rule_2 ::= x") && !is_rule("start: x") && !is_rule(" ::= x"));
}

#[test]
fn large_grammars_take_no_stack_and_little_time() {
    let mut chain = String::from("root ::= r0 root?\n");
    (0..3000).for_each(|i| chain += &format!("r{i} ::= \"x\" r{}\n", i + 1));
    chain += "r3000 ::= \"y\"\n";
    to_lark(&chain).unwrap();
    to_lark("root ::= ([a-z]{1,1000} \"b\"){1,1000} root?").unwrap();
}

/// Random expressions over three letters and three rules, as text.
fn expr() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[abc]{1,3}".prop_map(|s| format!("\"{s}\"")),
        "[abc]{1,2}".prop_map(|s| format!("[{s}]")),
        Just("[^a]".to_owned()),
        (0..3usize).prop_map(|i| ["root", "x", "y"][i].to_owned()),
        Just("\"\"".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|v| format!("({})", v.join(" "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|v| format!("({})", v.join(" | "))),
            (inner, 0..5usize).prop_map(|(e, i)| format!("({e}){}", ["*", "+", "?", "{2}", "{1,2}"][i])),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_grammars_mean_what_they_say(root in expr(), x in expr(), y in expr()) {
        let source = format!("root ::= {root}\nx ::= {x}\ny ::= {y}");
        // A grammar with no text at all is refused when it is compiled.
        if Grammars::of_bytes().compile(&Constraint::Gbnf(source.clone())).is_ok() {
            check(&source, &[]);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(source in "(root|::=|[\\[\\](){}|\"\\\\^x0-9 \n-]){0,12}") {
        let _ = to_lark(&source);
        let _ = to_lark(&format!("root ::= {source}"));
    }
}
