//! Flags that say what a text must be, and `lathe grammar`, which tells whether one is.

use super::args::ModelArg;
use super::error::{CliError, read_text};
use clap::Args;
use lathe_frontend::tokenizer::{EncodeOptions, Tokenizer};
use lathe_runtime::constrain::{Constraint, ConstraintError, Grammar, Grammars, Guide, Start};
use std::path::{Path, PathBuf};

/// At most one constraint.
#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub struct ConstraintArgs {
    /// The text must be JSON that this JSON Schema accepts
    #[arg(long, value_name = "FILE", help_heading = "Constraint")]
    json_schema: Option<PathBuf>,
    /// The text must be a JSON object
    #[arg(long, help_heading = "Constraint")]
    json_object: bool,
    /// The whole text must match this regular expression
    #[arg(long, value_name = "REGEX", help_heading = "Constraint")]
    regex: Option<String>,
    /// The text must follow this grammar, in GBNF or Lark notation
    #[arg(long, value_name = "FILE", help_heading = "Constraint")]
    grammar: Option<PathBuf>,
    /// The text must be this or another choice (given several times)
    #[arg(long, value_name = "TEXT", help_heading = "Constraint")]
    choice: Vec<String>,
}

impl ConstraintArgs {
    /// What they ask for, if anything, and what to call it in messages.
    pub fn read(&self) -> Result<Option<Named>, CliError> {
        let named = |path: &Path| path.display().to_string();
        let read = if let Some(path) = &self.json_schema {
            let schema = serde_json::from_str(&read_text(path)?);
            let schema =
                schema.map_err(|e| CliError::input(format!("{} is no JSON: {e}", path.display())))?;
            Some((Constraint::JsonSchema(schema), named(path)))
        } else if let Some(regex) = &self.regex {
            Some((Constraint::Regex(regex.clone()), "the regular expression".into()))
        } else if let Some(path) = &self.grammar {
            Some((Constraint::grammar(read_text(path)?), named(path)))
        } else if !self.choice.is_empty() {
            Some((Constraint::Choice(self.choice.clone()), "the choice".into()))
        } else {
            self.json_object.then(|| (Constraint::JsonObject, "JSON".into()))
        };
        Ok(read.map(|(constraint, name)| Named { constraint, name }))
    }
}

/// A constraint, and what to call it in messages.
pub struct Named {
    constraint: Constraint,
    name: String,
}

impl Named {
    /// The constraint, compiled.
    pub fn compile(&self, grammars: &Grammars) -> Result<Grammar, CliError> {
        let refused = |e| CliError::input(format!("{} can't be a constraint: {e}", self.name));
        grammars.compile(&self.constraint).map_err(refused)
    }
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example: lathe grammar --regex '[0-9]+' --accepts number.txt\n\n\
    Exit status 0 where the whole text matches, 1 where it does not, 2 where the constraint is refused."
)]
pub struct GrammarVerb {
    #[command(flatten)]
    constraint: ConstraintArgs,
    /// A file with the text
    #[arg(long, value_name = "TEXTFILE")]
    accepts: Option<PathBuf>,
    /// Follow the tokens that this model's tokenizer makes of the text, too
    #[arg(long, value_name = "MODEL")]
    tokenizer: Option<String>,
}

impl GrammarVerb {
    pub fn run(&self) -> Result<(), CliError> {
        let Some(constraint) = self.constraint.read()? else {
            let flags = "--json-schema, --json-object, --regex, --grammar or --choice";
            return Err(CliError::input(format!(
                "there is no constraint: give one of {flags}"
            )));
        };
        let name = &constraint.name;
        let grammar = constraint.compile(&Grammars::of_bytes())?;
        let model = self.tokenizer.clone().map(|model| ModelArg { model });
        let tokenizer = model.map(|model| super::tokens::load(&model)).transpose()?;
        let of_tokens = tokenizer
            .map(|t| Ok::<_, CliError>((constraint.compile(&Grammars::new(t.clone()))?, t)))
            .transpose()?;
        let Some(path) = &self.accepts else {
            outln!("{name} can be a constraint");
            return Ok(());
        };
        let text = read_text(path)?;
        let failed = |e: ConstraintError| CliError::input(format!("{name}: {e}"));
        if let Err(byte) = grammar.accepts(text.as_bytes()).map_err(failed)? {
            return Err(CliError::failed(left(&text, byte)));
        }
        if let Some((grammar, tokenizer)) = of_tokens {
            follow(&grammar, &tokenizer, &text).map_err(failed)?;
        }
        outln!("accepted");
        Ok(())
    }
}

/// Where and how a text left its grammar.
fn left(text: &str, byte: usize) -> String {
    match text.get(byte..).and_then(|rest| rest.chars().next()) {
        Some(c) => format!("byte {byte}: {c:?} can't follow here"),
        None if byte == text.len() => format!("byte {byte}: the text ends where more must follow"),
        None => format!("byte {byte}: this character can't follow here"),
    }
}

/// Checks that the tokens of a text that is accepted are allowed one by one.
fn follow(grammar: &Grammar, tokenizer: &Tokenizer, text: &str) -> Result<(), ConstraintError> {
    let mut guide = Guide::new(grammar, &Start::Now);
    for token in tokenizer.encode(text, EncodeOptions::PLAIN) {
        guide.take(token, tokenizer.token_bytes(token).unwrap_or_default())?;
    }
    Ok(())
}
