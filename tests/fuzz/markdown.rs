//! Foreign text in notes and statuses: it is code, and nothing else becomes of it.

use std::sync::LazyLock;

use branchline_ledger::{Entry, History, Run};
use branchline_notifier::fuzz;
use comrak::nodes::{AstNode, NodeValue};
use comrak::{Arena, Options, parse_document};
use fastrand::Rng;

use crate::corpus::DECODED;
use crate::ledger::{every_kind, facts};
use crate::mutate::text;
use crate::runner::Target;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "escape",
        weight: 60,
        memory: 400,
        make: |rng| text(rng, &HOSTILE).into_bytes(),
        check: escape,
    },
    Target {
        name: "note",
        weight: 2,
        memory: 2_000,
        make: |rng| text(rng, &HOSTILE).into_bytes(),
        check: note,
    },
];

const HOSTILE: [&str; 24] = [
    "harmless",
    "@root and @all",
    "\n/close\n",
    "x\n\n/approve\n/merge\n",
    "```\n/close\n```",
    "Closes #1, !2, ~bug, %v1, $3, &4, acme/churn#5",
    "<img src=https://evil.example/x.png onerror=alert(1)>",
    "<!-- branchline:run=other --> --> <b>bold</b>",
    "</details><h1>",
    "![image](https://evil.example/x.png)",
    "https://evil.example www.evil.example evil@evil.example",
    "https://console.cloud.google.com/vertex-ai/training/1?project=p",
    "<https://evil.example>",
    "a | b | c",
    "a \\| b \\\\| c",
    "\\",
    "`` @root ``",
    "a` @root",
    "`@root | `@all",
    "$`x`$ $$y$$ {+a+} {-b-}",
    "\u{202e}@toor\u{0} \u{1b}[31m",
    "- [ ] task\n# heading\n> quote\n    code",
    "[^1]\n\n[^1]: note\n\n[ref]: https://evil.example",
    "",
];

/// As near to GitLab's own as comrak gets; GitLab renders notes with it.
static OPTIONS: LazyLock<Options<'static>> = LazyLock::new(|| {
    let mut options = Options::default();
    let extension = &mut options.extension;
    (extension.table, extension.autolink, extension.strikethrough) = (true, true, true);
    (extension.tasklist, extension.footnotes, extension.math_dollars) = (true, true, true);
    (extension.math_code, extension.description_lists) = (true, true);
    options.parse.relaxed_autolinks = true;
    options
});

/// What a reader and GitLab see of a document, but for what is inside of code.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    text: Vec<String>,
    links: Vec<String>,
    html: Vec<String>,
    cells: Vec<usize>,
    codes: usize,
    other: Vec<&'static str>,
}

fn see(markdown: &str) -> Seen {
    for line in markdown.lines() {
        assert!(!line.trim_start().starts_with('/'), "a quick action: {line}");
    }
    let arena = Arena::new();
    let mut seen = Seen::default();
    for node in parse_document(&arena, markdown, &OPTIONS).descendants() {
        look(node, &mut seen);
    }
    seen
}

fn look<'a>(node: &'a AstNode<'a>, seen: &mut Seen) {
    match &node.data().value {
        NodeValue::Document
        | NodeValue::Paragraph
        | NodeValue::List(_)
        | NodeValue::Item(_)
        | NodeValue::Strong
        | NodeValue::Table(_)
        | NodeValue::TableCell
        | NodeValue::SoftBreak => {}
        NodeValue::Code(code) => {
            assert!(!code.literal.contains('\n'), "code of several lines");
            seen.codes += 1;
        }
        NodeValue::Text(text) => seen.text.push(text.to_string()),
        NodeValue::Link(link) => seen.links.push(link.url.clone()),
        NodeValue::HtmlBlock(html) => seen.html.push(html.literal.trim().to_owned()),
        NodeValue::TableRow(_) => seen.cells.push(node.children().count()),
        other => seen.other.push(other.xml_node_name()),
    }
}

fn escape(bytes: &[u8], _: &mut Rng) -> bool {
    let text = std::str::from_utf8(bytes).unwrap();
    let line = fuzz::line(text);
    assert!(line.chars().count() <= 501);
    assert!(!line.contains(char::is_control) && line.trim() == line, "{line:?}");
    let empty = line.is_empty();

    let seen = see(&format!("before {} after\n", fuzz::code(text)));
    let shown = if empty { "before – after" } else { "before  after" };
    assert_eq!(seen.text.concat(), shown, "{text:?}");
    assert_eq!(only_code(seen), usize::from(!empty), "{text:?}");

    let table = format!("| a | b |\n| --- | --- |\n| {} | c |\n\nend\n", fuzz::cell(text));
    let mut seen = see(&table);
    assert_eq!(std::mem::take(&mut seen.cells), [2, 2], "{text:?}\n{table}");
    assert_eq!(seen.text.concat(), if empty { "ab–cend" } else { "abcend" }, "{text:?}");
    assert_eq!(only_code(seen), usize::from(!empty), "{text:?}");

    let seen = see(&format!("before {} after\n", fuzz::link(text)));
    match seen.links.as_slice() {
        [] => assert_eq!(only_code(seen), usize::from(!empty), "{text:?}"),
        [url] => assert_eq!((url.as_str(), seen.codes), (text, 0)),
        more => panic!("{text:?} became {more:?}"),
    }
    !empty
}

/// How many codes there are, and nothing but text beside them.
fn only_code(mut seen: Seen) -> usize {
    seen.text.clear();
    let codes = std::mem::take(&mut seen.codes);
    assert_eq!(seen, Seen::default());
    codes
}

fn note(bytes: &[u8], _: &mut Rng) -> bool {
    static HARMLESS: LazyLock<Seen> = LazyLock::new(|| see(&render("harmless")));
    let text = std::str::from_utf8(bytes).unwrap();
    let markdown = render(text);
    let seen = see(&markdown);
    // A text that shows as nothing is a dash, and one of several lines has more items in a list.
    let text_of = |it: &Seen| {
        let text: Vec<_> = it.text.iter().filter(|it| *it != "–").cloned().collect();
        text.concat().replace('–', "")
    };
    assert_eq!(text_of(&seen), text_of(&HARMLESS), "{text:?}\n{markdown}");
    assert_eq!(seen.links, HARMLESS.links, "{text:?}\n{markdown}");
    assert_eq!(seen.html, HARMLESS.html, "{text:?}\n{markdown}");
    assert_eq!(seen.cells, HARMLESS.cells, "{text:?}\n{markdown}");
    assert_eq!(seen.other, HARMLESS.other, "{text:?}\n{markdown}");
    !fuzz::line(text).is_empty()
}

/// A note with the text wherever foreign text comes from.
fn render(text: &str) -> String {
    // The second attempt would hide what the first one showed in tables.
    let mut bodies = every_kind(&DECODED[0], text);
    bodies.retain(|it| !matches!(it, branchline_ledger::Body::Rejected { .. }));
    bodies.truncate(15);
    let facts = facts(&DECODED[0], text, bodies);
    let entries: Vec<Entry> = facts.iter().map(|it| Entry::decode(&it.encode()).unwrap()).collect();
    let (run, events) = Run::fold(&entries).unwrap();
    assert!(!fuzz::is_newer(text, &run) || text.contains("branchline:job="));
    fuzz::wanted(&History { run, events, entries }).0
}
