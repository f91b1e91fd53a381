//! Models on Hugging Face, or on whatever server `HF_ENDPOINT` names that speaks as it does.
//!
//! A file is at `/OWNER/REPO/resolve/main/FILE`, which redirects to storage. Its answer carries the file's sha256 in
//! `X-Linked-Etag` and its size in `X-Linked-Size`. The files of a repository are at `/api/models/OWNER/REPO`.

use std::path::Path;

use super::http::{Http, number};
use super::partial::Lock;
use super::{Progress, Remote, StoreError};

/// A hub that models are fetched from.
pub(super) struct Hub {
    http: Http,
    endpoint: String,
}

/// What the hub says about a file.
struct Info {
    sha256: Option<String>,
    bytes: Option<u64>,
}

/// A file to fetch.
pub(super) struct Fetch<'a> {
    /// `OWNER/REPO`.
    pub(super) repo: &'a str,
    /// The file in the repository.
    pub(super) file: &'a str,
    /// The sha256 that it must have, where that is known beforehand.
    pub(super) sha256: Option<&'a str>,
}

impl Hub {
    /// The hub of `remote` at `endpoint`.
    pub(super) fn new(remote: &Remote, endpoint: &str) -> Result<Hub, StoreError> {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Ok(Hub {
            http: Http::new(remote, &endpoint)?,
            endpoint,
        })
    }

    /// Fetches a file to `target`, under the lock `lock`.
    pub(super) fn fetch(
        &self,
        fetch: &Fetch<'_>,
        lock: &Lock,
        target: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), StoreError> {
        let url = format!("{}/{}/resolve/main/{}", self.endpoint, fetch.repo, fetch.file);
        let info = self.info(&url)?;
        let sha256 = match (fetch.sha256, info.sha256) {
            // Said now rather than found out after the transfer.
            (Some(wanted), Some(found)) if wanted != found => {
                return Err(StoreError::OtherContent {
                    what: url,
                    found,
                    wanted: wanted.to_owned(),
                });
            }
            (Some(wanted), _) => Some(wanted.to_owned()),
            (None, found) => found,
        };
        if sha256.is_none() {
            progress.message(&format!(
                "{url}: the server states no sha256; the file is not checked"
            ));
        }
        let mut partial = lock.open(sha256.as_deref())?;
        self.http.download(&url, info.bytes, &mut partial, progress)?;
        progress.message(&format!("checking {}", fetch.file));
        partial.finish(&url, sha256.as_deref(), target)
    }

    /// The sha256 of a file of the hub, where it states one.
    pub(super) fn sha256(&self, repo: &str, file: &str) -> Result<Option<String>, StoreError> {
        Ok(self
            .info(&format!("{}/{repo}/resolve/main/{file}", self.endpoint))?
            .sha256)
    }

    /// What the hub says about the file at `url`.
    fn info(&self, url: &str) -> Result<Info, StoreError> {
        let answers = self.http.head(url)?;
        let header = |name: &str| {
            answers
                .iter()
                .find_map(|headers| headers.get(name)?.to_str().ok())
        };
        // Other servers state the hash of a file they have themselves as its plain tag.
        let tag = header("x-linked-etag").or_else(|| header("etag"));
        let sha256 = tag.map(|tag| {
            tag.trim_start_matches("W/")
                .trim_matches('"')
                .to_ascii_lowercase()
        });
        let sha256 = sha256.filter(|tag| tag.len() == 64 && tag.bytes().all(|b| b.is_ascii_hexdigit()));
        let linked = answers
            .iter()
            .find_map(|headers| number(headers, "x-linked-size"));
        // The length of a redirect is that of the page that says so.
        let own = answers
            .first()
            .filter(|headers| !headers.contains_key("location"));
        Ok(Info {
            sha256,
            bytes: linked.or_else(|| number(own?, "content-length")),
        })
    }

    /// The GGUF files of a repository that are models.
    pub(super) fn files(&self, repo: &str) -> Result<Vec<String>, StoreError> {
        let url = format!("{}/api/models/{repo}", self.endpoint);
        let bad = |problem: String| StoreError::Answer {
            what: url.clone(),
            problem,
        };
        let answer: serde_json::Value =
            serde_json::from_str(&self.http.text(&url)?).map_err(|error| bad(error.to_string()))?;
        let siblings = answer["siblings"]
            .as_array()
            .ok_or_else(|| bad("it lists no files".into()))?;
        let names = siblings.iter().filter_map(|file| file["rfilename"].as_str());
        Ok(names.filter(|name| is_model(name)).map(str::to_owned).collect())
    }
}

/// Whether a file is a language model, by its name: no projector of images, no matrix of importances.
fn is_model(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    base.ends_with(".gguf") && !base.starts_with("mmproj") && !base.contains("imatrix")
}

/// The model of a repository that is meant when none is named: the only one, or the only one of type Q4_K_M, which is
/// what most tools take. Of a split set the first file stands for all.
pub(super) fn choose<'a>(repo: &str, files: &'a [String]) -> Result<&'a str, StoreError> {
    let firsts: Vec<&str> = files
        .iter()
        .map(String::as_str)
        .filter(|f| split(f).is_none_or(|(_, number, _)| number == 1))
        .collect();
    let usual: Vec<&str> = firsts
        .iter()
        .copied()
        .filter(|f| f.to_ascii_lowercase().contains("q4_k_m"))
        .collect();
    match (firsts.as_slice(), usual.as_slice()) {
        ([], _) => Err(StoreError::NoGguf(repo.to_owned())),
        ([only], _) | (_, [only]) => Ok(only),
        _ => {
            let shown: Vec<&str> = firsts.iter().copied().take(12).collect();
            let more = if firsts.len() > shown.len() { ", …" } else { "" };
            let files = format!("{}{more}", shown.join(", "));
            Err(StoreError::Ambiguous {
                repo: repo.to_owned(),
                count: firsts.len(),
                files,
            })
        }
    }
}

/// The stem, the number and the count of a file of a split set: `STEM-00001-of-00003.gguf`.
pub(super) fn split(file: &str) -> Option<(&str, u32, u32)> {
    let rest = file.strip_suffix(".gguf")?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| (text.len() == 5).then(|| text.parse::<u32>().ok()).flatten();
    Some((stem, digits(number)?, digits(count)?))
}

/// All files of the model that `file` stands for: itself, or the set that it is the first of.
pub(super) fn set(file: &str) -> Vec<String> {
    match split(file) {
        Some((stem, 1, count)) => (1..=count)
            .map(|i| format!("{stem}-{i:05}-of-{count:05}.gguf"))
            .collect(),
        _ => vec![file.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str]) -> Result<String, StoreError> {
        let files: Vec<String> = files.iter().map(|f| (*f).to_owned()).collect();
        choose("o/r", &files).map(str::to_owned)
    }

    #[test]
    fn the_model_that_is_meant_is_chosen() {
        assert_eq!(chosen(&["a-Q8_0.gguf"]).unwrap(), "a-Q8_0.gguf");
        assert_eq!(
            chosen(&["a-Q8_0.gguf", "a-Q4_K_M.gguf"]).unwrap(),
            "a-Q4_K_M.gguf"
        );
        let set = ["q8/a-00001-of-00002.gguf", "q8/a-00002-of-00002.gguf"];
        assert_eq!(chosen(&set).unwrap(), set[0]);
        assert!(matches!(chosen(&[]), Err(StoreError::NoGguf(_))));
        assert!(matches!(
            chosen(&["a.gguf", "b.gguf"]),
            Err(StoreError::Ambiguous { count: 2, .. })
        ));
        assert!(is_model("q/A.GGUF") && !is_model("mmproj-a.gguf") && !is_model("README.md"));
    }

    #[test]
    fn sets_are_all_their_files() {
        assert_eq!(
            set("x/a-00001-of-00002.gguf"),
            ["x/a-00001-of-00002.gguf", "x/a-00002-of-00002.gguf"]
        );
        assert_eq!(set("a-00002-of-00002.gguf"), ["a-00002-of-00002.gguf"]);
        assert_eq!(set("a-1-of-2.gguf"), ["a-1-of-2.gguf"]);
    }
}
