//! The files as they are written. Pure.

use std::path::Path;

use super::CONFIG;
use super::answers::Answers;

/// `branchline.yaml`.
pub(super) fn config(answers: &Answers) -> String {
    let run = scalar(answers.run.as_str());
    let project = scalar(answers.project.as_str());
    let region = scalar(answers.region.as_str());
    let bucket = scalar(&answers.bucket);
    let topic = scalar(&answers.topic);
    let ledger = scalar(&answers.ledger);
    let image = scalar(&answers.image);
    let artifacts = artifacts(answers);
    let command = command(answers);
    let account = answers.training_account.as_deref().map(scalar);
    let account = account.map(|it| format!("          serviceAccount: {it}\n")).unwrap_or_default();
    let data = if answers.data.is_some() { DATA } else { "" };
    format!(
        r#"# What a CI job asks for with `branchline publish`.
project: {project}
region: {region}
bucket: {bucket} # artifacts are uploaded here
topic: {topic} # requests go here
ledger: {ledger} # read by publish --wait

runs:
  {run}:
{artifacts}    # Vertex AI's own: what `gcloud ai custom-jobs create --config` takes. Branchline fills in {{{{ … }}}}.
    training:
      custom_job:
        displayName: {run}
        jobSpec:
          workerPoolSpecs:
            - machineSpec: {{machineType: n1-standard-4}} # and acceleratorType, acceleratorCount for a GPU
              replicaCount: 1
              containerSpec:
                imageUri: {image}
{command}                args:
{data}                  # A gs:// directory of this attempt. The model goes to model/ in it, numbers to metrics.json.
                  - --output={{{{ output }}}}
{account}          baseOutputDirectory: {{outputUriPrefix: "{{{{ output }}}}"}}
"#
    )
}

const DATA: &str =
    "                  # Where it is mounted below /gcs; {{ artifacts.data.uri }} is its gs:// URI.
                  - --data={{ artifacts.data.path }}
";

fn artifacts(answers: &Answers) -> String {
    let code = answers.script.as_ref().map(|it| ("code", "path", it.path.as_str()));
    let data = answers.data.as_deref().map(|it| match it {
        uri if uri.starts_with("gs://") => ("data", "uri", uri),
        path => ("data", "path", path),
    });
    let lines = code.into_iter().chain(data);
    let lines = lines.map(|(name, key, it)| format!("      {name}: {{{key}: {}}}\n", scalar(it)));
    let lines: String = lines.collect();
    if lines.is_empty() {
        return lines;
    }
    format!(
        "    \
    # A path is a file or glob of this repository, and is uploaded; a uri (gs://…) is pinned as it is.
    artifacts:
{lines}"
    )
}

fn command(answers: &Answers) -> String {
    let line = |interpreter| {
        format!("                command: [{interpreter}, \"{{{{ artifacts.code.path }}}}\"]\n")
    };
    answers.script.as_ref().map(|it| line(it.interpreter)).unwrap_or_default()
}

/// What `.gitlab-ci.yml` includes.
pub(super) fn include(answers: &Answers, config_in_root: &str) -> String {
    let elsewhere = (config_in_root != CONFIG).then_some(("config", config_in_root));
    let inputs = [
        ("image", answers.ci_image.as_deref()),
        ("run", Some(answers.run.as_str())),
        ("provider", answers.provider.as_deref()),
        ("service_account", answers.service_account.as_deref()),
    ];
    let inputs = inputs.into_iter().filter_map(|(name, it)| Some((name, it?)));
    let inputs = inputs.chain(elsewhere);
    let lines = inputs.map(|(name, value)| format!("      {name}: {}\n", scalar(value)));
    let lines: String = lines.collect();
    let component = &answers.component;
    format!(
        "\
# Asks Branchline to train this commit, and waits for the outcome.
include:
  - component: $CI_SERVER_FQDN/{component}
    inputs:
{lines}"
    )
}

/// The path as a shell takes it without quotes.
pub(super) fn plain_path(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"._/-".contains(&it);
    (text.bytes().all(plain) && !text.starts_with('-')).then(|| text.to_owned())
}

/// A text that every YAML reads as that text, in a block or between braces.
fn scalar(text: &str) -> String {
    let begins = text.starts_with(|it: char| it.is_ascii_alphabetic());
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"._/@-".contains(&it);
    // Old readers take these for something else.
    let word = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    if begins && text.bytes().all(plain) && !word.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        serde_json::to_string(text).expect("a text is plain data")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_text_is_read_as_it_was_given() {
        let texts = [
            ("iris", "iris"),
            ("acme-ml", "acme-ml"),
            ("no", "\"no\""),
            ("Null", "\"Null\""),
            ("y", "\"y\""),
            ("1e3", "\"1e3\""),
            ("0x10", "\"0x10\""),
            ("12:30:45", "\"12:30:45\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("x, y: {z", "\"x, y: {z\""),
            ("-x", "\"-x\""),
            ("~", "\"~\""),
            ("*.csv", "\"*.csv\""),
            ("&a !b", "\"&a !b\""),
            (r#"say "hi" \n"#, r#""say \"hi\" \\n""#),
            ("it's", "\"it's\""),
            ("größe/ü.csv", "\"größe/ü.csv\""),
            ("a\nb\u{85}\u{2028}c", "\"a\\nb\u{85}\u{2028}c\""),
            (" ", "\" \""),
        ];
        for (text, expected) in texts {
            let scalar = scalar(text);
            assert_eq!(scalar, expected);
            let read = serde_saphyr::from_str(&format!("{scalar}: {{k: {scalar}}}\n"));
            let read: Value = read.unwrap();
            assert_eq!(read, json!({text: {"k": text}}), "{scalar}");
        }
    }

    #[test]
    fn a_path_that_a_shell_would_not_take_is_none() {
        for (path, fits) in [
            ("branchline.yaml", true),
            ("models/iris_2/branchline.yaml", true),
            ("my models/branchline.yaml", false),
            ("$(id)/branchline.yaml", false),
            ("-x/branchline.yaml", false),
            ("ü/branchline.yaml", false),
        ] {
            assert_eq!(plain_path(Path::new(path)).is_some(), fits, "{path}");
        }
    }
}
