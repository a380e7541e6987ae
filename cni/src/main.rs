//! naru-cni: the plugin that a container runtime calls.
//!
//! It decodes the call, asks the daemon and prints the answer. Everything that changes the node
//! happens in the daemon, so that one process alone owns addresses, links and maps.

mod loopback;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use naru_node_api::cni::{
    CniError, Command, Invocation, NetworkConfig, Reply, Request, SUPPORTED_VERSIONS, Version, code,
};
use serde_json::{Value, json};

/// Longer than any attachment takes; containerd gives up at about the same time.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut input = Vec::new();
    let outcome = read_input(&mut input).and_then(|()| run(&input));
    let (output, exit) = match outcome {
        Ok(output) => (output, ExitCode::SUCCESS),
        Err(error) => (Some(render_error(&error, &input)), ExitCode::FAILURE),
    };
    match output.map_or(Ok(()), |output| writeln!(std::io::stdout(), "{output}")) {
        Ok(()) => exit,
        Err(_) => ExitCode::FAILURE,
    }
}

fn read_input(input: &mut Vec<u8>) -> Result<(), CniError> {
    std::io::stdin()
        .read_to_end(input)
        .map(drop)
        .map_err(|error| {
            CniError::new(code::IO_FAILURE, "cannot read standard input")
                .with_details(error.to_string())
        })
}

/// The whole call: what to print, if anything.
fn run(input: &[u8]) -> Result<Option<Value>, CniError> {
    let command = command(std::env::var("CNI_COMMAND").ok().as_deref())?;
    if command == Command::Version {
        return Ok(Some(versions(input)));
    }
    if loopback::is_asked(input) {
        let version = Version::parse(asked_version(input)).unwrap_or(Version::NEWEST);
        return Ok(loopback::answer(command, version));
    }
    let config = NetworkConfig::parse(input)?;
    supported(command, config.version)?;
    complete(command, &config)?;
    let invocation = Invocation::from_env(command, |name| std::env::var(name).ok())?;
    let request = Request {
        command,
        invocation,
        config,
    };
    match ask(&request)? {
        Reply::Added(result) => Ok(Some(result.render(request.config.version))),
        Reply::Done => Ok(None),
        Reply::Failed(error) => Err(error),
    }
}

fn command(text: Option<&str>) -> Result<Command, CniError> {
    let text = text.unwrap_or_default();
    serde_json::from_value(Value::from(text)).map_err(|_| {
        let msg = format!("CNI_COMMAND {text:?} is not a command");
        CniError::new(code::INVALID_ENVIRONMENT, msg)
    })
}

/// CHECK came with 0.4.0, GC and STATUS with 1.1.0.
fn supported(command: Command, version: Version) -> Result<(), CniError> {
    let since = match command {
        Command::Check => Version::V0_4_0,
        Command::Gc | Command::Status => Version::V1_1_0,
        Command::Add | Command::Del | Command::Version => return Ok(()),
    };
    if version >= since {
        return Ok(());
    }
    let msg = format!(
        "the command needs a configuration of version {} or later",
        since.as_str()
    );
    Err(CniError::new(code::INCOMPATIBLE_VERSION, msg))
}

/// What a command needs beside its environment, and what it can't be given.
fn complete(command: Command, config: &NetworkConfig) -> Result<(), CniError> {
    let fault = match command {
        Command::Add if config.previous.is_some() => {
            "field \"prevResult\": this plugin makes the pod's interface, and stands first in a list"
        }
        Command::Check if config.previous.is_none() => {
            "field \"prevResult\" is missing: there is nothing to compare with"
        }
        // To take an absent list for an empty one would detach everything.
        Command::Gc if config.valid_attachments.is_none() => {
            "field \"cni.dev/valid-attachments\" is missing"
        }
        _ => return Ok(()),
    };
    Err(CniError::new(code::INVALID_CONFIG, fault))
}

fn versions(input: &[u8]) -> Value {
    json!({"cniVersion": asked_version(input), "supportedVersions": SUPPORTED_VERSIONS})
}

fn render_error(error: &CniError, input: &[u8]) -> Value {
    let mut value = json!({
        "cniVersion": asked_version(input), "code": error.code, "msg": error.msg,
    });
    if !error.details.is_empty() {
        value["details"] = error.details.as_str().into();
    }
    value
}

/// The version in which to answer: the caller's if it is supported, else the newest.
fn asked_version(input: &[u8]) -> &'static str {
    serde_json::from_slice::<Value>(input)
        .ok()
        .and_then(|config| Version::parse(config["cniVersion"].as_str()?))
        .unwrap_or(Version::NEWEST)
        .as_str()
}

fn ask(request: &Request) -> Result<Reply, CniError> {
    let socket = &request.config.socket;
    let unavailable = |error: std::io::Error| {
        let code = match request.command {
            Command::Status => code::LIMITED_CONNECTIVITY,
            _ => code::TRY_AGAIN,
        };
        CniError::new(
            code,
            format!("the node's daemon does not answer at {}", socket.display()),
        )
        .with_details(error.to_string())
    };
    let answer = exchange(request).map_err(unavailable)?;
    serde_json::from_slice(&answer).map_err(|error| {
        CniError::new(code::TRY_AGAIN, "the node's daemon broke off its answer")
            .with_details(error.to_string())
    })
}

fn exchange(request: &Request) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(&request.config.socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&serde_json::to_vec(request)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
