//! What is special to single forms, and how templates and prompts show them.

use super::*;

fn think(starts_inside: bool) -> Option<Reasoning> {
    Some(Reasoning {
        open: "<think>".into(),
        close: "</think>".into(),
        starts_inside,
    })
}

#[test]
fn object_variants() {
    for text in [
        r#"<tool_call>{"arguments": {"city": "x"}, "name": "get_weather"}</tool_call>"#,
        r#"<tool_call>{"id": 1.5e3, "name": "get_weather", "type": null, "arguments": "{\"city\": \"x\"}"}</tool_call>"#,
        r#"<tool_call>[{"name": "get_weather", "parameters": {"city": "x"}}]"#,
    ] {
        expect(Format::Hermes, text, "", &[weather("x")]);
    }
    let call = r#"{"name": "get_weather", "arguments": {"city": "x"}}"#;
    for text in [
        format!("```json\n{call}\n```"),
        format!("```json\n[{call}]\n```"),
        format!("<tools>\n{call}\n</tools>"),
        format!("<function_call>{call}</function_call>\n"),
        call.to_owned(),
    ] {
        expect(Format::Hermes, &text, "", &[weather("x")]);
        let said = format!("Let me see.\n{text}");
        expect(Format::Hermes, &said, "Let me see.", &[weather("x")]);
    }
    // JSON that calls nothing is content.
    for text in [
        "```json\n{\"name\": \"Bob\"}\n```\nis it",
        "{\"city\": \"x\"}",
        "```json\n[1, 2]\n```",
    ] {
        expect(Format::Hermes, text, text, &[]);
    }
    expect(
        Format::Hermes,
        "<tool_call>{\"name\": \"now\"}",
        "",
        &[("now", json!({}))],
    );
    for text in [
        r#"<tool_call>{"name": "now", "name": "now"}"#,
        r#"<tool_call>{"name": "now", "arguments": 3}"#,
        r#"<tool_call>{"name": "now", "arguments": "3"}"#,
        r#"<tool_call>{"arguments": {}}"#,
    ] {
        expect(Format::Hermes, text, text, &[]);
    }
}

#[test]
fn raw_line_breaks_in_strings_are_escaped() {
    let text = "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"a\nb\"}}</tool_call>";
    expect(Format::Hermes, text, "", &[weather("a\nb")]);
}

#[test]
fn llama_objects_stand_at_the_beginning_of_lines() {
    let one = r#"{"name": "get_weather", "parameters": {"city": "x"}}"#;
    let calls = [weather("x")];
    expect(
        Format::Llama3,
        &format!("Text {one}"),
        &format!("Text {one}"),
        &[],
    );
    expect(
        Format::Llama3,
        &format!("Text <|python_tag|>{one}"),
        "Text",
        &calls,
    );
    expect(
        Format::Llama3,
        &format!("{one}; {one}\n{one}"),
        "",
        &[weather("x"), weather("x"), weather("x")],
    );
}

#[test]
fn mistral_variants() {
    let calls = [weather("x"), ("now", json!({}))];
    let list = r#"[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "x"}, "id": "abcdefghi"}, {"name": "now", "arguments": {}}]"#;
    expect(Format::Mistral, list, "", &calls);
    let ids = r#"ok[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{"city": "x"}[TOOL_CALLS]now[CALL_ID]abcdefghi[ARGS]{}"#;
    expect(Format::Mistral, ids, "ok", &calls);
}

#[test]
fn values_are_typed_by_the_schema() {
    let text = "<tool_call>\n<function=get_weather>\n<parameter=city>\n12\n</parameter>\n<parameter=exact>\nTrue\n</parameter>\n\
        <parameter=days>\nmany\n</parameter>\n<parameter=any>\n[1, \"x\"]\n</parameter>\n<parameter=new>\n\n7\n\n</parameter>\n\
        </function>\n</tool_call>";
    let want = json!({"city": "12", "exact": true, "days": "many", "any": [1, "x"], "new": 7});
    expect(Format::Qwen3Coder, text, "", &[("get_weather", want)]);
}

#[test]
fn schemas_say_what_is_text() {
    let parameters = json!({"properties": {
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "named": {"$ref": "#/$defs/name"}, "either": {"type": ["string", "number"]}, "word": {"enum": ["1", "2"]}},
        "$defs": {"name": {"type": "string"}}});
    let tools = Tools::new(&[json!({"name": "f", "parameters": parameters})]);
    for (key, text, want) in [
        ("maybe", "12", json!("12")),
        ("maybe", "null", json!(null)),
        ("count", "12", json!(12)),
        ("count", "None", json!(null)),
        ("count", "x", json!("x")),
        ("count", "\"3\"", json!("3")),
        ("named", "12", json!("12")),
        ("either", "12", json!(12)),
        ("either", "true", json!("true")),
        ("word", "1", json!("1")),
        ("new", "\"a\"", json!("\"a\"")),
    ] {
        let text = format!("<tool_call>f\n<arg_key>{key}</arg_key><arg_value>{text}</arg_value></tool_call>");
        let message = parse(&text, Some(Format::Glm), None, &tools);
        let found: Value = serde_json::from_str(&message.calls[0].arguments).unwrap();
        assert_eq!(found, json!({key: want}), "{text}");
    }
}

#[test]
fn reasoning_is_told_from_content() {
    let call = render(Format::Hermes, &[weather("x")]);
    let text = format!("<think>\nHm, {call}?\n</think>\n\nYes.\n{call}");
    let message = cut(&text, parser(Format::Hermes, think(false)), &[2]);
    assert_eq!(message.reasoning, format!("Hm, {call}?"));
    assert_eq!((message.content.as_str(), message.calls.len()), ("Yes.", 1));
    for text in ["\nHm.\n</think>Yes.", "<think>Hm.</think>\nYes."] {
        let message = cut(text, parser(Format::Hermes, think(true)), &[1]);
        assert_eq!(
            (message.reasoning.as_str(), message.content.as_str()),
            ("Hm.", "Yes.")
        );
    }
    let open = parse("Hm. </thin", None, think(true), &tools());
    assert_eq!(
        (open.reasoning.as_str(), open.content.as_str()),
        ("Hm. </thin", "")
    );
    let quoted = parse("Write <think> there.", None, think(false), &tools());
    assert_eq!(quoted.content, "Write <think> there.");
}

#[test]
fn marks_of_reasoning_come_from_template_and_prompt() {
    let find = |template: &str, prompt: &str| {
        Reasoning::of_template(template, prompt).map(|r| (r.open, r.starts_inside))
    };
    assert_eq!(
        find("{{ '<think>\\n' }}", "<|im_start|>assistant\n<think>\n"),
        Some(("<think>".into(), true))
    );
    assert_eq!(
        find("{{ x.split('</think>')[-1] }}", "assistant\n"),
        Some(("<think>".into(), false))
    );
    assert_eq!(find("{{ content }}", "assistant\n"), None);
    assert_eq!(
        find("'[THINK]' + block", "[/INST]"),
        Some(("[THINK]".into(), false))
    );
    assert_eq!(
        find("{{ open }}", "ai\n<mm:think>"),
        Some(("<mm:think>".into(), true))
    );
}

#[test]
fn formats_come_from_templates() {
    for (template, want) in [
        (
            "'<tool_call>\\n{\"name\": \"' + tool_call.name",
            Some(Format::Hermes),
        ),
        (
            "'<|python_tag|>' + tool_call.name + '.call('",
            Some(Format::Llama3),
        ),
        (
            "'<|eot_id|>' '{\"name\": \"' + name + '\", ' '\"parameters\": '",
            Some(Format::Llama3),
        ),
        ("\"[TOOL_CALLS][\" + out", Some(Format::Mistral)),
        ("'[TOOL_CALLS]' + name + '[ARGS]'", Some(Format::Mistral)),
        ("'<|tool|>' + tools + '<|/tool|>'", Some(Format::Phi4)),
        (
            "with <|tool_call|> followed by a JSON list",
            Some(Format::Granite),
        ),
        ("<tool_call></tool_call> '<tool_calls>['", Some(Format::ToolCalls)),
        ("'<TOOLCALL>['", Some(Format::Nemotron)),
        ("<|START_ACTION|>[", Some(Format::Cohere)),
        ("set tool_calls_token = '<|tools_prefix|>'", Some(Format::Apertus)),
        ("'<|function_call|>' + call", Some(Format::GigaChat)),
        ("'<function=' + name + '>'", Some(Format::Functionary)),
        (
            "<|tool_call_begin|>{{ id }}<|tool_call_argument_begin|>",
            Some(Format::Kimi),
        ),
        ("'<|tool_call:begin|>' + id", Some(Format::Solar)),
        (
            "'<｜tool▁call▁begin｜>' + type + '<｜tool▁sep｜>' + name + '\\n```json\\n'",
            Some(Format::DeepSeekV3),
        ),
        (
            "'<｜tool▁call▁begin｜>' + name + '<｜tool▁sep｜>'",
            Some(Format::DeepSeekV31),
        ),
        ("set dsml_token = '｜DSML｜'", Some(Format::DeepSeekV4)),
        (
            "'<tool_call>\\n<function=' + name + '<parameter='",
            Some(Format::Qwen3Coder),
        ),
        (
            "'<seed:tool_call>' '<function=' '<parameter='",
            Some(Format::SeedOss),
        ),
        ("'<tool_call>' + name '<arg_key>'", Some(Format::Glm)),
        ("'<tool_sep{}>'.format(x)", Some(Format::Hunyuan)),
        ("\"<|tool_call_start|>[\" + calls", Some(Format::Lfm2)),
        ("'<|tool_list_start|>['", Some(Format::Lfm2)),
        ("[func_name1(params_name1=params_value1)]", Some(Format::Pythonic)),
        ("inside ```tool_code", Some(Format::Gemma3)),
        ("'<|tool_call>call:' + name", Some(Format::Gemma4)),
        ("'<|channel|>final<|message|>'", Some(Format::Harmony)),
        (
            "set role = 'function call' '<|role_sep|>'",
            Some(Format::GigaChat),
        ),
        ("{{ '<start_of_turn>' + role }}", None),
    ] {
        assert_eq!(Format::of_template(template), want, "{template}");
    }
}

#[test]
fn python_values() {
    let text = r#"[get_weather("x", 3, exact=False, where={'a': (1), "b": None}, any='\x41\u00e4\'\d"')]"#;
    let plain = text.replace("(1)", "[1.50, .5, 1_000,]").replace(",]", "]");
    let want = json!({"city": "x", "days": 3, "exact": false, "where": {"a": [1.5, 0.5, 1000.0], "b": null},
        "any": "Aä'\\d\""});
    expect(Format::Pythonic, &plain, "", &[("get_weather", want)]);
    expect(Format::Pythonic, text, text, &[]);
    expect(
        Format::Pythonic,
        "[get_weather(Tokyo)]",
        "[get_weather(Tokyo)]",
        &[],
    );
    expect(Format::Pythonic, "[now(1)]", "[now(1)]", &[]);
    expect(
        Format::Gemma3,
        "```tool_code\nprint(get_weather(city=\"x\"))\n```",
        "",
        &[weather("x")],
    );
    expect(
        Format::Gemma3,
        "```tool_code\n[now(), now()]\n```",
        "",
        &[("now", json!({})), ("now", json!({}))],
    );
}

#[test]
fn gemma_values() {
    let text = "<|tool_call>call:get{a b:<|\"|><|<|\"|>,<|\"|>k:<|\"|>:[true,null,-1.5],o:{}}<tool_call|>";
    let want = json!({"a b": "<|", "k:": [true, null, -1.5], "o": {}});
    expect(Format::Gemma4, text, "", &[("get", want)]);
}

#[test]
fn harmony_channels() {
    let reasoning = Reasoning::of_template("'<|channel|>analysis<|message|>'", "<|start|>assistant");
    let read = |text: &str| cut(text, parser(Format::Harmony, reasoning.clone()), &[3]);
    let message = read(
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
    );
    assert_eq!(
        (message.reasoning.as_str(), message.content.as_str()),
        ("Hm.", "Yes.")
    );
    let message = read(
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>First this.<|end|>\
         <|start|>assistant<|channel|>analysis<|message|> So.<|end|>\
         <|start|>assistant<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>",
    );
    assert_eq!(
        (message.reasoning.as_str(), message.content.as_str()),
        ("Hm.So.", "First this.")
    );
    assert_eq!(message.calls.len(), 1);
    for header in [
        " to=functions.now<|channel|>commentary json",
        "<|channel|>analysis to=functions.now code",
    ] {
        let message = read(&format!("{header}<|message|>{{}}"));
        assert_eq!(
            (message.content.as_str(), message.calls.len()),
            ("", 1),
            "{header}"
        );
    }
}

#[test]
fn halves_of_surrogate_pairs_are_no_text() {
    let hermes = |city: &str| {
        format!("<tool_call>{{\"name\": \"get_weather\", \"arguments\": {{\"city\": \"{city}\"}}}}")
    };
    let python = |city: &str| format!("[get_weather(city='{city}')]");
    expect(Format::Hermes, &hermes("\\ud83d\\ude00"), "", &[weather("😀")]);
    expect(
        Format::Pythonic,
        &python("\\uD83D\\ude00\\u00e4"),
        "",
        &[weather("😀ä")],
    );
    for city in ["\\ud83d", "\\ud83dx", "\\ude00", "\\ud83d\\ud83d", "\\u12g4"] {
        expect(Format::Hermes, &hermes(city), &hermes(city), &[]);
        expect(Format::Pythonic, &python(city), &python(city), &[]);
    }
}

#[test]
fn markers_are_what_may_be_tokens() {
    assert_eq!(Format::Nemotron.markers(), ["</TOOLCALL>", "<TOOLCALL>"]);
    assert_eq!(Format::Mistral.markers(), ["[ARGS]", "[CALL_ID]", "[TOOL_CALLS]"]);
    let harmony = [
        "<|call|>",
        "<|channel|>",
        "<|constrain|>",
        "<|end|>",
        "<|message|>",
        "<|return|>",
        "<|start|>",
    ];
    assert_eq!(Format::Harmony.markers(), harmony);
    assert!(Format::DeepSeekV4.markers().contains(&"｜DSML｜"));
    assert!(Format::Gemma4.markers().contains(&"<|\"|>"));
    assert_eq!(think(true).unwrap().markers(), ["<think>", "</think>"]);
    for &format in ALL {
        let markers = format.markers();
        assert!(
            markers.iter().all(|m| m.len() > 2 && !m.contains(' ')),
            "{format:?}: {markers:?}"
        );
    }
}
