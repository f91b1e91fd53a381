//! Constraints from the command line, and on real schemas.

mod support;

use lathe_frontend::testing::Family;
use lathe_ir::DType;
use lathe_runtime::constrain::{Constraint, Grammars};
use serde_json::{Value, json};
use std::fs;
use support::{TinyFile, json, refusal, run, stdout};

/// The text that a tiny model makes under a constraint.
fn text(tiny: &TinyFile, constraint: &[&str]) -> String {
    let args = [
        "run",
        tiny.model(),
        "-p",
        "the cat",
        "-n",
        "100",
        "--ctx",
        "128",
        "--temp",
        "1",
        "--json",
    ];
    json(&[&args, constraint].concat())["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_run_keeps_to_its_constraint() {
    for family in Family::ALL {
        let tiny = TinyFile::new(family, DType::Q8_0);
        let file = |name: &str, content: &str| {
            fs::write(tiny.beside(name), content).unwrap();
            tiny.beside(name).to_str().unwrap().to_owned()
        };
        let schema = json!({"type": "object", "properties": {"size": {"type": "integer", "minimum": 7, "maximum": 12},
            "of": {"enum": ["cat", "mat"]}}, "required": ["size", "of"], "additionalProperties": false});
        let made: Value = serde_json::from_str(&text(
            &tiny,
            &["--json-schema", &file("schema.json", &schema.to_string())],
        ))
        .unwrap();
        assert!((7..=12).contains(&made["size"].as_i64().unwrap()), "{made}");
        assert!(["cat", "mat"].contains(&made["of"].as_str().unwrap()), "{made}");
        let number = text(&tiny, &["--regex", "[1-9][0-9]{2}"]);
        assert!(
            number.len() == 3 && number.parse::<u32>().unwrap() >= 100,
            "{number}"
        );
        let choice = text(&tiny, &["--choice", "yes, of course", "--choice", "no"]);
        assert!(["yes, of course", "no"].contains(&choice.as_str()), "{choice}");
        let gbnf = file("g.gbnf", "root ::= \"<\" [a-c] root? \">\"\n");
        let open = text(&tiny, &["--grammar", &gbnf]);
        assert!(
            open.starts_with('<') && open.chars().all(|c| "<abc>".contains(c)),
            "{open}"
        );
        let late = text(
            &tiny,
            &[
                "--regex",
                "[0-9]",
                "--constrain-after",
                "never said",
                "--ignore-eos",
            ],
        );
        assert!(late.parse::<u8>().is_err(), "{late}");
    }
}

#[test]
fn texts_are_judged() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let tiny = TinyFile::new(Family::Llama, DType::F32);
    let gbnf = file("g.gbnf", "root ::= \"(\" (root | [a-zé]*) \")\"");
    let lark = file("g.lark", "start: \"(\" (start | /[a-zé]*/) \")\"");
    for grammar in [&gbnf, &lark] {
        let judge = |text: &str, more: &[&str]| {
            let text = file("text", text);
            let out = run(&[&["grammar", "--grammar", grammar, "--accepts", &text], more].concat());
            (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
        };
        for more in [&[][..], &["--tokenizer", tiny.model()]] {
            assert_eq!(judge("((the cat))", more).0, 1);
            assert_eq!(judge("((théé))", more), (0, String::new()));
            assert_eq!(
                judge("(a1)", more),
                (1, "lathe: byte 2: '1' can't follow here\n".into())
            );
            assert_eq!(
                judge("((a)", more),
                (1, "lathe: byte 4: the text ends where more must follow\n".into())
            );
            assert_eq!(judge("(è)", more).0, 1);
        }
    }
    assert_eq!(
        stdout(&["grammar", "--regex", "a+"]),
        "the regular expression can be a constraint\n"
    );
    let schema = file("s.json", "{\"properties\": {\"a\": {\"uniqueItems\": true}}}");
    let refused = refusal(&["grammar", "--json-schema", &schema], 2);
    assert!(
        refused
            .trim_end()
            .ends_with("#/properties/a/uniqueItems: `uniqueItems` can't be turned into a grammar"),
        "{refused}"
    );
    assert!(
        refusal(&["grammar", "--regex", "(a"], 2)
            .trim_end()
            .ends_with("unclosed group")
    );
    assert!(refusal(&["grammar", "--json-schema", &file("bad", "{")], 2).contains("is no JSON"));
    assert!(refusal(&["grammar"], 2).contains("there is no constraint"));
    let both = run(&["grammar", "--regex", "a", "--choice", "b"]);
    assert_eq!(both.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&both.stderr).contains("cannot be used with"));
}

/// Real schemas with instances: what is invalid is never accepted, and nearly all else is.
#[test]
fn real_schemas_hold() {
    let Some(folder) = support::shared("real_schemas_hold", "json-schema") else {
        return;
    };
    let (mut compiled, mut accepted, mut valid, mut rejected) = (0, 0, 0, 0);
    let grammars = Grammars::of_bytes();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let Ok(grammar) = grammars.compile(&Constraint::JsonSchema(file["schema"].clone())) else {
            continue;
        };
        compiled += 1;
        for test in file["tests"].as_array().into_iter().flatten() {
            let ok = grammar
                .accepts(test["data"].to_string().as_bytes())
                .unwrap()
                .is_ok();
            if test["valid"] == true {
                valid += 1;
                accepted += usize::from(ok);
            } else {
                assert!(!ok, "{} accepts {}", path.display(), test["data"]);
                rejected += 1;
            }
        }
    }
    eprintln!(
        "{compiled} schemas compiled: {accepted} of {valid} valid instances accepted, {rejected} invalid ones rejected"
    );
    assert!(compiled >= 360 && accepted >= 450 && accepted * 100 >= valid * 98 && rejected > 700);
}
