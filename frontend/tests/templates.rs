//! Real chat templates against the outputs of Hugging Face's renderer, for four conversations each. The data lies in
//! `../shared/templates`; without it the test says so and skips (unit tests cover the features on their own).

use std::path::{Path, PathBuf};

use lathe_frontend::template::{ChatTemplate, DateTime, RenderInput};
use serde_json::Value;

fn data_folder() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/templates")).to_path_buf()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Renders one conversation and compares; `Err` says what differs.
fn check(
    template: &ChatTemplate,
    common: &Value,
    conversation: &Value,
    expected: &Value,
) -> Result<(), String> {
    assert_eq!(common["now"], "2026-01-02T03:04:05");
    let input = RenderInput {
        messages: conversation["messages"].clone(),
        tools: conversation.get("tools").cloned(),
        add_generation_prompt: common["add_generation_prompt"].as_bool().unwrap(),
        now: Some(DateTime {
            year: 2026,
            month: 1,
            day: 2,
            hour: 3,
            minute: 4,
            second: 5,
        }),
        ..RenderInput::default()
    };
    let result = template.render(&input);
    match (expected["output"].as_str(), expected["error"].as_str(), result) {
        (Some(want), None, Ok(got)) if want == got => Ok(()),
        (Some(want), None, Ok(got)) => {
            let at = want.bytes().zip(got.bytes()).take_while(|(a, b)| a == b).count();
            let around = |s: &str| {
                String::from_utf8_lossy(&s.as_bytes()[at.saturating_sub(30)..s.len().min(at + 60)])
                    .into_owned()
            };
            Err(format!(
                "differs at byte {at}: expected {:?}, got {:?}",
                around(want),
                around(&got)
            ))
        }
        (Some(_), None, Err(error)) => Err(error.to_string()),
        (None, Some(_), Err(_)) => Ok(()),
        (None, Some(want), Ok(_)) => Err(format!("expected the error {want:?}, got an output")),
        _ => panic!("an expectation must be an output or an error: {expected}"),
    }
}

#[test]
fn real_templates_render_to_the_byte() {
    let folder = data_folder();
    if !folder.is_dir() {
        eprintln!(
            "skipped real_templates_render_to_the_byte: {} is absent",
            folder.display()
        );
        return;
    }
    let common = read_json(&folder.join("conversations.json"));
    let (mut cases, mut failures) = (0, Vec::new());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".jinja") else {
            continue;
        };
        let source = std::fs::read_to_string(&path).unwrap();
        let expected = read_json(&folder.join(format!("{name}.expected.json")));
        let template = ChatTemplate::new(
            &source,
            common["bos_token"].as_str().unwrap(),
            common["eos_token"].as_str().unwrap(),
        )
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        for (case, conversation) in common["conversations"].as_object().unwrap() {
            cases += 1;
            if let Err(why) = check(&template, &common, conversation, &expected[case]) {
                failures.push(format!("{name}/{case}: {why}"));
            }
        }
    }
    failures.sort();
    assert!(
        failures.is_empty(),
        "{} of {cases} cases fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(cases >= 4 * 47, "only {cases} cases found");
}
