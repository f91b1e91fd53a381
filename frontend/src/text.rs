//! What a model has for text: its tokenizer and its chat template.

use std::sync::Arc;

use crate::Error;
use crate::gguf::Metadata;
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;

/// The metadata key of the chat template.
const TEMPLATE: &str = "tokenizer.chat_template";

/// A model's tokenizer and chat template, or why it has none that works; token ids can be computed with all the same.
pub struct TextModel {
    /// The tokenizer.
    pub tokenizer: Result<Arc<Tokenizer>, String>,
    /// The chat template, where the model has one and a tokenizer for its special tokens.
    pub chat_template: Option<Result<ChatTemplate, String>>,
}

impl TextModel {
    /// Reads the keys `tokenizer.*`.
    ///
    /// # Errors
    /// Where the template is there and is no text. A tokenizer or template that does not work is kept as its error.
    pub fn from_metadata(metadata: &Metadata) -> Result<TextModel, Error> {
        let tokenizer = Tokenizer::from_metadata(metadata);
        let source = match &tokenizer {
            Ok(_) => metadata.opt_str(TEMPLATE)?,
            Err(_) => None,
        };
        Ok(TextModel::new(tokenizer.map_err(|e| e.to_string()), source))
    }

    /// Of a tokenizer and the source of a chat template.
    pub fn new(tokenizer: Result<Tokenizer, String>, template: Option<&str>) -> TextModel {
        let compile = |tokenizer: &Tokenizer, source: &str| {
            let text = |id: Option<u32>| id.and_then(|id| tokenizer.id_to_token(id)).unwrap_or("");
            let template = ChatTemplate::new(source, text(tokenizer.bos()), text(tokenizer.eos()));
            template.map_err(|e| e.to_string())
        };
        let chat_template = match (&tokenizer, template) {
            (Ok(tokenizer), Some(source)) => Some(compile(tokenizer, source)),
            _ => None,
        };
        TextModel {
            tokenizer: tokenizer.map(Arc::new),
            chat_template,
        }
    }
}
