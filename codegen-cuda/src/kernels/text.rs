//! Text of kernels: templates with `$NAME` for what an instance decides.

use std::fmt::Write;

/// What stands for the names of a template.
#[derive(Default)]
pub struct Names(Vec<(&'static str, String)>);

impl Names {
    /// No names.
    pub fn new() -> Names {
        Names::default()
    }

    /// One more name.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Names {
        self.0.push((name, value.to_string()));
        self
    }

    /// The template with every `$NAME` replaced.
    ///
    /// # Panics
    /// Where the template has a name that is not here: a mistake of a generator, which its tests meet.
    pub fn fill(&self, template: &str) -> String {
        let mut out = String::with_capacity(template.len() * 2);
        let mut rest = template;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let value = self.0.iter().find(|(n, _)| *n == name);
            out.push_str(&value.unwrap_or_else(|| panic!("the template names ${name}")).1);
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

/// An f32 as a literal of the same bits.
pub fn float(x: f32) -> String {
    if x.is_finite() {
        let text = format!("{x:?}");
        return format!("{text}f");
    }
    format!("__uint_as_float(0x{:08x}u)", x.to_bits())
}

/// An f32 in a name: its digits where they are letters of a name, else its bits.
pub fn float_name(x: f32) -> String {
    let text = format!("{x:?}").replace('.', "p").replace('-', "m");
    match text.chars().all(|c| c.is_ascii_alphanumeric()) {
        true => text,
        false => format!("x{:08x}", x.to_bits()),
    }
}

/// Lines of text, each on its own.
#[derive(Default)]
pub struct Lines(String);

impl Lines {
    /// No lines.
    pub fn new() -> Lines {
        Lines::default()
    }

    /// One more line.
    pub fn line(&mut self, text: impl std::fmt::Display) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "{text}");
    }

    /// All of them.
    pub fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_whole() {
        let names = Names::new().with("K", 32).with("KB", "one");
        assert_eq!(names.fill("x[$K] + $KB;"), "x[32] + one;");
    }

    #[test]
    fn floats_keep_their_bits() {
        assert_eq!(float(1e-5), "1e-5f");
        assert_eq!(float(2.0), "2.0f");
        assert_eq!(float(f32::INFINITY), "__uint_as_float(0x7f800000u)");
        assert_eq!(float_name(0.125), "0p125");
        assert_eq!(float_name(-1e-6), "m1em6");
    }
}
