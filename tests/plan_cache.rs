//! Compiled plans: made once, shared, found again, and never run when they are not what was written.

mod support;

use lathe::plans::{BUILD, PlanData};
use lathe_frontend::testing::{Family, TinyModel};
use lathe_ir::DType;
use lathe_ir::layout::ALIGN;
use lathe_runtime::cache::{Bundle, Cache, Kind};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{TinyFile, lathe, lathe_with_cache};

/// A tiny model and a cache of its own.
struct Fixture(TinyFile);

impl Fixture {
    fn new(family: Family) -> Fixture {
        Fixture(TinyFile::new(family, DType::Q8_0))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.beside(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = lathe_with_cache(&self.path("cache"));
        command
            .args(args)
            .env("LATHE_THREADS", "2")
            .env("LATHE_CTX", "64");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn model(&self) -> &str {
        self.0.model()
    }

    /// Text of a run that must succeed, and what it said on stderr.
    fn text(&self, model: &str) -> (String, String) {
        let out = self.run(&["run", model, "-p", "the cat", "-n", "8", "-q"]);
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.success(), "{stderr}");
        (String::from_utf8(out.stdout).unwrap(), stderr)
    }

    /// What `compile --json` says.
    fn compile(&self, more: &[&str]) -> Value {
        let out = self.run(&[&["compile", self.model(), "--json"], more].concat());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// The text that the model gives without a cache.
    fn expected(&self) -> String {
        let args = [
            "run",
            self.model(),
            "-p",
            "the cat",
            "-n",
            "8",
            "-q",
            "-t",
            "2",
            "--ctx",
            "64",
        ];
        let out = lathe().args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn entries(&self, kind: Kind) -> Vec<PathBuf> {
        let folder = self.path("cache/compiled").join(kind.folder());
        let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        entries
    }

    fn entry(&self, kind: Kind) -> PathBuf {
        match &self.entries(kind)[..] {
            [one] => one.clone(),
            other => panic!("{} entries", other.len()),
        }
    }

    fn quarantined(&self) -> usize {
        fs::read_dir(self.path("cache/compiled/quarantine"))
            .unwrap()
            .count()
    }
}

/// Changes one byte of a file.
fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x41], at).unwrap();
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn a_plan_is_compiled_once_and_gives_the_same_text() {
    for family in Family::ALL {
        let fixture = Fixture::new(family);
        let expected = fixture.expected();
        let first = fixture.compile(&[]);
        assert!(!first["stages"].as_array().unwrap().is_empty());
        assert_eq!(fixture.text(fixture.model()), (expected.clone(), String::new()));
        let second = fixture.compile(&[]);
        assert!(second["stages"].as_array().unwrap().is_empty());
        assert_eq!(first["plan"], second["plan"]);
        // By its id, and by the beginning of it.
        let id = first["plan"].as_str().unwrap();
        assert_eq!(fixture.text(id).0, expected);
        assert_eq!(fixture.text(&id[..12]).0, expected);
    }
}

#[test]
fn plans_of_one_model_share_its_weights() {
    let fixture = Fixture::new(Family::Llama);
    let ids: Vec<String> = [
        &[][..],
        &["--ctx", "128"],
        &["--kv-type", "q8_0"],
        &["--chunk", "8"],
        &["-t", "1"],
    ]
    .iter()
    .map(|options| fixture.compile(options)["plan"].as_str().unwrap().to_owned())
    .collect();
    let mut plans = fixture.entries(Kind::Plan);
    plans.dedup();
    assert_eq!(plans.len(), ids.len());
    fixture.entry(Kind::Weights);
    // Another content is another model, whatever its name.
    TinyModel::new(Family::Llama)
        .with_dtype(DType::Q4_0)
        .write(&fixture.0.path)
        .unwrap();
    let other = fixture.compile(&[]);
    assert!(!ids.contains(&other["plan"].as_str().unwrap().to_owned()));
    assert_eq!(fixture.entries(Kind::Weights).len(), 2);
    assert_eq!(fixture.text(fixture.model()).0, fixture.expected());
}

#[test]
fn what_is_known_of_a_file_is_believed_unless_told_otherwise() {
    let fixture = Fixture::new(Family::Llama);
    let right = fixture.compile(&[])["plan"].clone();
    // Somebody wrote another digest into the record of the model's file.
    let records = fs::read_dir(fixture.path("cache/compiled/known")).unwrap();
    let records = records.map(|entry| entry.unwrap().path());
    let of_model = |path: &PathBuf| fs::read_to_string(path).unwrap().contains(fixture.model());
    let record = records.into_iter().find(of_model).expect("the model is known");
    let mut known: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    known["digest"] = "0".repeat(64).into();
    fs::write(&record, known.to_string()).unwrap();
    assert_ne!(fixture.compile(&[])["plan"], right);
    assert_eq!(fixture.compile(&["--rehash"])["plan"], right);
    assert_eq!(fixture.compile(&[])["plan"], right, "the record is right again");
}

#[test]
fn a_compiled_plan_can_be_read() {
    let fixture = Fixture::new(Family::Gemma3);
    let id = fixture.compile(&[])["plan"].as_str().unwrap().to_owned();
    let inspect = |model: &str, stage: &str| {
        let out = fixture.run(&["inspect", model, "--stage", stage]);
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    for stage in ["plan", "memory", "clif", "asm"] {
        assert_eq!(inspect(&id, stage), inspect(fixture.model(), stage), "{stage}");
    }
    let (_, kernels) = inspect(fixture.model(), "kernels");
    let bare: String = kernels
        .lines()
        .filter(|line| !line.starts_with("; tile"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(inspect(&id, "kernels"), (Some(0), bare));
    for stage in ["gguf", "graph", "passes", "optimized"] {
        assert_eq!(inspect(&id, stage).0, Some(2), "{stage}");
    }
}

#[test]
fn every_byte_that_is_not_what_was_written_is_found() {
    let fixture = Fixture::new(Family::Llama);
    fixture.compile(&[]);
    let plan = fixture.entry(Kind::Plan);
    let manifest = plan.join("manifest");
    for at in 0..len(&manifest) {
        flip(&manifest, at);
        let error = Bundle::open(&plan, Kind::Plan).unwrap_err();
        assert!(error.is_of_entry(), "manifest, byte {at}: {error}");
        flip(&manifest, at);
    }
    let bundle = Bundle::open(&plan, Kind::Plan).unwrap();
    let names: Vec<String> = bundle.files().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["code", "kernels.lir", "plan.lir"]);
    for name in ["code", "plan.lir"] {
        let path = plan.join(name);
        for at in 0..len(&path) {
            flip(&path, at);
            assert!(bundle.read(name).is_err(), "{name}, byte {at}");
            flip(&path, at);
        }
        bundle.read(name).unwrap();
    }
}

#[test]
fn damage_is_set_aside_and_compiled_anew() {
    let fixture = Fixture::new(Family::Qwen2);
    let expected = fixture.expected();
    fixture.compile(&[]);
    let mut damages = 0;
    for (kind, name) in [
        (Kind::Plan, "manifest"),
        (Kind::Plan, "plan.lir"),
        (Kind::Plan, "code"),
        (Kind::Weights, "manifest"),
        (Kind::Weights, "packed"),
        (Kind::Weights, "tokenizer"),
    ] {
        for part in [0.0, 0.37, 0.999] {
            let path = fixture.entry(kind).join(name);
            flip(&path, (len(&path) as f64 * part) as u64);
            let (text, stderr) = fixture.text(fixture.model());
            assert_eq!(text, expected, "{name}");
            assert_eq!(
                stderr.lines().count(),
                1 + usize::from(kind == Kind::Weights),
                "{name}: {stderr}"
            );
            assert!(stderr.contains("compiling it anew"), "{name}: {stderr}");
            assert_eq!(fixture.text(fixture.model()), (expected.clone(), String::new()));
            damages += 1;
        }
    }
    assert!(damages == 18 && fixture.quarantined() == 4);
}

#[test]
fn files_cut_anywhere_are_found() {
    let fixture = Fixture::new(Family::Llama);
    let expected = fixture.expected();
    fixture.compile(&[]);
    let lengths = |kind: Kind, name: &str| {
        let path = fixture.entry(kind).join(name);
        let (len, mut cuts) = (len(&path), vec![0]);
        if name == "packed" {
            // Where sections end, as the plan has them.
            let plan = fs::read_to_string(fixture.entry(Kind::Plan).join("plan.lir")).unwrap();
            let plan = lathe_ir::plan::parse::parse(&plan).unwrap();
            let mut end = 0;
            for section in plan.sections.values() {
                let mut one = lathe_ir::plan::Plan::default();
                one.sections.push(section.clone());
                end += lathe_codegen_cpu::packed_bytes(&one)
                    .unwrap()
                    .next_multiple_of(ALIGN);
                cuts.push(end);
            }
            assert_eq!(cuts.pop(), Some(len));
        }
        cuts.push(len - 1);
        cuts
    };
    for (kind, name) in [
        (Kind::Plan, "manifest"),
        (Kind::Plan, "plan.lir"),
        (Kind::Plan, "kernels.lir"),
        (Kind::Plan, "code"),
        (Kind::Weights, "manifest"),
        (Kind::Weights, "packed"),
        (Kind::Weights, "tokenizer"),
    ] {
        for cut in lengths(kind, name) {
            let folder = fixture.entry(kind);
            let content = fs::read(folder.join(name)).unwrap();
            File::options()
                .write(true)
                .open(folder.join(name))
                .unwrap()
                .set_len(cut)
                .unwrap();
            let error = Bundle::open(&folder, kind).unwrap_err();
            assert!(error.is_of_entry(), "{name} cut at {cut}: {error}");
            fs::write(folder.join(name), content).unwrap();
        }
        let path = fixture.entry(kind).join(name);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(len(&path) / 2)
            .unwrap();
        assert_eq!(fixture.text(fixture.model()).0, expected, "{name}");
    }
}

#[test]
fn of_two_processes_one_compiles() {
    for _ in 0..5 {
        let fixture = Fixture::new(Family::Llama);
        let spawn = || {
            let mut command = fixture.command(&["compile", fixture.model(), "--json"]);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let outputs = [spawn(), spawn(), spawn()].map(|child| child.wait_with_output().unwrap());
        let compiled = outputs.iter().filter(|out| {
            assert!(out.status.success());
            let said: Value = serde_json::from_slice(&out.stdout).unwrap();
            !said["stages"].as_array().unwrap().is_empty()
        });
        assert_eq!(compiled.count(), 1);
        assert_eq!(fixture.text(fixture.model()).0, fixture.expected());
    }
}

#[test]
fn a_process_killed_at_any_moment_leaves_a_cache_that_is_right() {
    let fixture = Fixture::new(Family::Gemma3);
    let expected = fixture.expected();
    let start = Instant::now();
    fixture.compile(&[]);
    let whole = start.elapsed();
    for round in 0..50u32 {
        fs::remove_dir_all(fixture.path("cache")).unwrap();
        let mut child = fixture.command(&["compile", fixture.model(), "--json"]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Moments all over the time that it takes, in no order.
        std::thread::sleep(whole.mul_f64(f64::from(round * 29 % 50) / 50.0));
        let _ = child.kill();
        child.wait().unwrap();
        assert_eq!(
            fixture.text(fixture.model()),
            (expected.clone(), String::new()),
            "round {round}"
        );
        let verified = fixture.run(&["cache", "verify"]);
        assert!(
            verified.status.success(),
            "{}",
            String::from_utf8_lossy(&verified.stdout)
        );
        assert_eq!(
            (
                fixture.entries(Kind::Plan).len(),
                fixture.entries(Kind::Weights).len()
            ),
            (1, 1)
        );
    }
}

#[test]
fn a_plan_in_a_folder_needs_no_model() {
    let fixture = Fixture::new(Family::Llama);
    let (expected, folder) = (fixture.expected(), fixture.path("plan"));
    let folder = folder.to_str().unwrap();
    let chat = |model: &str| {
        let out = fixture.run(&["run", model, "-p", "the cat", "--chat", "-n", "8", "-q"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    };
    let ids = |model: &str| fixture.run(&["tokenize", model, "the cat sat"]).stdout;
    let (chatted, tokens) = (chat(fixture.model()), ids(fixture.model()));
    fixture.compile(&["-o", folder]);
    fs::remove_file(&fixture.0.path).unwrap();
    fs::remove_dir_all(fixture.path("cache")).unwrap();
    assert_eq!(fixture.text(folder), (expected.clone(), String::new()));
    assert_eq!(chat(folder), chatted);
    assert!(!tokens.is_empty() && ids(folder) == tokens);
    // Without a cache to remember what was checked, too.
    let out = lathe()
        .args(["run", folder, "-p", "the cat", "-n", "8", "-q"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap(), expected);
    // Damage is refused: there is nothing to compile it from.
    flip(&Path::new(folder).join("weights/packed"), 1000);
    let out = fixture.run(&["run", folder, "-p", "x"]);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(
        out.status.code() == Some(2) && stderr.contains("packed: damaged"),
        "{stderr}"
    );
}

#[test]
fn a_plan_is_not_run_for_what_it_was_not_compiled_for() {
    let fixture = Fixture::new(Family::Llama);
    let folder = fixture.path("plan");
    let folder = folder.to_str().unwrap();
    fixture.compile(&["-o", folder]);
    let refused = |args: &[&str], message: &str| {
        let out = fixture.run(&[&["run", folder, "-p", "x", "-n", "1"], args].concat());
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert!(
            out.status.code() == Some(2) && stderr.contains(message),
            "{args:?}: {stderr}"
        );
        assert_eq!(stderr.lines().count(), 1);
    };
    refused(&["--ctx", "128"], "a context of 64, not 128");
    refused(&["--kv-type", "q8_0"], "keys and values as f16, not q8_0");
    refused(&["--cpu-features", "avx2"], "compile the model again");
    // The folder is taken.
    let out = fixture.run(&["compile", fixture.model(), "-o", folder]);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(
        out.status.code() == Some(1) && stderr.contains("cannot write a plan there"),
        "{stderr}"
    );
    let out = fixture.run(&["run", fixture.path("").to_str().unwrap(), "-p", "x"]);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(
        out.status.code() == Some(2) && stderr.contains("the folder is no compiled plan"),
        "{stderr}"
    );
}

#[test]
fn a_cache_that_cannot_be_used_is_done_without() {
    let fixture = Fixture::new(Family::Llama);
    let expected = fixture.expected();
    // Others may write to it.
    fs::create_dir_all(fixture.path("cache/compiled")).unwrap();
    fs::set_permissions(fixture.path("cache/compiled"), fs::Permissions::from_mode(0o777)).unwrap();
    let (text, stderr) = fixture.text(fixture.model());
    assert_eq!(text, expected);
    assert!(
        stderr.contains("not trusted") && stderr.lines().count() == 1,
        "{stderr}"
    );
    let out = fixture.run(&["compile", fixture.model()]);
    assert_eq!(out.status.code(), Some(1), "compiling is for keeping");
    // Its place is taken by a file.
    fs::remove_dir_all(fixture.path("cache")).unwrap();
    fs::write(fixture.path("cache"), "").unwrap();
    let (text, stderr) = fixture.text(fixture.model());
    assert!(text == expected && stderr.contains("can't be kept"), "{stderr}");
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let fixture = Fixture::new(Family::Llama);
    let expected = fixture.expected();
    // Files can't grow beyond 16 KiB: a write fails in the middle, as on a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f 16; exec {} run {} -p 'the cat' -n 8 -q",
        env!("CARGO_BIN_EXE_lathe"),
        fixture.model()
    );
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &script])
        .env("LATHE_CACHE", fixture.path("cache"));
    shell.env("LATHE_THREADS", "2").env("LATHE_CTX", "64");
    let out = shell.output().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(
        out.status.success() && stderr.contains("can't be kept"),
        "{stderr}"
    );
    assert_eq!(String::from_utf8(out.stdout).unwrap(), expected);
    assert!(fixture.entries(Kind::Plan).is_empty() && fixture.entries(Kind::Weights).is_empty());
    assert_eq!(fixture.text(fixture.model()), (expected, String::new()));
}

#[test]
fn the_cache_can_be_listed_checked_and_cleared() {
    let fixture = Fixture::new(Family::Llama);
    let plan = fixture.compile(&[])["plan"].as_str().unwrap().to_owned();
    let list = || -> Value {
        let out = fixture.run(&["cache", "list", "--json"]);
        serde_json::from_slice(&out.stdout).unwrap()
    };
    let listed = list();
    let entries = listed["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    let entry = entries.iter().find(|e| e["id"] == plan.as_str()).unwrap();
    assert_eq!(
        (&entry["kind"], &entry["outdated"]),
        (&"plan".into(), &false.into())
    );
    assert_eq!(entry["data"]["context"], 64);
    let sum: u64 = entries.iter().map(|e| e["bytes"].as_u64().unwrap()).sum();
    assert_eq!(listed["bytes"], sum);
    // An entry of another build is outdated, and goes when those are cleared.
    let other = Cache::open(&fixture.path("cache/compiled"), "another build", 1).unwrap();
    let mut data: PlanData = Bundle::open(&fixture.entry(Kind::Plan), Kind::Plan)
        .unwrap()
        .data()
        .unwrap();
    data.weights = "gone".into();
    other
        .get_or_make(Kind::Plan, &Cache::id(&["other"]), |_| {
            Ok::<_, lathe_runtime::cache::CacheError>(data)
        })
        .unwrap();
    assert_ne!(BUILD, other.build());
    assert_eq!(list()["entries"].as_array().unwrap().len(), 3);
    assert!(fixture.run(&["cache", "clear", "--outdated"]).status.success());
    assert_eq!(list()["entries"].as_array().unwrap().len(), 2);
    assert!(fixture.run(&["cache", "verify"]).status.success());
    let doctor: Value = serde_json::from_slice(&fixture.run(&["doctor", "--json"]).stdout).unwrap();
    assert_eq!(
        (&doctor["cache"]["entries"], &doctor["cache"]["unusable"]),
        (&2.into(), &0.into())
    );
    flip(&fixture.entry(Kind::Weights).join("packed"), 5);
    let out = fixture.run(&["cache", "verify"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        String::from_utf8(out.stdout)
            .unwrap()
            .contains("as they were written: 1; not: 1")
    );
    assert!(fixture.run(&["cache", "clear"]).status.success());
    assert_eq!(list()["bytes"], 0);
    assert_eq!(fixture.text(fixture.model()).0, fixture.expected());
}

#[test]
fn a_limit_on_the_size_removes_what_was_used_least_recently() {
    let fixture = Fixture::new(Family::Llama);
    fixture.compile(&[]);
    std::thread::sleep(Duration::from_millis(20));
    // One plan and its weights fit, two plans do not.
    let plan = Bundle::open(&fixture.entry(Kind::Plan), Kind::Plan).unwrap();
    let weights = Bundle::open(&fixture.entry(Kind::Weights), Kind::Weights).unwrap();
    let most = (plan.bytes() * 3 / 2 + weights.bytes()).to_string();
    let second = fixture.compile(&["--chunk", "8", "--cache-size", &most]);
    let left = fixture.entry(Kind::Plan);
    assert_eq!(left.file_name().unwrap(), second["plan"].as_str().unwrap());
    fixture.entry(Kind::Weights);
    let out = fixture.run(&["run", fixture.model(), "-p", "x", "--cache-size", "many"]);
    assert_eq!(out.status.code(), Some(2));
}
