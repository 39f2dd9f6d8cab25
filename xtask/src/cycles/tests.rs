use std::collections::HashMap;
use std::path::Path;

use super::modules::Modules;
use super::{arrows, components};

fn read(files: &[(&str, &str)]) -> Modules {
    let files: HashMap<_, _> = files.iter().copied().collect();
    let source = |file: &Path| Some((*files.get(file.to_str()?)?).to_owned());
    Modules::read(Path::new("lib.rs"), &source).unwrap()
}

/// `user.rs` has some text; everything else is the same in each case.
fn check(user: &str, expected: &[&str]) {
    let modules = read(&[
        (
            "lib.rs",
            "mod error; mod row; mod table; mod user; mod macros;",
        ),
        (
            "error.rs",
            "pub enum Error { Torn } pub type Result<T> = std::result::Result<T, Error>;",
        ),
        (
            "row.rs",
            "pub use crate::error::Error as RowError; pub struct Row; #[service] pub trait Rows {}",
        ),
        (
            "table/mod.rs",
            "mod scan; pub(crate) use scan::{scan, Scan}; pub use super::row::*; pub const MAX: u8 = 1;",
        ),
        ("table/scan.rs", "pub fn scan() {} pub struct Scan;"),
        ("macros.rs", "macro_rules! rows { () => {} }"),
        ("user.rs", user),
    ]);
    let mut found = Vec::new();
    for ((from, to), names) in arrows::of(&modules) {
        if modules.file(from) == Path::new("user.rs") {
            let names: Vec<_> = names.into_keys().collect();
            found.push(format!(
                "{}: {}",
                modules.file(to).display(),
                names.join(" ")
            ));
        }
    }
    assert_eq!(found, expected, "{user}");
}

#[test]
fn imports_lead_to_the_defining_file() {
    check("use crate::row::Row;", &["row.rs: Row"]);
    check(
        "use super::{row::{self, Row}, error::{Error as E, Result}};",
        &["error.rs: Error Result", "row.rs: Row"],
    );
    check(
        "use crate::table::{scan, Scan, MAX};",
        &["table/mod.rs: MAX", "table/scan.rs: Scan scan"],
    );
    check("use crate::row::RowError;", &["error.rs: RowError"]);
    check(
        "use crate::table::{Row, RowError};",
        &["error.rs: RowError", "row.rs: Row"],
    );
    check("use crate::error::Error::*;", &["error.rs: Error"]);
    check("use crate::row::RowsClient;", &["row.rs: RowsClient"]);
}

#[test]
fn neither_modules_nor_reexports_nor_foreign_names_are_arrows() {
    check(
        "use crate::row; use std::fmt; use table::table; use user::Row;",
        &[],
    );
    check(
        "pub use crate::row::Row; pub(crate) use crate::error::*;",
        &[],
    );
    check(
        "use crate::table::*; pub(in crate::table) fn f(table: u8) -> u8 { table }",
        &[],
    );
}

#[test]
fn paths_count_where_they_are_written() {
    check("use crate::row; fn f(row: &row::Row) {}", &["row.rs: Row"]);
    check(
        "use crate::table::*; fn f() { scan(); Scan::new(); }",
        &["table/scan.rs: Scan scan"],
    );
    check(
        "pub use crate::row::Row; struct S(Vec<Row>);",
        &["row.rs: Row"],
    );
    check(
        "fn f() { use crate::{row as r, error::Error}; Error::Torn; r::Row; }",
        &["error.rs: Error", "row.rs: Row"],
    );
    check(
        "mod inner { fn f() -> super::super::error::Result<()> {} }",
        &["error.rs: Result"],
    );
    check(
        "mod inner { use super::*; fn f(row: Row) {} } use crate::row::Row;",
        &["row.rs: Row"],
    );
    check(
        "fn f() { vec![crate::row::Row, g(self.scan)]; rows!() }",
        &["row.rs: Row", "macros.rs: rows!"],
    );
    check(
        "#[derive(Serialize)] struct S { #[arg(default = super::table::MAX)] max: u8 }",
        &["table/mod.rs: MAX"],
    );
}

#[test]
fn what_only_tests_or_loom_compile_does_not_count() {
    check("#[cfg(test)] mod tests { use crate::row::Row; }", &[]);
    check("#[cfg(all(loom, unix))] use crate::row::Row;", &[]);
    check(
        "struct S; impl S { #[cfg(test)] fn f() { crate::row::Row; } }",
        &[],
    );
    check("#[cfg(not(loom))] use crate::row::Row;", &["row.rs: Row"]);
    check(
        "#[cfg(any(test, unix))] use crate::row::Row;",
        &["row.rs: Row"],
    );
}

#[track_caller]
fn check_cycles(files: &[(&str, &str)], expected: &[&str]) {
    let modules = read(files);
    let cycles = components::cycles(&modules, &arrows::of(&modules));
    let cycles: Vec<_> = cycles.iter().map(ToString::to_string).collect();
    assert_eq!(cycles, expected);
}

#[test]
fn files_that_need_one_another_are_a_cycle() {
    check_cycles(
        &[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "\nuse crate::c::C; pub struct B;"),
            ("c.rs", "use crate::a::A; use crate::b::B; pub struct C;"),
        ],
        &[
            "cycle of a, b, c in crate\n  a.rs -> b.rs: B (line 1)\n  b.rs -> c.rs: C (line 2)\n  c.rs -> a.rs: A (line 1)\n  c.rs -> b.rs: B (line 1)",
        ],
    );
    check_cycles(
        &[
            ("lib.rs", "mod a; mod b; fn f() { a::g() } fn h() {}"),
            ("a.rs", "use crate::b::B; pub fn g() {}"),
            ("b.rs", "pub struct B;"),
        ],
        &[],
    );
}

#[test]
fn a_folder_is_one_unit_and_holds_its_own_file() {
    check_cycles(
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "mod x; mod y;"),
            ("a/x.rs", "use crate::b::B;"),
            ("a/y.rs", "pub struct Y;"),
            ("b.rs", "use crate::a::y::Y; pub struct B;"),
        ],
        &["cycle of a, b in crate\n  a/x.rs -> b.rs: B (line 1)\n  b.rs -> a/y.rs: Y (line 1)"],
    );
    check_cycles(
        &[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod x; pub struct A; fn f() { x::g() }"),
            ("a/x.rs", "use super::A; pub fn g() {}"),
        ],
        &[
            "cycle of mod.rs, x in crate::a\n  a/mod.rs -> a/x.rs: g (line 1)\n  a/x.rs -> a/mod.rs: A (line 1)",
        ],
    );
}
