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
fn bill_of_materials_names_what_is_compiled_in_and_is_the_same_each_time() {
    let bill = || output("python3", &["e2e/release/sbom.py", "x86_64-unknown-linux-gnu"]);
    let text = bill();
    assert_eq!(text, bill());
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let components = document["components"].as_array().unwrap();
    let names: BTreeSet<_> = components.iter().filter_map(|it| it["name"].as_str()).collect();
    for shipped in ["operator", "worker", "crds", "kube", "parquet", "rustls"] {
        assert!(names.contains(shipped), "{shipped} is missing");
    }
    for other in ["e2e", "proptest", "insta", "mysql_async"] {
        assert!(!names.contains(other), "{other} is not in the programs");
    }
    for component in components {
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        assert!(component["purl"].as_str().is_some_and(|it| it.starts_with("pkg:cargo/")));
    }
    let refs: BTreeSet<_> =
        components.iter().map(|it| &it["bom-ref"]).map(|it| it.as_str()).collect();
    assert_eq!(refs.len(), components.len());
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
        ("operator", &["crds", "traces"]),
        ("e2e", &["crds"]),
        ("binlog", &["crds", "fuzz"]),
        ("source", &["crds", "fuzz"]),
        ("archive", &["crds", "fuzz"]),
        ("changes", &["crds", "binlog", "archive", "fuzz"]),
        // Below both programs, and about neither.
        ("traces", &["crds"]),
        ("worker", &["crds", "binlog", "source", "archive", "changes", "traces"]),
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

/// The part of a file that tests: all of a test's, the end of any other.
fn testing(file: &str) -> String {
    let text = std::fs::read_to_string(tree().join(file)).unwrap();
    if file.contains("/tests/") || file.ends_with("/tests.rs") {
        return text;
    }
    text.split_once("#[cfg(test)]").map(|(_, tests)| tests.to_owned()).unwrap_or_default()
}

#[test]
fn every_reason_is_reached_where_the_table_says() {
    let table = std::fs::read_to_string(tree().join("e2e/REASONS.md")).unwrap();
    let rows: Vec<Vec<_>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let named: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let all: Vec<_> = crds::conditions::Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(named, all, "one row for each reason, in their order");
    for row in rows {
        let [reason, files, why] = row.as_slice() else { panic!("{row:?} has not three cells") };
        let reason = reason.trim_matches('`');
        let is_suite = |file: &&str| file.starts_with("e2e/tests/");
        let files: Vec<_> =
            files.split('`').filter(|file| has_suffix(Path::new(file), &["rs"])).collect();
        assert_ne!(files.iter().any(is_suite), !why.is_empty(), "{reason}: a suite, or why not");
        for file in files {
            let text = testing(file);
            let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
            assert!(words.any(|word| word == reason), "{file} does not reach {reason}");
        }
    }
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
fn security_page_shows_the_rights_that_the_authorizer_is_asked_about() {
    let page = std::fs::read_to_string(tree().join("SECURITY.md")).unwrap();
    let block = format!("<!-- rights: generated -->\n{}<!-- end -->\n", e2e::rights::markdown());
    assert!(page.contains(&block), "SECURITY.md should hold:\n{block}");
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
