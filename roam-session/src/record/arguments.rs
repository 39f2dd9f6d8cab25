//! Arguments as text for people: values, with names where a struct has them.

use std::fmt::{self, Write};

use facet::{Def, Facet, Field, Peek, StructKind};
use roam_trace_common::limits::ARGUMENTS_CHARS;

use crate::reflect::Half;

/// Parts of a value that are looked at; far more than there is room for.
const PARTS: usize = 256;

/// Writes arguments in one line, as far as the registry keeps them, and a character more if it has to cut them.
pub(super) fn text<T: Facet<'static>>(args: &T) -> String {
    let mut line = Line {
        text: String::new(),
        room: ARGUMENTS_CHARS + 1,
        parts: PARTS,
    };
    // It fails when the line is full.
    let _ = arguments(Peek::new(args), &mut line);
    line.text
}

struct Line {
    text: String,
    /// Characters.
    room: usize,
    parts: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.room = self.room.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(character);
        }
        Ok(())
    }
}

/// The arguments of a method are a tuple.
fn arguments(args: Peek<'_, 'static>, line: &mut Line) -> fmt::Result {
    match args.into_struct() {
        Ok(tuple) if tuple.ty().kind == StructKind::Tuple => {
            fields(tuple.ty().fields, |index| tuple.field(index).ok(), line)
        }
        _ => value(args, line),
    }
}

fn value(value: Peek<'_, 'static>, line: &mut Line) -> fmt::Result {
    line.parts = line.parts.checked_sub(1).ok_or(fmt::Error)?;
    let value = value.innermost_peek();
    let shape = value.shape();
    if Half::of(shape).is_some() {
        return line.write_str(shape.type_identifier);
    }
    if let Some(text) = value.as_str() {
        return write!(line, "{text:?}");
    }
    if matches!(shape.def, Def::Scalar) && shape.is_display() {
        return write!(line, "{value}");
    }
    if let Ok(option) = value.into_option() {
        return match option.value() {
            Some(some) => self::value(some, line),
            None => line.write_str("None"),
        };
    }
    if let Ok(value) = value.into_struct() {
        let ty = value.ty();
        return structure(ty.kind, ty.fields, |index| value.field(index).ok(), line);
    }
    if let Ok(value) = value.into_enum()
        && let Ok(variant) = value.active_variant()
    {
        line.write_str(variant.name)?;
        let field = |index| value.field(index).ok().flatten();
        return match variant.data.kind {
            StructKind::Unit => Ok(()),
            StructKind::Struct => structure(StructKind::Struct, variant.data.fields, field, line),
            StructKind::Tuple | StructKind::TupleStruct => {
                structure(StructKind::Tuple, variant.data.fields, field, line)
            }
        };
    }
    if let Ok(pointer) = value.into_pointer()
        && let Some(inner) = pointer.borrow_inner()
    {
        return self::value(inner, line);
    }
    if let Ok(items) = value.into_list_like() {
        return match items.as_bytes() {
            Some(bytes) => write!(line, "[{} bytes]", bytes.len()),
            None => several(['[', ']'], items.iter(), line, self::value),
        };
    }
    if let Ok(items) = value.into_set() {
        return several(['{', '}'], items.iter(), line, self::value);
    }
    if let Ok(entries) = value.into_map() {
        return several(['{', '}'], entries.iter(), line, |(key, entry), line| {
            self::value(key, line)?;
            line.write_str(": ")?;
            self::value(entry, line)
        });
    }
    match shape.is_debug() {
        true => write!(line, "{value:?}"),
        false => line.write_str(shape.type_identifier),
    }
}

fn structure<'m>(
    kind: StructKind,
    fields: &'static [Field],
    field: impl Fn(usize) -> Option<Peek<'m, 'static>>,
    line: &mut Line,
) -> fmt::Result {
    let [open, close] = match kind {
        StructKind::Struct => ["{", "}"],
        // A type of its own for one value.
        StructKind::TupleStruct if fields.len() == 1 => ["", ""],
        StructKind::TupleStruct | StructKind::Tuple | StructKind::Unit => ["(", ")"],
    };
    line.write_str(open)?;
    self::fields(fields, field, line)?;
    line.write_str(close)
}

/// Writes fields, with their names unless these are numbers.
fn fields<'m>(
    fields: &'static [Field],
    value_of: impl Fn(usize) -> Option<Peek<'m, 'static>>,
    line: &mut Line,
) -> fmt::Result {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            line.write_str(", ")?;
        }
        if !field.name.starts_with(|first: char| first.is_ascii_digit()) {
            write!(line, "{}: ", field.name)?;
        }
        match value_of(index) {
            Some(_) if field.is_sensitive() => line.write_str("(redacted)")?,
            Some(inner) => value(inner, line)?,
            None => line.write_str("?")?,
        }
    }
    Ok(())
}

fn several<T>(
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    line: &mut Line,
    item: impl Fn(T, &mut Line) -> fmt::Result,
) -> fmt::Result {
    line.write_char(open)?;
    for (index, next) in items.enumerate() {
        if index > 0 {
            line.write_str(", ")?;
        }
        item(next, line)?;
    }
    line.write_char(close)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Tx;

    #[derive(Facet)]
    struct Plan {
        name: String,
        steps: Vec<Step>,
        #[facet(sensitive)]
        password: String,
    }

    #[derive(Facet)]
    #[repr(u8)]
    #[allow(dead_code)]
    enum Step {
        Wait,
        Run(u32, bool),
        Call { at: Option<Meters> },
    }

    #[derive(Facet)]
    struct Meters(f64);

    #[derive(Facet)]
    struct Chain(Option<Box<Chain>>);

    #[track_caller]
    fn check<T: Facet<'static>>(args: T, expected: &str) {
        assert_eq!(text(&args), expected);
    }

    #[test]
    fn values_stand_without_their_types() {
        check((), "");
        check((7_u32, -1_i64, true, 'x'), "7, -1, true, x");
        check(("a\n\"b\"".to_owned(),), r#""a\n\"b\"""#);
        check(
            (Some(1_u8), None::<u8>, ((), (2_u8, 3_u8))),
            "1, None, ((), (2, 3))",
        );
        check(
            (vec![1_u8; 300], vec![1_u16, 2], [3_u16; 2]),
            "[300 bytes], [1, 2], [3, 3]",
        );
        check((BTreeMap::from([("a".to_owned(), 1_u8)]),), r#"{"a": 1}"#);
        check((Tx::<i32>::try_from(5_u64).unwrap(),), "Tx");
    }

    #[test]
    fn fields_have_their_names() {
        let plan = Plan {
            name: "p".to_owned(),
            steps: vec![Step::Wait, Step::Run(1, true)],
            password: "secret".to_owned(),
        };
        check(
            (plan,),
            r#"{name: "p", steps: [Wait, Run(1, true)], password: (redacted)}"#,
        );
        check(
            (Step::Call {
                at: Some(Meters(1.5)),
            },),
            "Call{at: 1.5}",
        );
    }

    #[test]
    fn no_more_is_written_than_is_kept() {
        let long = "é".repeat(1 << 20);
        assert_eq!(text(&(long,)).chars().count(), ARGUMENTS_CHARS + 1);
        let mut chain = Chain(None);
        for _ in 0..PARTS {
            chain = Chain(Some(Box::new(chain)));
        }
        assert_eq!(text(&chain), "");
    }
}
