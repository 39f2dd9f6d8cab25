//! Which file needs which other: finds the paths that are written in each module.

use std::collections::{BTreeMap, HashMap};

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Block, ImplItem, Item, ItemUse, Macro, Meta, Path, Stmt, Visibility};

use super::modules::{File, Modules, attributes, imports, is_compiled};

/// From a file to another, with the names that make the arrow and the line where each is first written.
pub(super) type Arrows = BTreeMap<(File, File), BTreeMap<String, usize>>;

/// The arrows of a crate.
pub(super) fn of(modules: &Modules) -> Arrows {
    let mut arrows = Arrows::new();
    for (index, module) in modules.modules.iter().enumerate() {
        let mut finder = Finder {
            modules,
            module: index,
            blocks: Vec::new(),
            arrows: &mut arrows,
        };
        for item in &module.items {
            finder.visit_item(item);
        }
    }
    arrows
}

struct Finder<'a> {
    modules: &'a Modules,
    module: usize,
    /// What the blocks around this place import.
    blocks: Vec<HashMap<String, Vec<String>>>,
    arrows: &'a mut Arrows,
}

impl Finder<'_> {
    fn add(&mut self, path: &[String], line: usize) {
        let imported = path
            .first()
            .and_then(|first| self.blocks.iter().rev().find_map(|block| block.get(first)));
        let path = match imported {
            Some(import) => &[import, &path[1..]].concat(),
            None => path,
        };
        if let Some((to, index)) = self.modules.resolve(self.module, path) {
            self.add_arrow(to, &path[index], line);
        }
    }

    fn add_arrow(&mut self, to: File, name: &str, line: usize) {
        let from = self.modules.modules[self.module].file;
        if from != to {
            let names = self.arrows.entry((from, to)).or_default();
            names.entry(name.to_owned()).or_insert(line);
        }
    }

    /// Finds paths among tokens that no grammar is known for. A name after a dot is a field's or a method's,
    /// and one before a single colon is declared there.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let is_punct = |index: usize, wanted: char| matches!(tokens.get(index), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
        let is_colons = |index| is_punct(index, ':') && is_punct(index + 1, ':');
        let mut next = 0;
        while let Some(token) = tokens.get(next) {
            let start = next;
            next += 1;
            let mut path = match token {
                TokenTree::Ident(ident) => vec![ident.to_string()],
                TokenTree::Group(group) => {
                    self.add_tokens(group.stream());
                    continue;
                }
                _ => continue,
            };
            while let (true, Some(TokenTree::Ident(ident))) =
                (is_colons(next), tokens.get(next + 2))
            {
                path.push(ident.to_string());
                next += 3;
            }
            let before = start.checked_sub(1);
            let is_member =
                before.is_some_and(|before| is_punct(before, '.') || is_punct(before, '\''));
            let is_declared = is_punct(next, ':') && !is_colons(next);
            if !is_member && !is_declared {
                self.add(&path, token.span().start().line);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        // A module in this file is visited as a module.
        if is_compiled(attributes(item)) && !matches!(item, Item::Mod(_)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs[..],
            ImplItem::Fn(item) => &item.attrs,
            _ => &[],
        };
        if is_compiled(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if matches!(item.vis, Visibility::Inherited) {
            for import in imports(&item.tree) {
                self.add(&import.path, import.span.start().line);
            }
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let uses = block.stmts.iter().filter_map(|statement| match statement {
            Stmt::Item(Item::Use(item)) => Some(imports(&item.tree)),
            _ => None,
        });
        let named = uses
            .flatten()
            .filter_map(|import| Some((import.name?, import.path)));
        self.blocks.push(named.collect());
        visit::visit_block(self, block);
        self.blocks.pop();
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let names: Vec<_> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if path.leading_colon.is_none() {
            self.add(&names, line(&path.segments[0].ident));
        }
        visit::visit_path(self, path);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        visit::visit_attribute(self, attribute);
        if let Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
        }
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        visit::visit_macro(self, invocation);
        if let Some(name) = invocation.path.get_ident()
            && let Some(file) = self.modules.macro_file(&name.to_string())
        {
            self.add_arrow(file, &format!("{name}!"), line(name));
        }
        self.add_tokens(invocation.tokens.clone());
    }
}

fn line(ident: &Ident) -> usize {
    ident.span().start().line
}
