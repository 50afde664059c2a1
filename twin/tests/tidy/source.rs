//! Rust source as the rules see it: parsed items with their lines, never a guess from braces.
//!
//! Refuses a file that does not parse: the finding would be wrong otherwise.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A function or macro definition and the lines it spans, attributes and docs not counted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// Parses one file.
pub(crate) fn parse(path: &str, text: &str) -> syn::File {
    syn::parse_file(text).unwrap_or_else(|error| panic!("{path} does not parse: {error}"))
}

/// Every function with a body and every `macro_rules!`, wherever it stands.
pub(crate) fn bodies(file: &syn::File) -> Vec<Body> {
    let mut bodies = Bodies(Vec::new());
    bodies.visit_file(file);
    bodies.0
}

/// Number of lines inside `#[cfg(test)]` modules.
pub(crate) fn test_lines(file: &syn::File) -> usize {
    let mut lines = TestLines(0);
    lines.visit_file(file);
    lines.0
}

/// Lines on which the keyword `unsafe` stands, inside macros too; comments and strings do not count.
pub(crate) fn unsafe_lines(path: &str, text: &str) -> Vec<usize> {
    let tokens: TokenStream =
        text.parse().unwrap_or_else(|error| panic!("{path} does not parse: {error}"));
    let mut lines = Vec::new();
    collect_unsafe(tokens, &mut lines);
    lines
}

/// Whether an item carries `#[cfg(test)]`.
pub(crate) fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

struct Bodies(Vec<Body>);

impl Bodies {
    fn add(&mut self, name: String, start: proc_macro2::Span, end: proc_macro2::Span) {
        let line = start.start().line;
        self.0.push(Body { name, line, lines: end.end().line - line + 1 });
    }
}

impl<'ast> Visit<'ast> for Bodies {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(item.sig.ident.to_string(), item.sig.span(), item.block.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(item.sig.ident.to_string(), item.sig.span(), item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(item.sig.ident.to_string(), item.sig.span(), block.span());
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        if let Some(name) = &item.ident {
            self.add(format!("{name}!"), item.mac.span(), item.mac.span());
        }
    }
}

struct TestLines(usize);

impl<'ast> Visit<'ast> for TestLines {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_test_only(&item.attrs) {
            let span = item.span();
            self.0 += span.end().line - span.start().line + 1;
        } else {
            visit::visit_item_mod(self, item);
        }
    }
}

fn collect_unsafe(tokens: TokenStream, lines: &mut Vec<usize>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) if ident == "unsafe" => lines.push(ident.span().start().line),
            TokenTree::Group(group) => collect_unsafe(group.stream(), lines),
            _ => {}
        }
    }
}

#[test]
fn comments_and_strings_are_not_unsafe() {
    let text = "// unsafe\nconst A: &str = \"unsafe {\";\nm! { unsafe { f() } }\n/* unsafe */\n";
    assert_eq!(unsafe_lines("sample.rs", text), [3]);
}

#[test]
fn only_test_modules_are_left_out() {
    let text = "mod a {\n}\n#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n#[cfg(unix)]\nmod b {}\n";
    assert_eq!(test_lines(&parse("sample.rs", text)), 4);
}
