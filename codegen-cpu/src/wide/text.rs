//! Machine code for people.

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use std::fmt::Write;

/// The instructions of `code`, one a line: offset and Intel syntax.
pub(super) fn disassemble(code: &[u8]) -> String {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_rip_relative_addresses(true);
    options.set_space_after_operand_separator(true);
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    let (mut text, mut line) = (String::new(), String::new());
    while decoder.can_decode() {
        let inst = decoder.decode();
        line.clear();
        formatter.format(&inst, &mut line);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:6x}  {line}", inst.ip());
    }
    text
}
