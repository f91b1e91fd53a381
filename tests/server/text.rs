//! Fields of requests for text: they do over HTTP what flags do on the command line, and bad ones are refused.

use super::Server;
use crate::support::{TinyFile, json};
use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use serde_json::{Map, Value, json};

/// A request for 24 tokens after "the cat", with more fields.
fn request(more: &Value) -> Value {
    let mut body = json!({"prompt": "the cat", "max_tokens": 24, "ignore_eos": true});
    let fields = body.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    body
}

/// The same by `lathe run`.
fn by_command(file: &TinyFile, flags: &[&str]) -> Value {
    let args = [
        "run",
        file.model(),
        "-p",
        "the cat",
        "-n",
        "24",
        "--json",
        "--ignore-eos",
    ];
    json(&[&args[..], flags].concat())
}

#[test]
fn sampling_fields_do_what_the_flags_do() {
    let file = TinyFile::new(Family::Qwen2, DType::F32);
    let server = Server::start(&[file.model(), "--port", "0"]);
    let text = |more: Value| {
        let answer = server.answer("completions", &request(&more));
        answer["choices"][0]["text"].clone()
    };
    let plain = text(json!({"temperature": 2, "seed": 3}));
    let greedy = text(json!({"temperature": 0}));
    assert_ne!(plain, greedy);
    let dry = ["--dry-multiplier", "50", "--dry-allowed-length", "1"];
    for (fields, flags) in [
        (json!({"top_k": 3}), &["--top-k", "3"][..]),
        (json!({"top_p": 0.5}), &["--top-p", "0.5"]),
        (json!({"min_p": 0.2}), &["--min-p", "0.2"]),
        (json!({"typical_p": 0.1}), &["--typical-p", "0.1"]),
        (json!({"top_n_sigma": 1}), &["--top-n-sigma", "1"]),
        (
            json!({"xtc_probability": 1, "xtc_threshold": 0.001}),
            &["--xtc-probability", "1", "--xtc-threshold", "0.001"],
        ),
        (
            json!({"repeat_penalty": 3, "repeat_last_n": 5}),
            &["--repeat-penalty", "3", "--repeat-last-n", "5"],
        ),
        (json!({"frequency_penalty": 2}), &["--frequency-penalty", "2"]),
        (json!({"presence_penalty": 2}), &["--presence-penalty", "2"]),
        (
            json!({"mirostat": 2, "mirostat_tau": 3}),
            &["--mirostat-tau", "3"],
        ),
        (
            json!({"mirostat": 2, "mirostat_tau": 3, "mirostat_eta": 1}),
            &["--mirostat-tau", "3", "--mirostat-eta", "1"],
        ),
    ] {
        let mut sampled = json!({"temperature": 2, "seed": 3});
        sampled
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let got = text(sampled);
        let want = by_command(&file, &[&["--temp", "2", "--seed", "3"], flags].concat());
        assert_eq!(got, want["text"], "{fields}");
        assert_ne!(got, plain, "{fields}");
    }
    // The tiny model repeats itself; DRY turns it away, if nothing breaks the repetitions.
    let with = |more: Value| {
        let mut fields = json!({"temperature": 0, "dry_multiplier": 50, "dry_allowed_length": 1});
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        text(fields)
    };
    let turned = with(json!({}));
    assert_eq!(turned, by_command(&file, &dry)["text"]);
    assert_ne!(turned, greedy);
    let short = [&dry[..], &["--dry-last-n", "3"]].concat();
    assert_eq!(
        with(json!({"dry_penalty_last_n": 3})),
        by_command(&file, &short)["text"]
    );
    assert_eq!(with(json!({"dry_penalty_last_n": 0})), greedy);
    let letters: Vec<String> = (' '..='~').map(String::from).collect();
    assert_eq!(with(json!({"dry_sequence_breakers": &letters[..60]})), {
        let flags: Vec<&str> = letters[..60].iter().flat_map(|l| ["--dry-breaker", l]).collect();
        by_command(&file, &[&dry[..], &flags].concat())["text"].clone()
    });
    for (field, value) in [
        ("dry_base", json!(0.5)),
        ("mirostat", json!(1)),
        ("top_p", json!(2)),
        ("repeat_last_n", json!(-2)),
        ("logprobs", json!(21)),
        ("best_of", json!(0)),
    ] {
        let (message, param) = server.refused("completions", &request(&json!({field: value})));
        assert!(message.contains(field) && param == field, "{message}");
    }
}

#[test]
fn log_probabilities_are_those_of_the_command() {
    let file = TinyFile::new(Family::Llama, DType::F32);
    let server = Server::start(&[file.model(), "--port", "0"]);
    let want = by_command(&file, &["--temp", "1", "--seed", "20", "--logprobs", "2"]);
    let want = want["logprobs"].as_array().unwrap();
    let near = |got: &Value, want: &Value| (got.as_f64().unwrap() - want.as_f64().unwrap()).abs() < 1e-6;

    let fields = json!({"temperature": 1, "seed": 20, "logprobs": 2});
    let whole = server.answer("completions", &request(&fields))["choices"][0].clone();
    let lists = &whole["logprobs"];
    let got = lists["token_logprobs"].as_array().unwrap();
    assert_eq!(got.len(), 24);
    assert!(
        got.iter()
            .zip(want)
            .all(|(got, want)| near(got, &want["logprob"]))
    );
    let tops = lists["top_logprobs"].as_array().unwrap();
    assert!(
        tops.iter()
            .all(|top| (1..=3).contains(&top.as_object().unwrap().len()))
    );
    // The chunks of a stream have the same, in pieces.
    let chunks = server.chunks("completions", &request(&fields));
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let pieces = chunks.iter().map(|c| &c["choices"][0]["logprobs"][list]);
        let pieces: Vec<&Vec<Value>> = pieces.filter_map(Value::as_array).collect();
        assert!(pieces.len() > 4, "{list} come as they are made");
        let all: Value = pieces.into_iter().flatten().cloned().collect();
        assert_eq!(all, lists[list], "{list}");
    }

    // Each token stands where it says, in a text of whole characters.
    let held = json!({"temperature": 1, "logprobs": 0, "structured_outputs": {"regex": "[a-zäé ]{20}"}});
    let whole = server.answer("completions", &request(&held))["choices"][0].clone();
    let (text, lists) = (whole["text"].as_str().unwrap(), &whole["logprobs"]);
    let offsets = lists["text_offset"].as_array().unwrap();
    for (token, offset) in lists["tokens"].as_array().unwrap().iter().zip(offsets) {
        let from: String = text.chars().skip(offset.as_u64().unwrap() as usize).collect();
        let token = token.as_str().unwrap().trim_matches('\u{fffd}');
        assert!(from.starts_with(token), "{token:?} of {from:?} in {text}");
    }
    assert!(
        offsets.len() >= 2 && offsets.is_sorted_by_key(Value::as_u64),
        "{offsets:?}"
    );

    let ask = json!({"messages": [{"role": "user", "content": "the cat"}], "temperature": 0, "max_tokens": 12,
        "logprobs": true, "top_logprobs": 3});
    let whole = server.answer("chat/completions", &ask)["choices"][0].clone();
    let content = whole["logprobs"]["content"].as_array().unwrap();
    let bytes = content
        .iter()
        .flat_map(|entry| entry["bytes"].as_array().unwrap());
    let bytes: Vec<u8> = bytes.map(|b| b.as_u64().unwrap() as u8).collect();
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        whole["message"]["content"].as_str().unwrap()
    );
    for entry in content {
        let top = entry["top_logprobs"].as_array().unwrap();
        assert_eq!(
            (top.len(), &top[0]["logprob"]),
            (3, &entry["logprob"]),
            "it is greedy"
        );
    }
    let chunks = server.chunks("chat/completions", &ask);
    let pieces = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["logprobs"]["content"].as_array());
    let all: Vec<Value> = pieces.flatten().cloned().collect();
    assert_eq!(&all, content);
    // Where nobody asks there are none.
    let mut silent = ask.clone();
    silent
        .as_object_mut()
        .unwrap()
        .retain(|field, _| !field.contains("logprobs"));
    let quiet = server.answer("chat/completions", &silent)["choices"][0].clone();
    assert_eq!(
        (&quiet["logprobs"], &quiet["message"]),
        (&Value::Null, &whole["message"])
    );
}

#[test]
fn the_best_of_several_are_told() {
    let file = TinyFile::new(Family::Llama, DType::F32);
    let server = Server::start(&[file.model(), "--port", "0"]);
    let ask = |more: Value| {
        let mut fields = json!({"temperature": 1.5, "seed": 2});
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        server.answer("completions", &request(&fields))
    };
    let all = ask(json!({"n": 5, "logprobs": 0}));
    let mean = |choice: &Value| {
        let list = choice["logprobs"]["token_logprobs"].as_array().unwrap();
        list.iter().map(|l| l.as_f64().unwrap()).sum::<f64>() / list.len() as f64
    };
    let mut ranked = all["choices"].as_array().unwrap().clone();
    ranked.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
    assert_ne!(
        ranked[0]["index"], 0,
        "the seed must put another first than the first"
    );
    let best = ask(json!({"n": 2, "best_of": 5}));
    let got: Vec<(&Value, &Value)> = best["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (&c["text"], &c["index"]))
        .collect();
    assert_eq!(
        got,
        [(&ranked[0]["text"], &json!(0)), (&ranked[1]["text"], &json!(1))]
    );
    assert_eq!(best["choices"][0]["logprobs"], Value::Null, "nobody asked");
    assert_eq!(best["usage"]["completion_tokens"], 5 * 24, "all are paid for");
    for (fields, param) in [
        (json!({"best_of": 2, "n": 3}), "best_of"),
        (json!({"best_of": 2, "stream": true}), "best_of"),
    ] {
        assert_eq!(server.refused("completions", &request(&fields)).1, param);
    }
}

/// What a server started with `flags` says, and how many of its guesses were right and wrong.
fn guessed(file: &TinyFile, flags: &[&str], body: &Value) -> (Value, [u64; 2]) {
    let server = Server::start(&[&[file.model(), "--port", "0"], flags].concat());
    let answer = server.answer("completions", body);
    let details = &answer["usage"]["completion_tokens_details"];
    (
        answer["choices"][0]["text"].clone(),
        ["accepted_prediction_tokens", "rejected_prediction_tokens"]
            .map(|key| details[key].as_u64().unwrap()),
    )
}

#[test]
fn guesses_of_a_server_are_right_and_change_nothing() {
    let file = TinyFile::new(Family::Llama, DType::F32);
    let body = json!({"prompt": "the cat", "max_tokens": 60, "ignore_eos": true, "temperature": 0});
    let (plain, none) = guessed(&file, &[], &body);
    assert_eq!(none, [0, 0]);
    let (text, [right, _]) = guessed(&file, &["--lookup", "4"], &body);
    assert_eq!(text, plain);
    assert!(right > 5, "the tiny model repeats itself: {right}");
    // A model that is its own draft is always right; how often it is asked depends on whether that pays.
    let (text, [right, wrong]) = guessed(&file, &["--draft", file.model()], &body);
    assert_eq!(text, plain);
    assert!(right > 0 && wrong == 0, "{right} right, {wrong} wrong");
}

/// A model with a template of its own.
fn with_template(template: &str) -> TinyFile {
    let file = TinyFile::new(Family::Qwen2, DType::F32);
    let mut writer = TinyModel::new(Family::Qwen2).writer();
    writer.set("tokenizer.chat_template", template);
    writer.write(&file.path).unwrap();
    file
}

#[test]
fn variables_reach_the_chat_template() {
    let file = with_template(
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if mood is defined %} {{ mood }}{% endif %}",
    );
    let server = Server::start(&[file.model(), "--port", "0"]);
    let tokens = |variables: Option<Value>, content: &str| {
        let mut body = json!({"messages": [{"role": "user", "content": content}], "max_tokens": 2});
        body["chat_template_kwargs"] = variables.unwrap_or_default();
        server.answer("chat/completions", &body)["usage"]["prompt_tokens"]
            .as_u64()
            .unwrap()
    };
    let plain = tokens(None, "the cat");
    assert_eq!(tokens(Some(json!({"other": "the dog"})), "the cat"), plain);
    let with = tokens(Some(json!({"mood": "sat on the mat"})), "the cat");
    assert!(with > plain, "{with} against {plain}");
    assert_eq!(with, tokens(None, "the cat sat on the mat"));
    let mut body =
        json!({"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": "thinking"});
    let (message, _) = server.refused("chat/completions", &body);
    assert!(message.contains("no chat request"), "{message}");
    body["chat_template_kwargs"] = Map::new().into();
    server.answer("chat/completions", &body);
}

#[test]
fn an_answer_is_held_to_one_form() {
    let file = with_template(
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}<tool_call>{{ tools | tojson }}</tool_call>{% endif %}",
    );
    let server = Server::start(&[file.model(), "--port", "0"]);
    let function = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    for choice in [
        json!("required"),
        json!({"type": "function", "function": {"name": "f"}}),
    ] {
        for (field, format) in [
            ("response_format", json!({"type": "json_object"})),
            ("structured_outputs", json!({"regex": "a+"})),
            ("grammar", json!("root ::= \"a\"")),
        ] {
            let mut body = json!({"messages": [{"role": "user", "content": "a"}], "tools": [function]});
            body["tool_choice"] = choice.clone();
            body[field] = format;
            let (message, param) = server.refused("chat/completions", &body);
            assert_eq!(param, "tool_choice", "{field}: {message}");
            assert!(message.contains("both say what the answer must be"), "{message}");
        }
    }
    // Where calls are free, the form is what counts.
    for choice in ["auto", "none"] {
        let body = json!({"messages": [{"role": "user", "content": "a"}], "tools": [function], "tool_choice": choice,
            "structured_outputs": {"regex": "(ab){3}"}});
        let answer = server.answer("chat/completions", &body)["choices"][0].clone();
        assert_eq!(answer["message"]["content"], "ababab", "{answer}");
        assert_eq!(answer["finish_reason"], "stop");
    }
}

#[test]
fn schemas_of_tools_that_cannot_be_honoured_are_refused_with_their_place() {
    let file = with_template(
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}<tool_call>{{ tools | length }}</tool_call>{% endif %}",
    );
    let server = Server::start(&[file.model(), "--port", "0"]);
    let tool = |name: &str, strict: bool, pattern: &str| {
        let parameters =
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}});
        json!({"type": "function", "function": {"name": name, "strict": strict, "parameters": parameters}})
    };
    let body = |choice: &str, strict: bool| {
        json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 20, "tool_choice": choice,
            "tools": [tool("good", true, "^x$"), tool("bad", strict, "(?=x)y")]})
    };
    for choice in ["auto", "required"] {
        let (message, param) = server.refused("chat/completions", &body(choice, true));
        assert_eq!(param, "tools", "{message}");
        let start = "the schema of `bad` can't be held to: #/properties/a/pattern: look-around";
        assert!(message.starts_with(start), "{message}");
        // Such a tool is held to its name alone.
        server.answer("chat/completions", &body(choice, false));
    }
    server.answer("chat/completions", &body("none", true));
}
