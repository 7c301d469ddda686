//! Rules of the house that the compiler does not hold. Starts nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail as tests do"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::site::tree;

const LINES: usize = 500;

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(tree()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn tracked() -> Vec<PathBuf> {
    let files = output("git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    files.lines().map(PathBuf::from).filter(|file| tree().join(file).is_file()).collect()
}

fn has_suffix(file: &Path, suffixes: &[&str]) -> bool {
    file.extension().is_some_and(|suffix| suffixes.iter().any(|wanted| suffix == *wanted))
}

/// The crate's page: the nearest ARCHITECTURE.md above a file.
fn architecture(file: &Path) -> Option<String> {
    file.ancestors().skip(1).find_map(|folder| {
        std::fs::read_to_string(tree().join(folder).join("ARCHITECTURE.md")).ok()
    })
}

#[test]
fn no_file_is_over_500_lines_unless_its_architecture_page_says_why() {
    let long: Vec<_> = tracked()
        .into_iter()
        .filter(|file| has_suffix(file, &["rs", "sh", "py", "go"]))
        .filter(|file| {
            let lines = std::fs::read_to_string(tree().join(file)).unwrap().lines().count();
            let name = file.file_name().unwrap().to_str().unwrap();
            lines > LINES && !architecture(file).is_some_and(|page| page.contains(name))
        })
        .collect();
    assert!(long.is_empty(), "over {LINES} lines: {long:?}");
}

#[test]
fn every_crate_has_an_architecture_page() {
    let without: Vec<_> = tracked()
        .into_iter()
        .filter(|file| file.ends_with("Cargo.toml") && file.components().count() > 1)
        .filter(|file| !tree().join(file.with_file_name("ARCHITECTURE.md")).exists())
        .collect();
    assert!(without.is_empty(), "no ARCHITECTURE.md beside {without:?}");
}

#[test]
fn crates_see_only_what_they_may_see() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        // A library for tests.
        ("fuzz", &[][..]),
        ("crds", &["fuzz"]),
        ("operator", &["crds"]),
        ("e2e", &["crds"]),
        ("binlog", &["crds", "fuzz"]),
        ("source", &["crds", "fuzz"]),
        ("archive", &["crds", "fuzz"]),
        ("changes", &["crds", "binlog", "archive", "fuzz"]),
        ("worker", &["crds", "binlog", "source", "archive", "changes"]),
    ]);
    let metadata =
        output("cargo", &["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<_> =
        packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(names, allowed.keys().copied().collect(), "the table above lists every crate");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let seen = dependency["name"].as_str().unwrap();
            if dependency["path"].is_string() {
                assert!(allowed[name].contains(&seen), "{name} must not depend on {seen}");
            }
        }
    }
}

#[test]
fn the_api_crate_has_no_client_runtime_or_database() {
    let tree = output(
        "cargo",
        &["tree", "--package=crds", "--edges=normal", "--prefix=none", "--offline", "--locked"],
    );
    let names: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    for refused in ["kube-client", "tokio", "mysql_async", "mysql_common", "hyper", "aws-sdk-s3"] {
        assert!(!names.contains(refused), "crds depends on {refused}");
    }
}

/// The part of a file that is shipped: tests stand at its end.
fn shipped(file: &Path) -> String {
    let text = std::fs::read_to_string(tree().join(file)).unwrap();
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

#[test]
fn every_reason_is_given_by_somebody() {
    let is_test = |file: &PathBuf| {
        file.iter().any(|part| {
            ["tests", "tests.rs", "benches", "examples"].iter().any(|test| part == *test)
        })
    };
    let shipped: Vec<_> = tracked()
        .into_iter()
        .filter(|file| has_suffix(file, &["rs"]) && !is_test(file))
        .filter(|file| file.starts_with("operator") || file.starts_with("worker"))
        .map(|file| shipped(&file))
        .collect();
    let word =
        |text: &str| text.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
    let given: BTreeSet<_> =
        shipped.iter().flat_map(|text| text.split("Reason::").skip(1).map(word)).collect();
    let unused: Vec<_> = crds::conditions::Reason::ALL
        .iter()
        .filter(|reason| !given.contains(reason.as_str()))
        .collect();
    assert!(unused.is_empty(), "nobody gives {unused:?}: remove them from the list");
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_to_do() {
    // Assembled, so that this file does not find itself.
    let refused =
        [["#[", "ignore"], ["to", "do!("], ["unimpl", "emented!("]].map(|parts| parts.concat());
    for file in tracked().into_iter().filter(|file| has_suffix(file, &["rs"])) {
        let text = std::fs::read_to_string(tree().join(&file)).unwrap();
        for word in &refused {
            assert!(!text.contains(word.as_str()), "{} holds {word}", file.display());
        }
    }
}

#[test]
fn readme_shows_the_figures_as_they_were_measured() {
    let read = |file: &str| std::fs::read_to_string(tree().join(file)).unwrap();
    for (file, mark) in [("worker/figures.md", "figures"), ("operator/figures.md", "fleet")] {
        let measured = read(file);
        let (_, figures) = measured.split_once('\n').unwrap();
        let block = format!("<!-- {mark}: generated -->\n{figures}<!-- end -->\n");
        assert!(read("README.md").contains(&block), "README.md should hold, as {file}:\n{block}");
    }
}
