//! What the note says, and that foreign text stays inside it.

use branchline_contract::Outcome;
use branchline_ledger::{Ending, Intent};
use comrak::nodes::{AstNode, NodeValue};
use comrak::{Arena, Options, parse_document};
use expect_test::expect;

use super::*;
use crate::testing::{finished, history, history_by, running};

fn options() -> Options<'static> {
    let mut options = Options::default();
    let extension = &mut options.extension;
    (extension.table, extension.autolink, extension.strikethrough) = (true, true, true);
    (extension.tasklist, extension.footnotes, extension.math_dollars) = (true, true, true);
    (extension.math_code, extension.description_lists) = (true, true);
    options.parse.relaxed_autolinks = true;
    options
}

/// What each node of a note is, foreign text apart.
struct Seen {
    /// Text that GitLab would look through for mentions and references.
    text: Vec<String>,
    links: Vec<String>,
    html: Vec<String>,
    cells: Vec<usize>,
    other: Vec<&'static str>,
}

fn see(markdown: &str) -> Seen {
    let arena = Arena::new();
    let root = parse_document(&arena, markdown, &options());
    let mut seen = Seen { text: vec![], links: vec![], html: vec![], cells: vec![], other: vec![] };
    for node in root.descendants() {
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
        NodeValue::Code(code) => assert!(!code.literal.contains('\n')),
        NodeValue::Text(text) => seen.text.push(text.to_string()),
        NodeValue::Link(link) => seen.links.push(link.url.clone()),
        NodeValue::HtmlBlock(html) => seen.html.push(html.literal.trim().to_owned()),
        NodeValue::TableRow(_) => seen.cells.push(node.children().count()),
        other => seen.other.push(other.xml_node_name()),
    }
}

const HOSTILE: [&str; 26] = [
    "@root and @all",
    "/close",
    "\n/close\n",
    "x\n\n/approve\n/merge\n",
    "```\n/close\n```",
    "Closes #1, !2, ~bug, %v1, $3, &4, acme/churn#5",
    "<img src=https://evil.example/x.png onerror=alert(1)>",
    "<!-- branchline:run=other -->",
    "--> <b>bold</b>",
    "</details><h1>",
    "[text](https://evil.example)",
    "![image](https://evil.example/x.png)",
    "https://evil.example www.evil.example evil@evil.example",
    "<https://evil.example>",
    "a | b | c",
    "a \\| b \\\\| c",
    "\\",
    "`",
    "`` @root ``",
    "` @root `",
    "a` @root",
    "`@root | `@all",
    "$`x`$ $$y$$",
    "\u{202e}@toor\u{0} \u{1b}[31m",
    "- [ ] task\n# heading\n> quote\n    code",
    "[^1]\n\n[^1]: note\n\n[ref]: https://evil.example",
];

/// A note with the text wherever foreign text comes from.
fn note_of(text: &str) -> String {
    let mut facts = running();
    let intent = Intent { nonce: text.to_owned(), duration_ms: 1, output: text.to_owned() };
    let refused = Body::Refused { intent: text.to_owned(), message: text.to_owned() };
    facts.splice(
        2..2,
        [Body::Intended(intent), refused, Body::Blocked { reason: text.to_owned(), pause: None }],
    );
    facts.push(Body::CancelRequested { reason: text.to_owned(), request: None });
    facts.push(Body::Finished(Ending {
        outcome: Outcome::Failed,
        reason: Some(format!("{text}\n{text}")),
        metrics: [(text.to_owned(), 0.5)].into(),
        model_uri: Some(text.to_owned()),
        model_files: Vec::new(),
    }));
    let history = history_by(text, facts);
    crate::wanted::wanted(&history, None).note
}

#[test]
fn foreign_text_is_never_more_than_code() {
    let harmless = see(&note_of("harmless"));
    assert_eq!(harmless.links.len(), 1);
    for text in HOSTILE {
        let markdown = note_of(text);
        let seen = see(&markdown);
        assert_eq!(seen.text, harmless.text, "{text:?}\n{markdown}");
        assert_eq!(seen.links, harmless.links, "{text:?}\n{markdown}");
        assert_eq!(seen.html, harmless.html, "{text:?}\n{markdown}");
        assert_eq!(seen.cells, harmless.cells, "{text:?}\n{markdown}");
        assert_eq!(seen.other, harmless.other, "{text:?}\n{markdown}");
        for line in markdown.lines() {
            assert!(!line.trim_start().starts_with('/'), "{text:?}: {line}");
        }
        assert!(!markdown.starts_with("<!-- branchline:run=other"));
    }
}

#[test]
fn a_job_name_that_is_no_address_is_no_link() {
    for name in ["projects/p/locations/r/customJobs/1)![x](https://evil.example", "<b>", "a|b"] {
        let mut facts = running();
        facts[3] = Body::Submitted { intent: "n".to_owned(), job: name.to_owned() };
        let seen = see(&crate::wanted::wanted(&history(facts), None).note);
        assert_eq!((seen.links.len(), seen.cells.iter().max()), (0, Some(&5)), "{name}");
    }
}

#[test]
fn a_finished_run_is_told_whole() {
    let mut facts = running();
    let end = finished(Outcome::Succeeded, None, &[("accuracy", 0.966_666), ("loss", 1e-9)]);
    facts.push(end);
    let note = crate::wanted::wanted(&history(facts), None).note;
    expect![[r"
        <!-- branchline:run=churn -->
        <!-- branchline:job=300 -->

        **Branchline** run `churn`: `succeeded: accuracy 0.966666, loss 1e-9`

        | Branchline |  |
        | --- | --- |
        | Run | `churn-6d3c8aca1992a7790ef7` |
        | Attempt | 1 |
        | Commit | 0123456789abcdef0123456789abcdef01234567 |
        | Job | [Vertex AI](https://console.cloud.google.com/vertex-ai/locations/europe-west4/training/42/cpu?project=acme) |
        | Model | `gs://o/churn/1-n/model/` |
        | Ledger head | `6:440cb33d92f8ba8239df1c3005aba3c37bdcaa348b90448e00de3fc30ec705f9` |

        | Metric | Value |
        | --- | --- |
        | `accuracy` | `0.966666` |
        | `loss` | `1e-9` |

        <details><summary>Timeline</summary>

        |  | Time (UTC) | Fact | Detail | By |
        | --- | --- | --- | --- | --- |
        | 0 | 2027-01-15 08:00:00 | requested |  | `worker` |
        | 1 | 2027-01-15 08:00:01 | verified |  | `worker` |
        | 2 | 2027-01-15 08:00:02 | admitted |  | `worker` |
        | 3 | 2027-01-15 08:00:03 | intended |  | `worker` |
        | 4 | 2027-01-15 08:00:04 | submitted | `projects/acme/locations/europe-west4/customJobs/42` | `worker` |
        | 5 | 2027-01-15 08:00:05 | running |  | `worker` |
        | 6 | 2027-01-15 08:00:06 | succeeded |  | `worker` |

        </details>
    "]].assert_eq(&note);
}

#[test]
fn a_note_of_a_newer_job_is_not_ours_to_change() {
    let older = history([]);
    let newer = history([Body::Duplicate { ci_job: 301, pipeline_id: None }]);
    assert!(is_newer(&render(&newer, ""), &older.run));
    assert!(!is_newer(&render(&older, ""), &newer.run));
    assert!(!is_newer(&render(&older, ""), &older.run));
    assert!(!is_newer("<!-- branchline:run=churn -->\n<!-- branchline:job=x -->", &older.run));
}

#[test]
fn a_note_is_bounded() {
    let metrics: Vec<_> = (0..1_000).map(|it| format!("{it:04}{}", "|".repeat(1_000))).collect();
    let metrics: Vec<_> = metrics.iter().map(|it| (it.as_str(), 1.0)).collect();
    let mut facts = running();
    facts.extend(
        (0..1_000).map(|_| Body::CancelRequested { reason: "`".repeat(10_000), request: None }),
    );
    facts.push(finished(Outcome::Failed, Some(&"line\n".repeat(10_000)), &metrics));
    let note = render(&history(facts), "");
    assert!(note.len() < 300_000, "{}", note.len());
    assert!(note.contains("and 950 more"));
}
