//! The server, driven by OpenAI's own Python client, and its embeddings over plain HTTP. `text` has the fields of requests
//! for text over plain HTTP.

#[path = "../support/mod.rs"]
mod support;
mod text;

use lathe_frontend::testing::Family;
use lathe_ir::DType;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use support::{TinyFile, lathe, model, refusal, stdout};

/// A server that dies with the test.
struct Server {
    child: Child,
    base_url: String,
}

impl Server {
    fn start(args: &[&str]) -> Server {
        let mut child = lathe()
            .arg("serve")
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let base_url = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, url) = line.split_once("http://")?;
            Some(format!("http://{url}"))
        });
        let base_url = base_url.expect("the server says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        Server { child, base_url }
    }
}

impl Server {
    /// Status and JSON of the answer to a POST.
    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut answer = agent
            .post(format!("{}/{path}", self.base_url))
            .send_json(body)
            .unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }

    /// The answer to a POST that must succeed.
    fn answer(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post(path, body);
        assert_eq!(status, 200, "{body}: {answer}");
        answer
    }

    /// The chunks of a streamed answer.
    fn chunks(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut body = body.clone();
        body["stream"] = true.into();
        let mut answer = ureq::post(format!("{}/{path}", self.base_url))
            .send_json(&body)
            .unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let data: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect();
        let (last, chunks) = data.split_last().unwrap();
        assert_eq!(*last, "[DONE]");
        chunks
            .iter()
            .map(|chunk| serde_json::from_str(chunk).unwrap())
            .collect()
    }

    /// The message of a refusal with status 400, and the field at fault.
    fn refused(&self, path: &str, body: &Value) -> (String, Value) {
        let (status, answer) = self.post(path, body);
        assert_eq!(status, 400, "{answer}");
        let error = &answer["error"];
        assert_eq!(error["type"], "invalid_request_error");
        (
            error["message"].as_str().unwrap().to_owned(),
            error["param"].clone(),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script of `tests/` against a server of a model, started with these flags.
fn script(test: &str, name: &str, flags: &[&str], script: &str) {
    let Some(_) = model(test, name) else {
        return;
    };
    let python = std::env::var("LATHE_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let server = Server::start(&[&[name, "--port", "0"], flags].concat());
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let out = Command::new(python)
        .args([&script, &server.base_url, name])
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(
        out.status.success() && stdout.lines().any(|line| line.starts_with("ok:")),
        "{stdout}\n{stderr}"
    );
}

#[test]
fn openai_client_chats() {
    script("openai_client_chats", "smollm2-135m", &[], "openai.py");
}

#[test]
fn openai_client_calls_tools() {
    script("openai_client_calls_tools", "qwen2.5-coder-0.5b", &[], "tools.py");
}

#[test]
fn openai_client_embeds() {
    let flags = ["--embeddings", "--pooling", "mean"];
    script(
        "openai_client_embeds",
        "smollm2-135m",
        &flags,
        "openai_embeddings.py",
    );
}

/// The vectors of an answer, in order.
fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    let data = answer["data"].as_array().unwrap();
    let vector = |(index, entry): (usize, &Value)| {
        assert_eq!(
            (&entry["object"], &entry["index"]),
            (&json!("embedding"), &json!(index))
        );
        serde_json::from_value(entry["embedding"].clone()).unwrap()
    };
    data.iter().enumerate().map(vector).collect()
}

#[test]
fn embeddings_are_served() {
    let file = TinyFile::new(Family::Gemma3, DType::Q8_0);
    let server = Server::start(&[file.model(), "--port", "0", "--embeddings", "--pooling", "mean"]);
    let texts = ["the cat sat", "a dog", "the cat sat on the mat"];
    let printed = stdout(&[&["embed", file.model(), "--pooling", "mean"], &texts[..]].concat());
    let numbers = |line: &str| line.split(' ').map(|n| n.parse().unwrap()).collect();
    let want: Vec<Vec<f32>> = printed.lines().map(numbers).collect();
    let ids = |text: &str| -> Vec<u32> {
        let ids = stdout(&["tokenize", file.model(), text, "--json"]);
        serde_json::from_str(&ids).unwrap()
    };
    let tokens: Vec<Vec<u32>> = texts.iter().map(|text| ids(text)).collect();
    let count: usize = tokens.iter().map(Vec::len).sum();

    let (status, answer) = server.post("embeddings", &json!({"model": "tiny", "input": texts}));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["object"], &answer["model"]),
        (&json!("list"), &json!("tiny"))
    );
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": count, "total_tokens": count})
    );
    assert!(vectors(&answer) == want);
    let one = |body: Value| {
        let (status, answer) = server.post("embeddings", &body);
        assert_eq!(status, 200, "{answer}");
        answer
    };
    assert!(vectors(&one(json!({"input": tokens}))) == want);
    assert!(vectors(&one(json!({"input": tokens[1]}))) == want[1..2]);
    let text = json!({"input": texts[2], "encoding_format": "float", "dimensions": 64, "user": "u"});
    assert!(vectors(&one(text)) == want[2..]);
    let coded = one(json!({"input": texts[1], "encoding_format": "base64"}));
    let coded = coded["data"][0]["embedding"].as_str().unwrap();
    assert!(
        coded.len() == (64 * 4_usize).div_ceil(3) * 4 && coded.ends_with("=="),
        "{coded}"
    );
    // More than the engine has at once, each as alone.
    let many: Vec<&str> = texts.iter().copied().cycle().take(200).collect();
    let many = vectors(&one(json!({"input": many})));
    assert!(
        many.iter()
            .zip(want.iter().cycle())
            .all(|(got, want)| got == want)
            && many.len() == 200
    );

    for (body, part, param) in [
        (
            json!({"input": "a", "dimensions": 8}),
            "`dimensions` is 8, but the model's embeddings have 64",
            "dimensions",
        ),
        (json!({"input": []}), "input 0: the prompt is empty", "input"),
        (
            json!({"input": [[1], [1 << 30]]}),
            "input 1: token 0 of the prompt",
            "input",
        ),
        (
            json!({"input": ["fine", "word ".repeat(500)]}),
            "input 1: the prompt has",
            "input",
        ),
        (json!({"input": vec!["a"; 2049]}), "at most 2048", "input"),
    ] {
        let (message, at) = server.refused("embeddings", &body);
        assert!(message.contains(part) && at == param, "{message} ({at})");
    }
    let (message, _) = server.refused("embeddings", &json!({"input": "a", "encoding_format": "int8"}));
    assert!(message.contains("no embedding request"), "{message}");
    let (message, _) = server.refused("completions", &json!({"prompt": "a"}));
    assert!(
        message.contains("served for embeddings here, not for text"),
        "{message}"
    );
    let messages = json!({"messages": [{"role": "user", "content": "a"}]});
    let (message, _) = server.refused("chat/completions", &messages);
    assert!(message.contains("ask /v1/embeddings"), "{message}");
}

#[test]
fn a_server_of_text_has_no_embeddings() {
    let file = TinyFile::new(Family::Llama, DType::F32);
    let server = Server::start(&[file.model(), "--port", "0"]);
    let (message, _) = server.refused("embeddings", &json!({"input": "a"}));
    assert!(message.contains("`lathe serve --embeddings`"), "{message}");
    let (status, answer) = server.post("completions", &json!({"prompt": "the", "max_tokens": 2}));
    assert_eq!(status, 200, "{answer}");
    let message = refusal(
        &[
            "serve",
            file.model(),
            "--port",
            "0",
            "--embeddings",
            "--pooling",
            "none",
        ],
        2,
    );
    assert!(message.contains("--pooling mean, last or cls"), "{message}");
}
