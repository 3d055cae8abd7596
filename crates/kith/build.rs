//! Tells the binary which commit and compiler it was built from, for the manifest of a run.

use std::process::Command;

fn main() {
    // The log grows with every commit; HEAD itself names only the branch.
    println!("cargo::rerun-if-changed=../../.git/logs/HEAD");
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(commit) = first_line("git", &["rev-parse", "HEAD"]) {
        println!("cargo::rustc-env=KITH_COMMIT={commit}");
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    if let Some(version) = first_line(&rustc, &["--version"]) {
        println!("cargo::rustc-env=KITH_RUSTC={version}");
    }
}

/// What a command says first, if there is such a command and it succeeds.
fn first_line(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}
