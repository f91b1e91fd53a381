//! `lathe serve`: the OpenAI API over HTTP.

use super::args::{ModelArg, RunArgs};
use super::draft::DraftArgs;
use super::error::CliError;
use super::plans::notice;
use crate::build::{BuildOptions, DEFAULT_SEQS};
use crate::session::{ModelPrompter, ModelVocabulary, tokenizer};
use clap::Args;
use clap::builder::BoolishValueParser;
use lathe_frontend::tokenizer::Tokenizer;
use lathe_runtime::{Engine, Pooling, Reopen, Reopened, SwapWhen};
use lathe_server::Served;
use lathe_server::queue::Queue;
use std::sync::Arc;

#[derive(Args, Debug)]
#[command(after_help = "Example: lathe serve smollm2-135m --port 8080")]
pub struct Serve {
    #[command(flatten)]
    model: ModelArg,
    /// Address to listen on
    #[arg(long, env = "LATHE_HOST", default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "LATHE_PORT", default_value_t = 8080)]
    port: u16,
    /// The name that clients call the model by [default: MODEL, or its file's name]
    #[arg(long, env = "LATHE_ALIAS")]
    alias: Option<String>,
    /// Serve embeddings, and no text
    #[arg(long, env = "LATHE_EMBEDDINGS", value_parser = BoolishValueParser::new())]
    embeddings: bool,
    /// With --embeddings: how the hidden states of a text's tokens become one: mean, last or cls [default: what the model's
    /// file says, else last]
    #[arg(long, env = "LATHE_POOLING", requires = "embeddings")]
    pooling: Option<Pooling>,
    /// Most sequences that run side by side
    #[arg(long, env = "LATHE_MAX_SEQS", default_value_t = DEFAULT_SEQS, value_parser = clap::value_parser!(u32).range(1..=4096))]
    max_seqs: u32,
    /// Positions that the KV cache holds, of all sequences together [default: one context, and at least 32768 where
    /// --max-seqs contexts are as many]; memory is taken as it is used
    #[arg(long, env = "LATHE_KV_POSITIONS", value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    kv_positions: Option<u32>,
    /// Memory beside the KV cache, in MiB, for sequences that have to give way to others: they go on where they were if
    /// copying is cheaper than computing again
    #[arg(long, env = "LATHE_SWAP_SPACE", value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=1 << 22))]
    swap_space: u32,
    /// Guess so many tokens ahead where a text repeats what came before
    #[arg(long, env = "LATHE_LOOKUP", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=15))]
    lookup: u32,
    #[command(flatten)]
    draft: DraftArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Positions of the KV cache where nothing is said.
const KV_POSITIONS: u32 = 32768;

impl Serve {
    pub fn run(&self) -> Result<(), CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(CliError::failed)?;
        let address = format!("{}:{}", self.host, self.port);
        // Bound before the model is built: a port that is taken should not cost a build.
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(&address))
            .map_err(|e| CliError::input(format!("can't listen on {address}: {e}")))?;
        let built = self.model.load(&self.run, &self.options()?)?;
        let pooling = self.pooling(built.pooling)?;
        let vocabulary = ModelVocabulary::new(&built.text).map_err(CliError::input)?;
        let engine = Engine::new(built.executable, Arc::new(vocabulary));
        let engine = engine.with_swap_space(u64::from(self.swap_space) << 20, SwapWhen::Cheaper);
        let own = tokenizer(&built.text).map_err(CliError::input)?.clone();
        let engine = self.draft.equip(engine, &own, &self.run, &self.options()?)?;
        let engine = engine.with_revival(self.reopen(own)?);
        let prompter = ModelPrompter::new(built.text, engine.context()).map_err(CliError::input)?;
        let prompter = Arc::new(prompter);
        if pooling.is_none() {
            // The first constraint should not wait for the vocabulary.
            let ahead = prompter.clone();
            std::thread::spawn(move || ahead.prepare_constraints());
        }
        let path = std::path::Path::new(&self.model.model);
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        let is_path = path.exists();
        let name = self
            .alias
            .clone()
            .or(stem.filter(|_| is_path))
            .unwrap_or_else(|| self.model.model.clone());
        let (queue, _thread) = Queue::start(engine).map_err(CliError::failed)?;
        let served =
            Served::new(&name, prompter, queue).with_guesses(self.lookup as usize, self.draft.length());
        let served = Arc::new(match pooling {
            Some(pooling) => served.with_pooling(pooling),
            None => served,
        });
        let local = listener.local_addr().map_err(CliError::failed)?;
        eprintln!("lathe: serving {name} on http://{local}/v1");
        runtime
            .block_on(lathe_server::serve(listener, served, stop_signal()))
            .map_err(|e| CliError::failed(format!("the server stopped: {e}")))
    }

    /// Loads what is served once more, after the device failed.
    fn reopen(&self, own: Arc<Tokenizer>) -> Result<Box<Reopen>, CliError> {
        let (model, draft, run) = (self.model.clone(), self.draft.clone(), self.run.clone());
        let options = self.options()?;
        let load = move || -> Result<Reopened, CliError> {
            Ok(Reopened {
                model: model.load(&run, &options)?.executable,
                draft: draft.load(&own, &run, &options)?,
            })
        };
        Ok(Box::new(move |why| {
            notice(&format!("the device failed ({why}); opening it anew"));
            let done = load().map_err(|error| error.to_string());
            match &done {
                Ok(_) => notice("the device is back"),
                Err(error) => notice(&format!("the device can't be opened yet: {error}")),
            }
            done
        }))
    }

    /// How embeddings are pooled, where the model, whose own pooling this is, was built for them.
    fn pooling(&self, own: Option<Pooling>) -> Result<Option<Pooling>, CliError> {
        match self.pooling.filter(|_| own.is_some()).or(own) {
            Some(Pooling::None) => Err(CliError::input(
                "the API has one embedding for a text: pool them with --pooling mean, last or cls",
            )),
            pooling => Ok(pooling),
        }
    }

    fn options(&self) -> Result<BuildOptions, CliError> {
        let options = self.run.build_options()?;
        let options = match self.embeddings {
            true => options.for_embeddings(),
            false => options,
        };
        Ok(BuildOptions {
            outputs: options.outputs.max(self.max_seqs),
            seqs: self.max_seqs,
            kv_positions: Some(self.kv_positions.unwrap_or(KV_POSITIONS)),
            ..options
        })
    }
}

/// Completes on the first interrupt or termination signal; a second one ends the process, whatever is under way.
async fn stop_signal() {
    one_signal().await;
    eprintln!("lathe: finishing the answers under way; interrupt again to stop at once");
    tokio::spawn(async {
        one_signal().await;
        std::process::exit(130);
    });
}

async fn one_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    #[test]
    fn flags_say_how_much_runs_at_once() {
        let options = |line: &[&str]| {
            let line = Line::parse_from([&["serve", "model"], line].concat());
            let options = line.serve.options().unwrap();
            (options.seqs, options.outputs, options.kv_positions)
        };
        assert_eq!(options(&[]), (DEFAULT_SEQS, DEFAULT_SEQS, Some(KV_POSITIONS)));
        assert_eq!(options(&["--max-seqs", "40"]), (40, 40, Some(KV_POSITIONS)));
        // Rows with logits are for guesses too.
        let few = options(&["--max-seqs", "2", "--kv-positions", "4096"]);
        assert_eq!(few, (2, DEFAULT_SEQS, Some(4096)));
    }
}
