//! The modules of a crate, the names in each, and which file a path leads to. Never looks into a function.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proc_macro2::Span;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Ident, Item, Lit, Meta, Token, UseTree};

/// Index of a file of the crate.
pub(super) type File = usize;

/// What a path leads to.
#[derive(Clone, Copy)]
enum Definition {
    Module(usize),
    Item(File),
    /// It is not of this crate.
    Foreign,
}

/// What a name in a module stands for.
enum Name {
    Defined(Definition),
    Imported(Vec<String>),
}

pub(super) struct Module {
    /// From the crate's root.
    path: Vec<String>,
    parent: usize,
    pub(super) file: File,
    pub(super) items: Vec<Item>,
    names: HashMap<String, Vec<Name>>,
    globs: Vec<Vec<String>>,
}

impl Module {
    fn new(path: Vec<String>, parent: usize, file: File) -> Self {
        Self {
            path,
            parent,
            file,
            items: Vec::new(),
            names: HashMap::new(),
            globs: Vec::new(),
        }
    }
}

/// The modules of a crate, the root first.
pub(super) struct Modules {
    pub(super) modules: Vec<Module>,
    files: Vec<PathBuf>,
    /// A macro is in scope in everything after it, wherever that lies.
    macros: HashMap<String, File>,
}

type Source<'a> = &'a dyn Fn(&Path) -> Option<String>;

impl Modules {
    /// Reads a crate from its root file.
    pub(super) fn read(root: &Path, source: Source) -> Result<Self> {
        let mut read = Self {
            modules: Vec::new(),
            files: Vec::new(),
            macros: HashMap::new(),
        };
        let (file, items) = read.parse(&[root.to_owned()], source)?;
        let directory = root.parent().unwrap_or(Path::new(""));
        read.add(Module::new(Vec::new(), 0, file), items, directory, source)?;
        Ok(read)
    }

    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    pub(super) fn file(&self, file: File) -> &Path {
        &self.files[file]
    }

    /// Where a file stands among the modules, the folders it lies in first.
    pub(super) fn unit(&self, file: File) -> Vec<String> {
        let mut modules = self.modules.iter();
        let own = modules.find(|module| module.file == file);
        let mut unit = own.expect("every file is a module").path.clone();
        if modules.any(|module| module.file != file && module.path.starts_with(&unit)) {
            let name = self.files[file].file_name().unwrap_or_default();
            unit.push(name.to_string_lossy().into_owned());
        }
        unit
    }

    /// The file that defines what a path written in a module leads to, and the item's place in the path: what
    /// comes after it belongs to the item. `None` for modules, and for what is not of this crate.
    pub(super) fn resolve(&self, module: usize, path: &[String]) -> Option<(File, usize)> {
        match self.follow(module, path, &mut HashSet::new()) {
            (Definition::Item(file), index) => Some((file, index)),
            _ => None,
        }
    }

    /// The file that defines a macro, if this crate does.
    pub(super) fn macro_file(&self, name: &str) -> Option<File> {
        self.macros.get(name).copied()
    }

    /// The first of the files that there is.
    fn parse(&mut self, candidates: &[PathBuf], source: Source) -> Result<(File, Vec<Item>)> {
        let found = candidates
            .iter()
            .find_map(|file| Some((file, source(file)?)));
        let (file, text) = found.with_context(|| format!("none of {candidates:?} can be read"))?;
        let syntax =
            syn::parse_file(&text).with_context(|| format!("parsing {}", file.display()))?;
        self.files.push(file.clone());
        Ok((self.files.len() - 1, syntax.items))
    }

    /// Adds a module and those in it; the files of those lie in `directory`.
    fn add(
        &mut self,
        module: Module,
        items: Vec<Item>,
        directory: &Path,
        source: Source,
    ) -> Result<usize> {
        let index = self.modules.len();
        let (path, file) = (module.path.clone(), module.file);
        self.modules.push(module);
        for item in items
            .into_iter()
            .filter(|item| is_compiled(attributes(item)))
        {
            if let Item::Mod(item) = item {
                let name = item.ident.to_string();
                let below = directory.join(&name);
                let (file, items) = match item.content {
                    Some((_, items)) => (file, items),
                    None => match item.attrs.iter().find_map(path_attribute) {
                        Some(path) => self.parse(&[directory.join(path)], source)?,
                        None => {
                            self.parse(&[below.with_extension("rs"), below.join("mod.rs")], source)?
                        }
                    },
                };
                let path = path.iter().cloned().chain([name]).collect();
                let added = self.add(Module::new(path, index, file), items, &below, source)?;
                self.define(index, &item.ident, Definition::Module(added));
                continue;
            }
            match &item {
                Item::Use(item) => self.import(index, &item.tree),
                Item::Macro(item) => {
                    if let Some(name) = &item.ident {
                        self.macros.insert(name.to_string(), file);
                    }
                }
                item => {
                    if let Some(name) = name(item) {
                        self.define(index, name, Definition::Item(file));
                    }
                }
            }
            self.modules[index].items.push(item);
        }
        Ok(index)
    }

    fn define(&mut self, module: usize, name: &Ident, definition: Definition) {
        let names = &mut self.modules[module].names;
        let names = names.entry(name.to_string()).or_default();
        names.push(Name::Defined(definition));
    }

    fn import(&mut self, module: usize, tree: &UseTree) {
        let module = &mut self.modules[module];
        for import in imports(tree) {
            match import.name {
                Some(name) => module
                    .names
                    .entry(name)
                    .or_default()
                    .push(Name::Imported(import.path)),
                None => module.globs.push(import.path),
            }
        }
    }

    /// Follows a path to its first item, or to its end. `visited` keeps imports that lead back to themselves
    /// from being followed for ever.
    fn follow(
        &self,
        module: usize,
        path: &[String],
        visited: &mut HashSet<(usize, String, bool)>,
    ) -> (Definition, usize) {
        let last = path.len() - 1;
        let mut within = module;
        for (index, name) in path.iter().enumerate() {
            let found = match name.as_str() {
                "crate" => Definition::Module(0),
                "self" => Definition::Module(within),
                "super" => Definition::Module(self.modules[within].parent),
                name => match self.look_up(within, name, index == last, visited) {
                    Some(found) => found,
                    None if index == 0 => Definition::Foreign,
                    // The compiler finds it, so a macro of that module makes it.
                    None => Definition::Item(self.modules[within].file),
                },
            };
            match found {
                Definition::Module(module) => within = module,
                found => return (found, index),
            }
        }
        (Definition::Module(within), last)
    }

    /// What a name means in a module. A module and an item can share one: what is last in a path is the item.
    fn look_up(
        &self,
        module: usize,
        name: &str,
        is_last: bool,
        visited: &mut HashSet<(usize, String, bool)>,
    ) -> Option<Definition> {
        if !visited.insert((module, name.to_owned(), is_last)) {
            return None;
        }
        let Module { names, globs, .. } = &self.modules[module];
        let mut found = Vec::new();
        for meaning in names.get(name).into_iter().flatten() {
            found.push(match meaning {
                Name::Defined(definition) => *definition,
                Name::Imported(path) => self.follow(module, path, visited).0,
            });
        }
        if found.is_empty() {
            for glob in globs {
                match self.follow(module, glob, visited).0 {
                    Definition::Module(from) => {
                        found.extend(self.look_up(from, name, is_last, visited))
                    }
                    Definition::Foreign => found.push(Definition::Foreign),
                    Definition::Item(_) => {}
                }
            }
        }
        found.into_iter().min_by_key(|definition| match definition {
            Definition::Module(_) => u8::from(is_last),
            Definition::Item(_) => u8::from(!is_last),
            Definition::Foreign => 2,
        })
    }
}

/// A name that a `use` brings in, or everything where there is no name.
pub(super) struct Import {
    pub(super) path: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) span: Span,
}

/// What a `use` brings in.
pub(super) fn imports(tree: &UseTree) -> Vec<Import> {
    let mut imports = Vec::new();
    collect_imports(tree, &[], &mut imports);
    imports
}

fn collect_imports(tree: &UseTree, prefix: &[String], imports: &mut Vec<Import>) {
    let with = |ident: &Ident| {
        let mut path = prefix.to_vec();
        // `a::{self}` is `a`.
        if ident != "self" || path.is_empty() {
            path.push(ident.to_string());
        }
        path
    };
    match tree {
        UseTree::Path(tree) => collect_imports(&tree.tree, &with(&tree.ident), imports),
        UseTree::Group(group) => {
            for tree in &group.items {
                collect_imports(tree, prefix, imports);
            }
        }
        UseTree::Name(tree) => {
            let path = with(&tree.ident);
            imports.push(Import {
                name: path.last().cloned(),
                span: tree.ident.span(),
                path,
            });
        }
        UseTree::Rename(tree) => imports.push(Import {
            path: with(&tree.ident),
            name: Some(tree.rename.to_string()),
            span: tree.ident.span(),
        }),
        UseTree::Glob(tree) => imports.push(Import {
            path: prefix.to_vec(),
            name: None,
            span: tree.star_token.spans[0],
        }),
    }
}

/// Whether something is compiled where neither tests nor loom are.
pub(super) fn is_compiled(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .all(|attribute| {
            attribute
                .parse_args()
                .is_ok_and(|condition| can_be(&condition, true))
        })
}

/// Whether a condition can have a value without tests and loom, whatever else is set.
fn can_be(condition: &Meta, value: bool) -> bool {
    let Meta::List(list) = condition else {
        return !value || !(condition.path().is_ident("test") || condition.path().is_ident("loom"));
    };
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    let parts = parts.unwrap_or_default();
    if list.path.is_ident("not") {
        parts.iter().all(|part| can_be(part, !value))
    } else if list.path.is_ident("all") == value {
        parts.iter().all(|part| can_be(part, value))
    } else {
        parts.iter().any(|part| can_be(part, value))
    }
}

/// The attributes of an item.
pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The file of a module that lies elsewhere.
fn path_attribute(attribute: &Attribute) -> Option<String> {
    if let Meta::NameValue(pair) = &attribute.meta
        && pair.path.is_ident("path")
        && let Expr::Lit(literal) = &pair.value
        && let Lit::Str(path) = &literal.lit
    {
        return Some(path.value());
    }
    None
}

fn name(item: &Item) -> Option<&Ident> {
    Some(match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    })
}
