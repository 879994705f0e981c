//! The tables of inputs in the components' READMEs are those of their headers.

use std::fmt::Write as _;

use expect_test::expect_file;
use serde_json::Value;

use crate::template::{Template, root};

const END: &str = "<!-- end -->";

/// With `UPDATE_EXPECT=1` the tables are written instead.
#[test]
fn a_readme_shows_the_inputs_as_they_are_declared() {
    for template in Template::all() {
        let path = root().join(format!("templates/{}/README.md", template.name));
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once("-->\n").unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let shown = format!("{before}-->\n{}{END}{after}", table(&template));
        expect_file![path].assert_eq(&shown);
    }
}

fn table(template: &Template) -> String {
    let mut table = "| input | type | default | |\n|---|---|---|---|\n".to_owned();
    for (name, input) in &template.inputs {
        let kind = input["type"].as_str().unwrap_or("string");
        let default = match input.get("default") {
            None => "required".to_owned(),
            Some(Value::String(it)) if it.is_empty() => "empty".to_owned(),
            Some(Value::String(it)) => format!("`{it}`"),
            Some(Value::Array(_)) => "…".to_owned(),
            Some(other) => format!("`{other}`"),
        };
        let description = input["description"].as_str().unwrap();
        writeln!(table, "| `{name}` | {kind} | {default} | {description} |").unwrap();
    }
    table
}
