//! What the container image is built from, told before a build of ten minutes does.

use std::path::{Component, Path, PathBuf};

use crate::repository::{file, none, product};

#[test]
fn what_the_executable_includes_is_sent_to_the_image_s_builder() {
    let sent = file("deploy/Dockerfile.dockerignore").text;
    let sent: Vec<_> = sent.lines().filter_map(|it| it.strip_prefix('!')).collect();
    assert!(sent.contains(&"crates") && sent.contains(&"Cargo.lock"), "{sent:?}");
    let mut missing = Vec::new();
    for it in product() {
        for including in it.text.split("include_str!(\"").skip(1) {
            let included = including.split('"').next().unwrap_or_default();
            let path = normal(&Path::new(&it.path).with_file_name(included));
            if !sent.iter().any(|sent| path.starts_with(sent)) {
                missing.push(format!("{} includes {}", it.path, path.display()));
            }
        }
    }
    none(missing);
}

#[test]
fn the_image_is_built_with_the_toolchain_that_is_tested() {
    let toolchain = file("rust-toolchain.toml").text;
    let version = toolchain.split("channel = \"").nth(1).and_then(|it| it.split('"').next());
    let (minor, _) = version.and_then(|it| it.rsplit_once('.')).expect("a version of three parts");
    let builder = format!("ARG BUILDER=docker.io/library/rust:{minor}-bookworm\n");
    assert!(file("deploy/Dockerfile").text.contains(&builder), "deploy/Dockerfile lacks {builder}");
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}
