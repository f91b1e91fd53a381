//! The server, driven by OpenAI's own Python client.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use support::{lathe, model};

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

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script of `tests/` against a server of a model.
fn script(test: &str, name: &str, script: &str) {
    let Some(_) = model(test, name) else {
        return;
    };
    let python = std::env::var("LATHE_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let server = Server::start(&[name, "--port", "0"]);
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
    script("openai_client_chats", "smollm2-135m", "openai.py");
}

#[test]
fn openai_client_calls_tools() {
    script("openai_client_calls_tools", "qwen2.5-coder-0.5b", "tools.py");
}
