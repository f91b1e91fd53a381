//! What stands between a model and the engine: prompts to tokens, tokens to bytes.

use lathe_frontend::template::RenderInput;
use lathe_frontend::text::TextModel;
use lathe_frontend::tokenizer::{EncodeOptions, Tokenizer};
use lathe_runtime::Vocabulary;
use lathe_runtime::constrain::{Constraint, ConstraintError, Grammar, Grammars};
use lathe_runtime::sampling::tokens_with;
use lathe_runtime::tools::{Format, Reasoning};
use lathe_server::{ChatPrompt, Conversation, Prompter};
use serde_json::{Value, json};
use std::sync::Arc;

/// The model's tokenizer.
///
/// # Errors
/// Why it has none that works.
pub fn tokenizer(model: &TextModel) -> Result<&Arc<Tokenizer>, String> {
    model.tokenizer.as_ref().map_err(String::clone)
}

/// Tokens of a prompt: as it is, or as a user message in the model's chat template.
///
/// # Errors
/// Where there is no tokenizer or template, or the template refuses.
pub fn prompt_tokens(model: &TextModel, prompt: &str, chat: bool) -> Result<Vec<u32>, String> {
    if chat {
        return chat_tokens(model, &[json!({"role": "user", "content": prompt})]);
    }
    Ok(tokenizer(model)?.encode(prompt, EncodeOptions::PROMPT))
}

/// Tokens of a conversation in the model's chat template, up to the opening of the answer.
///
/// # Errors
/// As [`prompt_tokens`].
pub fn chat_tokens(model: &TextModel, messages: &[Value]) -> Result<Vec<u32>, String> {
    let conversation = Conversation {
        messages: messages.to_vec(),
        ..Conversation::default()
    };
    Ok(chat_prompt(model, &conversation)?.tokens)
}

/// The same, with tools, and with how the answer will be written.
///
/// # Errors
/// As [`prompt_tokens`].
pub fn chat_prompt(model: &TextModel, conversation: &Conversation) -> Result<ChatPrompt, String> {
    let tokenizer = tokenizer(model)?;
    let template = match &model.chat_template {
        Some(Ok(template)) => template,
        Some(Err(error)) => return Err(error.clone()),
        None => return Err("the model has no chat template; complete plain text instead".into()),
    };
    let tools = Some(&conversation.tools).filter(|tools| !tools.is_empty());
    let input = RenderInput {
        messages: Value::Array(conversation.messages.clone()),
        tools: tools.cloned().map(Value::Array),
        add_generation_prompt: true,
        extra: conversation.variables.clone(),
        ..RenderInput::default()
    };
    let text = template.render(&input).map_err(|e| e.to_string())?;
    let format = Format::of_template(template.source());
    let reasoning = Reasoning::of_template(template.source(), &text);
    let mut names = format.map(Format::markers).unwrap_or_default();
    names.extend(reasoning.iter().flat_map(Reasoning::markers));
    let marks = names
        .into_iter()
        .filter_map(|name| control_token(tokenizer, name))
        .collect();
    Ok(ChatPrompt {
        tokens: tokenizer.encode(&text, EncodeOptions::TEMPLATED),
        format,
        reasoning,
        marks,
    })
}

/// The control token of a name: one that plain text can't spell.
fn control_token(tokenizer: &Tokenizer, name: &str) -> Option<u32> {
    tokenizer.token_to_id(name).filter(|&id| tokenizer.is_special(id))
}

/// Checks that two models mean the same by every token.
///
/// # Errors
/// Where they do not.
pub fn same_vocabulary(own: &Tokenizer, other: &Tokenizer) -> Result<(), String> {
    let (size, others) = (own.vocab_size(), other.vocab_size());
    if size != others {
        return Err(format!("it has {others} tokens, but the model {size}"));
    }
    let same = |&id: &u32| {
        own.token_bytes(id) == other.token_bytes(id) && own.is_special(id) == other.is_special(id)
    };
    match (0..size).find(|id| !same(id)) {
        Some(id) => Err(format!("its token {id} is another than the model's")),
        None => Ok(()),
    }
}

/// Tokens that end a generation.
pub fn stop_tokens(model: &TextModel) -> Vec<u32> {
    model
        .tokenizer
        .as_ref()
        .map_or(Vec::new(), |t| t.special().eog.clone())
}

/// Bytes of tokens as they are shown: control tokens show nothing.
pub struct ModelVocabulary {
    tokenizer: Arc<Tokenizer>,
}

impl ModelVocabulary {
    /// Of the model's tokenizer.
    ///
    /// # Errors
    /// Where it has none that works.
    pub fn new(model: &TextModel) -> Result<ModelVocabulary, String> {
        Ok(ModelVocabulary {
            tokenizer: tokenizer(model)?.clone(),
        })
    }
}

impl Vocabulary for ModelVocabulary {
    fn token_bytes(&self, token: u32) -> &[u8] {
        shown_bytes(&self.tokenizer, token)
    }

    fn spelled_bytes(&self, token: u32) -> &[u8] {
        self.tokenizer.token_bytes(token).unwrap_or_default()
    }
}

fn shown_bytes(tokenizer: &Tokenizer, token: u32) -> &[u8] {
    if tokenizer.is_special(token) {
        &[]
    } else {
        tokenizer.token_bytes(token).unwrap_or_default()
    }
}

/// A model as the server sees it.
pub struct ModelPrompter {
    model: TextModel,
    stop: Vec<u32>,
    context: usize,
    vocabulary: ModelVocabulary,
    grammars: Grammars,
}

impl ModelPrompter {
    /// Of a model whose engine has `context` positions.
    ///
    /// # Errors
    /// Where it has no tokenizer that works.
    pub fn new(model: TextModel, context: usize) -> Result<ModelPrompter, String> {
        Ok(ModelPrompter {
            stop: stop_tokens(&model),
            grammars: Grammars::new(tokenizer(&model)?.clone()),
            vocabulary: ModelVocabulary::new(&model)?,
            model,
            context,
        })
    }
}

impl ModelPrompter {
    /// Reads the vocabulary as constraints need it, which takes a fraction of a second.
    pub fn prepare_constraints(&self) {
        // Where it can't be had, a request with a constraint is told.
        let _ = self.grammars.compile(&Constraint::JsonObject);
    }
}

impl Prompter for ModelPrompter {
    fn chat(&self, conversation: &Conversation) -> Result<ChatPrompt, String> {
        chat_prompt(&self.model, conversation)
    }

    fn control_token(&self, name: &str) -> Option<u32> {
        control_token(&self.vocabulary.tokenizer, name)
    }

    fn text(&self, text: &str) -> Result<Vec<u32>, String> {
        prompt_tokens(&self.model, text, false)
    }

    fn grammar(&self, constraint: &Constraint) -> Result<Grammar, ConstraintError> {
        self.grammars.compile(constraint)
    }

    fn vocabulary(&self) -> &dyn Vocabulary {
        &self.vocabulary
    }

    fn tokens_with(&self, strings: &[String]) -> Vec<u32> {
        tokens_with(&self.vocabulary, self.vocabulary.tokenizer.vocab_size(), strings)
    }

    fn stop_tokens(&self) -> &[u32] {
        &self.stop
    }

    fn context(&self) -> usize {
        self.context
    }
}
