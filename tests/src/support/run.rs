//! Short-lived commands: run, wait, and say in the error what was run and what it said.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `program` with `args` and returns its standard output.
///
/// # Errors
/// When it can't be started or exits with another status than 0; the error carries its stderr.
pub fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    checked(&mut command)
}

/// Runs a prepared command and returns its standard output.
///
/// # Errors
/// As [`run`].
pub fn checked(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?}"))?;
    stdout_of(command, &output)
}

/// Runs a prepared command with `input` as its standard input.
///
/// # Errors
/// As [`run`].
pub fn with_input(command: &mut Command, input: &str) -> Result<String> {
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().with_context(|| format!("{command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that exits early closes the pipe; its exit status says why.
        stdin.write_all(input.as_bytes()).ok();
    }
    let output = child.wait_with_output()?;
    stdout_of(command, &output)
}

fn stdout_of(command: &Command, output: &Output) -> Result<String> {
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let program = command.get_program().to_string_lossy();
        let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        bail!(
            "{program} {}: {}: {}",
            args.join(" "),
            output.status,
            stderr.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_command_and_stderr() {
        let error = run("sh", &["-c", "echo broken >&2; exit 3"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("broken") && error.contains("exit status: 3"),
            "{error}"
        );
    }

    #[test]
    fn input_reaches_the_command() {
        assert_eq!(
            with_input(&mut Command::new("cat"), "hello").unwrap(),
            "hello"
        );
    }
}
