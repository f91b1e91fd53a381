//! Constraints compiled for a vocabulary, and kept.

use super::error::ConstraintError;
use super::{Constraint, gbnf, schema, vocabulary};
use lathe_frontend::tokenizer::Tokenizer;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::panic_utils::catch_unwind;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Longest text of a constraint, in bytes.
const LONGEST: usize = 1 << 20;
/// Deepest nesting of brackets in a regular expression or grammar: what reads them is recursive.
const DEEPEST: usize = 200;
/// Bytes of stack to compile with; only what is used takes memory.
const STACK: usize = 512 << 20;
/// Most regular expressions of a schema among which the one at fault is looked for.
const PATTERNS: usize = 256;
/// Grammars that are kept for the next request, the latest used last.
const KEPT: usize = 64;
/// White space between the parts of JSON: enough to indent, and no more, since a model that may go on for ever may.
const WHITE_SPACE: &str = r"[ \t]{1,40}|\r?\n[ \t]{0,80}";

/// Compiles constraints for one vocabulary. Cheap to share between threads; the vocabulary is read at the first use.
pub struct Grammars {
    tokenizer: Option<Arc<Tokenizer>>,
    factory: OnceLock<Result<ParserFactory, ConstraintError>>,
    kept: Mutex<VecDeque<(blake3::Hash, Grammar)>>,
}

impl Grammars {
    /// For a model's vocabulary.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Grammars {
        Grammars {
            tokenizer: Some(tokenizer),
            ..Grammars::of_bytes()
        }
    }

    /// For texts whose bytes are the tokens.
    pub fn of_bytes() -> Grammars {
        Grammars {
            tokenizer: None,
            factory: OnceLock::new(),
            kept: Mutex::new(VecDeque::new()),
        }
    }

    /// Compiles a constraint, or finds it among those that were.
    ///
    /// # Errors
    /// Why it can't be honoured, and where.
    pub fn compile(&self, constraint: &Constraint) -> Result<Grammar, ConstraintError> {
        let text = format!("{constraint:?}");
        if text.len() > LONGEST {
            return Err(ConstraintError::new(format!("it is longer than {LONGEST} bytes")));
        }
        let key = blake3::hash(text.as_bytes());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept
            .iter()
            .position(|(k, _)| k == &key)
            .and_then(|at| kept.remove(at))
        {
            let grammar = found.1.clone();
            kept.push_back(found);
            return Ok(grammar);
        }
        drop(kept);
        let grammar = self.compile_new(constraint)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((key, grammar.clone()));
        Ok(grammar)
    }

    fn compile_new(&self, constraint: &Constraint) -> Result<Grammar, ConstraintError> {
        let source = source(constraint)?;
        let factory = self
            .factory
            .get_or_init(|| self.factory())
            .as_ref()
            .map_err(Clone::clone)?;
        let made = with_stack(|| matcher(factory, source))?;
        let matcher = made.map_err(|error| match constraint {
            Constraint::JsonSchema(schema) => placed(factory, schema, error),
            _ => error,
        })?;
        Ok(Grammar(Arc::new(Mutex::new(matcher))))
    }

    fn factory(&self) -> Result<ParserFactory, ConstraintError> {
        let environment: TokEnv = match &self.tokenizer {
            Some(tokenizer) => vocabulary::environment(tokenizer)?,
            None => ApproximateTokEnv::single_byte_env(),
        };
        let able = InferenceCapabilities {
            ff_tokens: environment.tokenize_is_canonical(),
            ..InferenceCapabilities::default()
        };
        let slices = SlicedBiasComputer::general_slices();
        let mut factory =
            ParserFactory::new(&environment, able, &slices).map_err(ConstraintError::of_compiler)?;
        *factory.quiet().limits_mut() = ParserLimits {
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(factory)
    }
}

/// An error of the compiler with its place, where a regular expression of the schema is at fault.
fn placed(factory: &ParserFactory, schema: &Value, error: ConstraintError) -> ConstraintError {
    let refused = |(place, pattern): (String, String)| {
        let alone = matcher(factory, TopLevelGrammar::from_regex(&pattern));
        alone.err().map(|error| ConstraintError::at(place, error.message))
    };
    let found = with_stack(|| {
        schema::patterns(schema)
            .into_iter()
            .take(PATTERNS)
            .find_map(refused)
    });
    found.ok().flatten().unwrap_or(error)
}

fn matcher(factory: &ParserFactory, source: TopLevelGrammar) -> Result<Matcher, ConstraintError> {
    let parser = catch_unwind(AssertUnwindSafe(|| factory.create_parser(source)));
    let matcher = Matcher::new(Ok(parser.map_err(ConstraintError::of_compiler)?));
    match matcher.get_error() {
        Some(error) => Err(ConstraintError::of_compiler(error)),
        None => Ok(matcher),
    }
}

/// Does work on a stack that is deep enough for what recursion the limits leave.
fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, ConstraintError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, work);
        let thread =
            thread.map_err(|e| ConstraintError::new(format!("there is no memory to compile it: {e}")))?;
        thread
            .join()
            .map_err(|_| ConstraintError::new("the grammar compiler failed"))
    })
}

/// What the compiler reads.
fn source(constraint: &Constraint) -> Result<TopLevelGrammar, ConstraintError> {
    Ok(match constraint {
        Constraint::JsonObject => of_schema(&json!({"type": "object"}))?,
        Constraint::JsonSchema(schema) => of_schema(schema)?,
        Constraint::Regex(regex) => TopLevelGrammar::from_regex(nested_little(regex)?),
        Constraint::Choice(strings) if strings.is_empty() => {
            return Err(ConstraintError::new("there is no string to choose from"));
        }
        // One expression, since strings may begin with others.
        Constraint::Choice(strings) => {
            let strings: Vec<String> = strings.iter().map(|s| gbnf::escape_regex(s)).collect();
            TopLevelGrammar::from_regex(&strings.join("|"))
        }
        Constraint::Lark(text) => TopLevelGrammar::from_lark(nested_little(text)?.to_owned()),
        Constraint::Gbnf(text) => TopLevelGrammar::from_lark(gbnf::to_lark(text)?),
    })
}

fn of_schema(schema: &Value) -> Result<TopLevelGrammar, ConstraintError> {
    Ok(TopLevelGrammar::from_json_schema(compiler_schema(schema)?))
}

/// A schema as the grammar compiler reads it.
///
/// # Errors
/// What can't be honoured, and where.
pub(crate) fn compiler_schema(schema: &Value) -> Result<Value, ConstraintError> {
    // A schema that is just `true` or `false` has no room for options.
    let mut schema = match schema::prepare(schema)? {
        Value::Object(object) => object,
        Value::Bool(false) => Map::from_iter([("allOf".to_owned(), json!([false]))]),
        _ => Map::new(),
    };
    schema.insert("x-guidance".into(), json!({"whitespace_pattern": WHITE_SPACE}));
    Ok(Value::Object(schema))
}

/// Refuses what would need too deep a stack to read.
fn nested_little(text: &str) -> Result<&str, ConstraintError> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(ConstraintError::at(
                format!("byte {at}"),
                "brackets are nested too deeply",
            ));
        }
    }
    Ok(text)
}

/// A compiled constraint. Clones are the same one.
#[derive(Clone)]
pub struct Grammar(Arc<Mutex<Matcher>>);

impl Grammar {
    /// A matcher at the start of a text, with caches of its own: what one text costs does not depend on others.
    pub(super) fn start(&self) -> Matcher {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).deep_clone()
    }

    /// Whether a text, cut into bytes, is one that the constraint asks for; if not, the byte at which it left it, which is
    /// the text's length where more should follow. For grammars of [`Grammars::of_bytes`].
    ///
    /// # Errors
    /// Where following the text needs more than the limits allow.
    pub fn accepts(&self, text: &[u8]) -> Result<Result<(), usize>, ConstraintError> {
        let mut matcher = self.start();
        let tokens: Vec<u32> = text.iter().map(|&byte| byte.into()).collect();
        let taken = matcher
            .try_consume_tokens(&tokens)
            .map_err(ConstraintError::of_compiler)?;
        let whole = taken == tokens.len() && matcher.is_accepting().map_err(ConstraintError::of_compiler)?;
        Ok(if whole { Ok(()) } else { Err(taken) })
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammar")
    }
}

impl PartialEq for Grammar {
    fn eq(&self, other: &Grammar) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
