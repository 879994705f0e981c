//! The placeholders in a pipeline's commands: `{{$.inputs.parameters['x']}}` and its kin.

/// One placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholder<'a> {
    /// `{{$}}`: everything there is to know, as JSON.
    ExecutorInput,
    InputParameter(&'a str),
    InputArtifact(&'a str, Property<'a>),
    /// The file into which the task writes the parameter's value.
    OutputParameterFile(&'a str),
    OutputArtifact(&'a str, Property<'a>),
    /// The file that tells metadata of output artifacts: `executor_output.json`.
    OutputFile,
    /// A fact about the run.
    Pipeline(Fact),
}

/// What is asked of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Property<'a> {
    Uri,
    Path,
    Metadata(&'a str),
}

/// What is asked of the pipeline's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    JobName,
    JobResourceName,
    JobId,
    TaskName,
    TaskId,
    Root,
}

impl<'a> Placeholder<'a> {
    /// All placeholders of a text; those that cannot be read are errors.
    pub(super) fn all(text: &'a str) -> impl Iterator<Item = Result<Self, &'a str>> {
        pieces(text).filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Placeholder(inside) => Some(Self::parse(inside).ok_or(inside)),
        })
    }

    /// Reads what stands between `{{$` and `}}`.
    fn parse(inside: &'a str) -> Option<Self> {
        if let Some(rest) = inside.strip_prefix(".inputs.parameters") {
            let (name, rest) = quoted(rest)?;
            return rest.is_empty().then_some(Self::InputParameter(name));
        }
        if let Some(rest) = inside.strip_prefix(".inputs.artifacts") {
            let (name, rest) = quoted(rest)?;
            return Some(Self::InputArtifact(name, Property::parse(rest)?));
        }
        if let Some(rest) = inside.strip_prefix(".outputs.parameters") {
            let (name, rest) = quoted(rest)?;
            return (rest == ".output_file").then_some(Self::OutputParameterFile(name));
        }
        if let Some(rest) = inside.strip_prefix(".outputs.artifacts") {
            let (name, rest) = quoted(rest)?;
            return Some(Self::OutputArtifact(name, Property::parse(rest)?));
        }
        match inside {
            "" => Some(Self::ExecutorInput),
            ".outputs.output_file" => Some(Self::OutputFile),
            ".pipeline_job_name" => Some(Self::Pipeline(Fact::JobName)),
            ".pipeline_job_resource_name" => Some(Self::Pipeline(Fact::JobResourceName)),
            ".pipeline_job_uuid" => Some(Self::Pipeline(Fact::JobId)),
            ".pipeline_task_name" => Some(Self::Pipeline(Fact::TaskName)),
            ".pipeline_task_uuid" => Some(Self::Pipeline(Fact::TaskId)),
            ".pipeline_root" => Some(Self::Pipeline(Fact::Root)),
            _ => None,
        }
    }
}

impl<'a> Property<'a> {
    fn parse(rest: &'a str) -> Option<Self> {
        match rest {
            ".uri" => Some(Self::Uri),
            ".path" => Some(Self::Path),
            other => {
                let (key, rest) = quoted(other.strip_prefix(".metadata")?)?;
                rest.is_empty().then_some(Self::Metadata(key))
            }
        }
    }
}

/// Reads `['name']`.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("['")?.split_once("']")
}

enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (text, from) = rest.split_at(rest.find("{{$").unwrap_or(rest.len()));
        if !text.is_empty() {
            rest = from;
            return Some(Piece::Text(text));
        }
        // A placeholder that is never closed is plain text.
        let Some((inside, after)) = from["{{$".len()..].split_once("}}") else {
            rest = "";
            return Some(Piece::Text(from));
        };
        rest = after;
        Some(Piece::Placeholder(inside))
    })
}

/// Fills a text in; `value` says what a placeholder stands for. One that stands
/// for nothing, such as an optional input that was left out, becomes empty.
pub(super) fn fill(text: &str, value: impl Fn(Placeholder<'_>) -> Option<String>) -> String {
    pieces(text)
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Placeholder(inside) => {
                Placeholder::parse(inside).and_then(&value).unwrap_or_default()
            }
        })
        .collect()
}
