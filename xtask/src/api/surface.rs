//! A crate's public items as lines that can be compared. Two spellings that mean the same to whoever uses
//! the crate are one line: a type is named without the module it happens to be defined in, `Self` without
//! the type, and what a trait dictates of its implementation is left to the trait.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use public_api::tokens::Token;
use public_api::{PublicApi, PublicItem};

/// Unstable auto traits: no program on a stable compiler can name them. And what is said not to be
/// implemented: nobody can depend on that.
const IRRELEVANT: [&str; 3] = [
    "core::marker::Freeze",
    "core::marker::UnsafeUnpin",
    " !core::",
];

/// The crate that is compared, and the one whose items the drop-in re-exports as its own.
pub(super) const SESSION: &str = "roam_session";
const CRATES: [&str; 2] = [SESSION, "roam_diagnostic"];

/// The public items of the session.
pub(super) fn of_session(api: &PublicApi) -> BTreeSet<String> {
    lines(api, &BTreeMap::new(), |_| true)
}

/// The items of another crate that the session re-exports, as if the session defined them.
pub(super) fn of_reexports(session: &PublicApi, other: &PublicApi) -> BTreeSet<String> {
    let reexported: BTreeMap<_, _> = session.items().filter_map(reexport).collect();
    lines(other, &reexported, |line| {
        let words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        !line.starts_with("pub use ") && words.into_iter().any(|word| reexported.contains_key(word))
    })
}

/// Name and public path of what `pub use` brings in.
fn reexport(item: &PublicItem) -> Option<(String, String)> {
    let line = item.to_string();
    let path = line.strip_prefix("pub use ")?;
    let name = path.rsplit("::").next()?;
    Some((name.to_owned(), path.to_owned()))
}

fn lines(
    api: &PublicApi,
    reexported: &BTreeMap<String, String>,
    wanted: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let implementations: HashSet<_> = api
        .items()
        .filter(|item| {
            item.tokens()
                .any(|token| *token == Token::Keyword("for".into()))
        })
        .map(PublicItem::id)
        .collect();
    api.items()
        .filter_map(|item| {
            let in_trait = item
                .parent_id()
                .is_some_and(|id| implementations.contains(&id));
            let kind = item.tokens().find_map(|token| match token {
                Token::Kind(kind) => Some(kind.as_str()),
                _ => None,
            });
            if in_trait && kind == Some("fn") {
                return None;
            }
            let defines = !in_trait && kind.is_some_and(|kind| kind != "fn");
            Some(spell(item, defines, reexported))
        })
        .filter(|line| wanted(line) && !IRRELEVANT.iter().any(|name| line.contains(name)))
        .collect()
}

/// One item. The path of what it defines stays: being reachable there is part of the API.
fn spell(item: &PublicItem, defines: bool, reexported: &BTreeMap<String, String>) -> String {
    let mut line = String::new();
    let mut path = String::new();
    let mut own = defines;
    for token in item.tokens() {
        match token {
            Token::Identifier(name) => path.push_str(name),
            Token::Symbol(symbol) if symbol == "::" && !path.is_empty() => path.push_str(symbol),
            Token::Type(name) | Token::Function(name) if is_path_of_ours(&path) => {
                let public = reexported.get(name);
                let is_type = matches!(token, Token::Type(_));
                match public {
                    _ if is_type && !std::mem::take(&mut own) => {
                        line.push_str(&format!("{SESSION}::{name}"));
                    }
                    Some(public) => line.push_str(public),
                    None => line.push_str(&format!("{path}{name}")),
                }
                path.clear();
            }
            other => {
                line.push_str(&std::mem::take(&mut path));
                line.push_str(other.text());
            }
        }
    }
    line.push_str(&path);
    with_self(line)
}

fn is_path_of_ours(path: &str) -> bool {
    CRATES.iter().any(|name| {
        path.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with("::"))
    })
}

/// In a method's signature, its own type is `Self`.
fn with_self(line: String) -> String {
    let Some((before, signature)) = line.split_once('(') else {
        return line;
    };
    let Some((owner, _)) = before
        .rsplit_once(' ')
        .and_then(|(_, path)| path.rsplit_once("::"))
    else {
        return line;
    };
    if owner.contains("::") {
        format!("{before}({}", signature.replace(owner, "Self"))
    } else {
        line
    }
}
