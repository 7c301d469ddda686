//! Writes the resource definition to the places that ship it, or with `--check` fails when one of
//! them differs from what the types say.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: crdgen [--check] [--root DIR]   (DIR: the repository; default: .)";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("crdgen: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<(), String> {
    let mut check = false;
    let mut root = PathBuf::from(".");
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--check" => check = true,
            "--root" => root = args.next().ok_or(USAGE)?.into(),
            _ => return Err(USAGE.to_owned()),
        }
    }
    for (path, text) in crds::schema::outputs().map_err(|error| error.to_string())? {
        let path = root.join(path);
        if check { compare(&path, &text)? } else { write(&path, &text)? }
    }
    Ok(())
}

fn compare(path: &Path, text: &str) -> Result<(), String> {
    let found = std::fs::read_to_string(path)
        .map_err(|error| format!("read {}: {error}", path.display()))?;
    if found == text {
        return Ok(());
    }
    Err(format!("{} is out of date; run: cargo run --release -p crds --bin crdgen", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("write {}: {error}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)?;
    println!("wrote {}", path.display());
    Ok(())
}
