//! The tiny test models are whole models: their tokenizers give the ids that llama.cpp gives, and their templates
//! render.

use lathe_frontend::gguf::GgufFile;
use lathe_frontend::template::{ChatTemplate, RenderInput};
use lathe_frontend::testing::{Family, TinyModel};
use lathe_frontend::tokenizer::{EncodeOptions, Tokenizer};

/// Texts, and their ids by llama.cpp (llama-cpp-python 0.3.36, `tokenize` with `add_bos=False`).
fn expected(family: Family) -> [(&'static str, &'static [u32]); 3] {
    match family {
        Family::Llama | Family::Qwen2 => [
            ("the and of things", &[119, 260, 276, 278, 259, 107, 279, 118]),
            (" x\n", &[35, 123, 13]),
            ("é✓ a", &[198, 172, 229, 159, 150, 262]),
        ],
        Family::Mistral => [
            ("the and of things", &[265, 275, 272, 259, 286, 276, 284]),
            (" x\n", &[277, 277, 123, 13]),
            ("é✓ a", &[277, 198, 172, 229, 159, 150, 262]),
        ],
        Family::Gemma3 => [
            ("the and of things", &[282, 263, 278, 275, 262, 289, 279, 287]),
            (" x\n", &[280, 126, 16]),
            ("é✓ a", &[201, 175, 232, 162, 153, 265]),
        ],
    }
}

fn file(family: Family) -> GgufFile {
    GgufFile::from_bytes(TinyModel::new(family).writer().to_bytes(), "tiny").unwrap()
}

#[test]
fn tokenizers_agree_with_llama_cpp() {
    for family in Family::ALL {
        let tokenizer = Tokenizer::from_metadata(file(family).metadata()).unwrap();
        assert_eq!(tokenizer.vocab_size(), TinyModel::new(family).vocab_size());
        for (text, ids) in expected(family) {
            assert_eq!(
                tokenizer.encode(text, EncodeOptions::PLAIN),
                ids,
                "{family:?}: {text:?}"
            );
        }
    }
}

#[test]
fn templates_render() {
    for (family, expected) in [
        (
            Family::Llama,
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        ),
        (Family::Mistral, "<s>[INST] hi [/INST]"),
        (
            Family::Qwen2,
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            Family::Gemma3,
            "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n",
        ),
    ] {
        let file = file(family);
        let tokens = file.metadata().str_array("tokenizer.ggml.tokens").unwrap();
        let token = |key| tokens.get(file.metadata().usize(key).unwrap()).unwrap();
        let source = file.metadata().str("tokenizer.chat_template").unwrap();
        let (bos, eos) = (
            token("tokenizer.ggml.bos_token_id"),
            token("tokenizer.ggml.eos_token_id"),
        );
        let template = ChatTemplate::new(source, bos, eos).unwrap();
        let input = RenderInput {
            messages: serde_json::json!([{"role": "user", "content": "hi"}]),
            add_generation_prompt: true,
            ..RenderInput::default()
        };
        assert_eq!(template.render(&input).unwrap(), expected, "{family:?}");
    }
}
