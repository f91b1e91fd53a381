//! A small HTTP server that plays Hugging Face, or the storage behind it: it answers what a test tells it to, and keeps
//! what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

/// A request, its header names in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
}

impl Request {
    /// The first byte asked for, if the request is for a range.
    pub fn range(&self) -> Option<usize> {
        self.headers
            .get("range")?
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// After how many bytes of the body the connection breaks.
    pub breaks: Option<usize>,
}

impl Reply {
    /// An answer without a body.
    pub fn status(status: u16) -> Reply {
        Reply {
            status,
            ..Reply::default()
        }
    }

    /// A redirect, as the hub answers for a file that storage has.
    pub fn linked(to: String, content: &[u8]) -> Reply {
        let headers = vec![
            ("Location", to),
            ("X-Linked-Etag", format!("\"{}\"", sha256(content))),
            ("X-Linked-Size", content.len().to_string()),
        ];
        Reply {
            status: 302,
            headers,
            body: b"Found. Redirecting".to_vec(),
            breaks: None,
        }
    }

    /// `content`, or the range of it that is asked for, as storage answers.
    pub fn content(request: &Request, content: &[u8]) -> Reply {
        let ok = |status, headers, body: &[u8]| Reply {
            status,
            headers,
            body: body.to_vec(),
            breaks: None,
        };
        match request.range() {
            None => ok(200, vec![], content),
            Some(from) if from >= content.len() => Reply::status(416),
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
                ok(206, vec![("Content-Range", range)], &content[from..])
            }
        }
    }
}

/// The sha256 of `content` in hexadecimal digits.
pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A running server. Its thread ends with the test's process.
pub struct Server {
    pub address: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server that answers every request by `answer`.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Server { address, asked }
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// The first bytes that the GET requests so far asked for.
    pub fn ranges(&self) -> Vec<Option<usize>> {
        self.asked()
            .iter()
            .filter(|r| r.method == "GET")
            .map(Request::range)
            .collect()
    }
}

/// Answers one request; the client's end of the connection may go away at any time.
fn serve(mut stream: TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) -> Option<()> {
    let request = read(&stream)?;
    log.lock().unwrap().push(request.clone());
    let reply = answer(&request);
    let mut head = format!(
        "HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes()).ok()?;
    if request.method != "HEAD" {
        let end = reply.breaks.unwrap_or(reply.body.len()).min(reply.body.len());
        stream.write_all(&reply.body[..end]).ok()?;
    }
    Some(())
}

/// Reads the head of a request.
fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request {
        method,
        path,
        headers,
    })
}
