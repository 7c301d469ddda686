//! What the tests of both programs ask of their metrics; each includes this file.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crds::exposition;

/// The README's table of the program's metrics is that of this exposition, in the older form, and promtool finds no
/// fault in it.
pub fn is_told_in_the_readme_and_well_formed(program: &str, classic: &str) {
    let table = exposition::table(classic);
    let block = format!("<!-- {program} metrics: generated -->\n{table}\n<!-- end -->\n");
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(readme.contains(&block), "README.md should hold:\n{block}");
    assert_eq!(promtool_says_of(classic), "");
}

fn promtool_says_of(text: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing; install it with: sudo apt-get install prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat()
}
