//! An unmodified kubectl, driven as a user drives it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use super::run;

/// One kubectl program and the cluster that it talks to.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// `program` against the cluster of `kubeconfig`.
    pub fn new(program: impl Into<PathBuf>, kubeconfig: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            kubeconfig: kubeconfig.into(),
        }
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command with the cluster set, to be run by the caller.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env_remove("KUBECTL_EXTERNAL_DIFF");
        // Discovery is cached per server address; a fresh cluster on the same port is another one.
        command
            .arg("--cache-dir")
            .arg(self.kubeconfig.with_extension("cache"))
            .args(args);
        command
    }

    /// Runs it and returns its standard output.
    ///
    /// # Errors
    /// When it exits with another status than 0; the error carries its stderr.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        run::checked(&mut self.command(args))
    }

    /// Runs it with `input` as its standard input.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn pipe(&self, args: &[&str], input: &str) -> Result<String> {
        run::with_input(&mut self.command(args), input)
    }

    /// Runs it whatever its exit status.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn output(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.command(args);
        command
            .stdin(Stdio::null())
            .output()
            .with_context(|| self.program.display().to_string())
    }

    /// Runs it, expects a failure and returns what it said.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn refused(&self, args: &[&str], input: Option<&str>) -> Result<String> {
        let outcome = match input {
            Some(text) => self.pipe(args, text),
            None => self.run(args),
        };
        match outcome {
            Ok(stdout) => bail!("kubectl {} succeeded: {stdout}", args.join(" ")),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// Reads an object or a list as JSON.
    ///
    /// # Errors
    /// When kubectl fails or prints no JSON.
    pub fn json(&self, args: &[&str]) -> Result<serde_json::Value> {
        let all: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        Ok(serde_json::from_str(&self.run(&all)?)?)
    }

    /// Reads one field by kubectl's jsonpath, without the braces.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn field(&self, object: &[&str], path: &str) -> Result<String> {
        let output = format!("jsonpath={{{path}}}");
        let all: Vec<&str> = ["get"]
            .iter()
            .chain(object)
            .copied()
            .chain(["-o", &output])
            .collect();
        self.run(&all)
    }
}
