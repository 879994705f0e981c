//! One page of a bucket's listing: prefix, delimiter, offsets, page tokens.

use std::collections::BTreeMap;
use std::ops::Bound;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::error::Error;
use super::object::Object;
use super::store::Entry;

const PAGE_ITEMS_MAX: usize = 1000;

/// What to list.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// Only names that begin like this.
    pub(super) prefix: String,
    /// Names are cut after the first of these beyond the prefix; empty: never.
    pub(super) delimiter: String,
    /// Only names from here on.
    pub(super) start: String,
    /// Only names before this one; empty: all.
    pub(super) end: String,
    /// Only items after this one, the last of the page before.
    after: Option<String>,
    items_max: usize,
}

/// What was listed.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) objects: Vec<Object>,
    pub(super) prefixes: Vec<String>,
    /// Absent on the last page.
    pub(super) next: Option<String>,
}

impl Listing {
    /// Everything under a prefix that fits a page.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), items_max: PAGE_ITEMS_MAX, ..Self::default() }
    }

    /// Continues after an earlier page; an empty token is the first page.
    pub(super) fn continue_after(&mut self, token: &str) -> Result<(), Error> {
        if !token.is_empty() {
            let name = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
            let name = name.and_then(|it| String::from_utf8(it).ok());
            self.after = Some(name.ok_or_else(|| Error::invalid("Invalid page token."))?);
        }
        Ok(())
    }

    /// Asks for at most so many items a page; zero and too many mean 1,000.
    pub(super) fn limit(&mut self, items: usize) {
        self.items_max = if items == 0 { PAGE_ITEMS_MAX } else { items.min(PAGE_ITEMS_MAX) };
    }

    /// The common prefix that stands for this name, if the delimiter cuts it.
    fn cut<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.delimiter.is_empty() {
            return None;
        }
        let found = name[self.prefix.len()..].find(&self.delimiter)?;
        Some(&name[..self.prefix.len() + found + self.delimiter.len()])
    }
}

pub(super) fn page(objects: &BTreeMap<String, Entry>, listing: &Listing) -> Page {
    let after = listing.after.as_deref().unwrap_or_default();
    let from = listing.prefix.as_str().max(&listing.start).max(after);
    let mut page = Page { objects: Vec::new(), prefixes: Vec::new(), next: None };
    // Items come in order, and so do the prefixes that stand for some of them.
    let mut last = listing.after.as_deref();
    for (name, entry) in objects.range::<str, _>((Bound::Included(from), Bound::Unbounded)) {
        let beyond = !listing.end.is_empty() && *name >= listing.end;
        if !name.starts_with(&listing.prefix) || beyond {
            break;
        }
        let cut = listing.cut(name);
        let item = cut.unwrap_or(name);
        if last.is_some_and(|last| item <= last) {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == listing.items_max {
            page.next = last.map(|it| BASE64_URL_SAFE_NO_PAD.encode(it));
            break;
        }
        last = Some(item);
        match cut {
            Some(prefix) => page.prefixes.push(prefix.to_owned()),
            None => page.objects.push(entry.object.clone()),
        }
    }
    page
}
