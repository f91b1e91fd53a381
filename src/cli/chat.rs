//! `lathe chat`: a conversation at the terminal, in the model's chat template.

use super::args::{ModelArg, RunArgs};
use super::draft::DraftArgs;
use super::error::CliError;
use super::sampling::SamplingArgs;
use super::session::{OpenSession, SessionArgs};
use crate::session::{ModelVocabulary, chat_prompt, stop_tokens, tokenizer};
use clap::Args;
use lathe_frontend::text::TextModel;
use lathe_runtime::tools::{Tools, parse};
use lathe_runtime::{Completion, Engine, Finish, Request, SamplingParams};
use lathe_server::Conversation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

#[derive(Args, Debug)]
#[command(
    after_help = "Example: lathe chat qwen2.5-coder-1.5b --system \"Answer in one sentence.\"\n\n\
    Lines are messages; one that ends with \\ goes on in the next. /help shows the commands."
)]
pub struct Chat {
    #[command(flatten)]
    model: ModelArg,
    /// What the model is told before the conversation
    #[arg(long, env = "LATHE_SYSTEM")]
    system: Option<String>,
    /// Most tokens of an answer [default: as many as the context holds]
    #[arg(short = 'n', long = "max-tokens")]
    max_tokens: Option<usize>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    draft: DraftArgs,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    run: RunArgs,
}

const HELP: &str = "\
/help          this
/system TEXT   tell the model something before the conversation, which begins anew
/reset         begin anew
/undo          take the last message and its answer back
/retry         answer the last message again, with other random numbers
/stats         speed and tokens of the last answer
/quit          leave (so does the end of the input)";

impl Chat {
    pub fn run(&self) -> Result<(), CliError> {
        self.sampling.validate()?;
        // What can't be read should not cost a load.
        let session = self.session.read()?;
        let options = self.run.build_options()?;
        let built = self.model.load(&self.run, &options)?;
        let vocabulary = ModelVocabulary::new(&built.text).map_err(CliError::input)?;
        let sampling = self.sampling.params(&vocabulary, built.executable.vocab());
        let engine = Engine::new(built.executable, Arc::new(vocabulary));
        let own = tokenizer(&built.text).map_err(CliError::input)?;
        let mut engine = self.draft.equip(engine, own, &self.run, &options)?;
        let session = session
            .map(|session| session.restore(built.identity, &mut engine))
            .transpose()?;
        let note = session.as_ref().map(|session| session.note.clone());
        let Noted { system, messages } = Noted::read(note.unwrap_or_default());
        let mut talk = Talk {
            chat: self,
            model: built.text,
            engine,
            sampling,
            messages,
            system: self.system.clone().or(system),
            tokens: session
                .as_ref()
                .map(|session| session.tokens.clone())
                .unwrap_or_default(),
            last: None,
        };
        // A model without a template is told of before anything is typed.
        talk.prompt(&[json!({"role": "user", "content": "?"})])?;
        talk.go(&mut std::io::stdin().lock())?;
        match session {
            Some(session) => talk.save(&session),
            None => Ok(()),
        }
    }
}

/// What a session notes of a conversation.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Noted {
    system: Option<String>,
    messages: Vec<Value>,
}

impl Noted {
    /// What a session says; nothing where somebody else than a conversation saved it.
    fn read(note: Value) -> Noted {
        serde_json::from_value(note).unwrap_or_default()
    }
}

/// A conversation.
struct Talk<'a> {
    chat: &'a Chat,
    model: TextModel,
    engine: Engine,
    sampling: SamplingParams,
    /// Without the system message.
    messages: Vec<Value>,
    system: Option<String>,
    /// Of the last prompt and its answer.
    tokens: Vec<u32>,
    last: Option<Completion>,
}

impl Talk<'_> {
    fn go(&mut self, input: &mut dyn BufRead) -> Result<(), CliError> {
        let terminal = std::io::stdin().is_terminal();
        if terminal {
            eprintln!("/help shows the commands");
        }
        loop {
            if terminal {
                eprint!("> ");
            }
            let Some(line) = message(input)? else {
                return Ok(());
            };
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "" => {}
                "/quit" | "/exit" => return Ok(()),
                "/help" => outln!("{HELP}"),
                "/reset" => self.messages.clear(),
                "/system" => {
                    self.system = Some(rest.to_owned()).filter(|text| !text.is_empty());
                    self.messages.clear();
                }
                "/undo" => self.messages.truncate(self.messages.len().saturating_sub(2)),
                "/retry" if self.messages.len() >= 2 => {
                    self.messages.pop();
                    self.sampling.seed = self.sampling.seed.wrapping_add(1);
                    self.answer()?;
                }
                "/retry" => eprintln!("there is no message yet"),
                "/stats" => self.stats(),
                _ if word.starts_with('/') => eprintln!("there is no command {word}; /help shows them"),
                _ => {
                    self.messages.push(json!({"role": "user", "content": line}));
                    self.answer()?;
                }
            }
        }
    }

    fn prompt(&self, messages: &[Value]) -> Result<lathe_server::ChatPrompt, CliError> {
        let system = self
            .system
            .iter()
            .map(|text| json!({"role": "system", "content": text}));
        let conversation = Conversation {
            messages: system.chain(messages.iter().cloned()).collect(),
            ..Conversation::default()
        };
        chat_prompt(&self.model, &conversation).map_err(CliError::input)
    }

    /// Leaves the conversation in a session.
    fn save(mut self, session: &OpenSession) -> Result<(), CliError> {
        let noted = Noted {
            system: self.system,
            messages: self.messages,
        };
        let note = serde_json::to_value(noted).map_err(CliError::failed)?;
        session.save(&mut self.engine, &self.tokens, note)
    }

    /// Answers the last message. One that can't be answered is taken back, and the conversation goes on.
    fn answer(&mut self) -> Result<(), CliError> {
        let prompt = self.prompt(&self.messages)?;
        let request = Request {
            prompt: prompt.tokens,
            sampling: self.sampling.clone(),
            max_tokens: self.chat.max_tokens,
            stop_tokens: stop_tokens(&self.model),
            spelled: prompt.marks,
            draft: self.chat.draft.length(),
            ..Request::default()
        };
        let (mut text, mut broken) = (String::new(), None);
        let mut out = std::io::stdout().lock();
        let made = self.engine.generate(&request, &mut |piece| {
            text.push_str(piece);
            broken = out.write_all(piece.as_bytes()).and_then(|()| out.flush()).err();
            broken.is_none()
        });
        if let Some(error) = broken {
            return Err(error.into());
        }
        writeln!(out)?;
        match made {
            Ok(completion) => {
                if completion.finish == Finish::Length {
                    eprintln!("[cut off: {} tokens]", completion.tokens.len());
                }
                let said = parse(&text, prompt.format, prompt.reasoning, &Tools::default());
                self.messages
                    .push(json!({"role": "assistant", "content": said.content}));
                self.tokens = request.prompt;
                self.tokens.extend(&completion.tokens);
                self.last = Some(completion);
            }
            Err(error) => {
                self.messages.pop();
                eprintln!("lathe: {error}; /reset begins anew");
            }
        }
        Ok(())
    }

    fn stats(&self) {
        match &self.last {
            Some(completion) => eprintln!("{}", super::run::summary(completion)),
            None => eprintln!("there is no answer yet"),
        }
    }
}

/// The next message: a line, with those after it as long as they end with a backslash. `None` at the end.
fn message(input: &mut dyn BufRead) -> Result<Option<String>, CliError> {
    let mut message = String::new();
    loop {
        let mut bytes = Vec::new();
        if input.read_until(b'\n', &mut bytes).map_err(CliError::failed)? == 0 {
            return Ok(Some(message).filter(|message| !message.is_empty()));
        }
        let line = String::from_utf8_lossy(&bytes);
        match line.trim_end_matches(['\n', '\r']).strip_suffix('\\') {
            Some(part) => message.extend([part, "\n"]),
            None => {
                message.push_str(line.trim_end());
                return Ok(Some(message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages() {
        let mut input = "a\n\nb \\\nc\\\r\nd\nlast".as_bytes();
        let mut next = || message(&mut input).unwrap();
        assert_eq!(next().as_deref(), Some("a"));
        assert_eq!(next().as_deref(), Some(""));
        assert_eq!(next().as_deref(), Some("b \nc\nd"));
        assert_eq!(next().as_deref(), Some("last"));
        assert_eq!(next(), None);
    }
}
