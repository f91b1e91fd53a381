//! Where Jinja2 on Python behaves otherwise than minijinja, and templates may see the difference: methods of strings
//! and dicts, lazy filters, type tests, and escaping around `Markup` strings.

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, Error, Output, State, Value, filters};

/// Makes `env` behave as Jinja2 does.
pub(super) fn install(env: &mut Environment<'static>) {
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.set_formatter(format_value);
    env.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    env.add_test("sequence", is_sequence);
    env.add_filter("map", lazy(Value::from_function(filters::map)));
    env.add_filter("select", lazy(Value::from_function(filters::select)));
    env.add_filter("reject", lazy(Value::from_function(filters::reject)));
    env.add_filter("selectattr", lazy(Value::from_function(filters::selectattr)));
    env.add_filter("rejectattr", lazy(Value::from_function(filters::rejectattr)));
    env.add_filter("unique", lazy(Value::from_function(filters::unique)));
}

/// Jinja2 calls a sequence what has a length and items: strings and dicts too.
fn is_sequence(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined
    )
}

/// The filter with its result as a generator: read once, always true, without a length, not JSON.
fn lazy(filter: Value) -> impl Fn(&mut State, Rest<ValueOrKwargs>) -> Result<Value, Error> {
    move |state, arguments| {
        let arguments = arguments.into_values();
        let items: Vec<Value> = filter.call(state, &arguments)?.try_iter()?.collect();
        Ok(Value::make_one_shot_iterator(items.into_iter()))
    }
}

/// Prints a value. Escaping is on only where `rewrite` turned it on: in expressions that join `Markup` strings
/// (`x|safe`) with plain ones, which Python's `MarkupSafe` escapes when they are joined.
fn format_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if matches!(state.auto_escape(), AutoEscape::None) || value.is_safe() {
        return write!(out, "{value}").map_err(Error::from);
    }
    for c in value.to_string().chars() {
        match c {
            '&' => out.write_str("&amp;")?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '\'' => out.write_str("&#39;")?,
            '"' => out.write_str("&#34;")?,
            c => out.write_str(c.encode_utf8(&mut [0; 4]))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(expression: &str) -> Result<Value, Error> {
        let mut env = Environment::new();
        install(&mut env);
        env.compile_expression(expression)?.eval(())
    }

    #[test]
    fn type_tests_follow_jinja2() {
        for (expression, expected) in [
            ("none is iterable", false),
            ("'a' is iterable", true),
            ("3 is iterable", false),
            ("'a' is sequence and {} is sequence and [] is sequence", true),
            ("none is sequence or 1 is sequence", false),
        ] {
            assert_eq!(eval(expression).unwrap().is_true(), expected, "{expression}");
        }
    }

    #[test]
    fn lazy_filters_give_generators() {
        assert_eq!(
            eval("[{'a': 1}, {'a': 2}]|map(attribute='a')|list")
                .unwrap()
                .to_string(),
            "[1, 2]"
        );
        assert_eq!(
            eval("[1, 2, 3]|select('odd')|join('+')").unwrap().to_string(),
            "1+3"
        );
        assert!(eval("[]|reject('odd')").unwrap().is_true());
        assert!(eval("[1]|map('string')|length").is_err());
    }
}
