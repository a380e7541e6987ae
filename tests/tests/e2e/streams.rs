//! exec, attach and port-forward: SPDY and WebSocket, old clients and new ones.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use naru_tests::support::{Kubectl, run, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Case, cases};
use crate::kubectl::Running;
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    exec_works_alike_over_websocket_and_spdy,
    much_output_arrives_at_a_slow_reader,
    a_terminal_has_the_size_of_its_window,
    a_client_that_goes_takes_its_streams_along,
    ports_are_forwarded_over_websocket_and_spdy,
    a_library_executes_and_forwards_over_websocket,
    who_may_only_look_opens_no_streams,
];

/// What kubectl is told, and whether it then speaks WebSocket.
const WAYS: [(&str, bool); 2] = [("true", true), ("false", false)];

fn command(kubectl: &Kubectl, space: &Space<'_>, websocket: &str, args: &[&str]) -> Command {
    let mut command = kubectl.command(&[&["-n", &space.name], args].concat());
    command
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websocket)
        .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websocket);
    command
}

fn exec_works_alike_over_websocket_and_spdy(world: &World) -> Result<()> {
    let space = world.namespace("exec-ways")?;
    space.landing_pod("shell", None)?;
    for (way, websocket) in WAYS {
        let exec = |args: &[&str]| command(&world.kubectl, &space, way, args);
        let script = "cat; echo done; echo oops >&2; exit 7";
        let args = ["exec", "-v=6", "-i", "shell", "--", "sh", "-c", script];
        let mut exec = exec(&args);
        let mut child = exec
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // cat ends because its input does: the end of input travels alone.
        child.stdin.take().context("piped")?.write_all(b"in\n")?;
        let output = child.wait_with_output()?;
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        ensure!(stdout == "in\ndone\n", "{way}: {stdout:?} {stderr}");
        ensure!(output.status.code() == Some(7), "{way}: {output:?}");
        ensure!(stderr.contains("oops"), "{way}: {stderr}");
        let spoken = stderr.contains("v5.channel.k8s.io");
        ensure!(spoken == websocket, "{way}: {stderr}");
        let mut absent = command(
            &world.kubectl,
            &space,
            way,
            &["exec", "shell", "--", "none"],
        );
        let absent = absent.stdin(Stdio::null()).output()?;
        ensure!(!absent.status.success(), "{way}: a command that is none");
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn much_output_arrives_at_a_slow_reader(world: &World) -> Result<()> {
    const BYTES: usize = 32 << 20;
    let space = world.namespace("exec-much")?;
    space.landing_pod("shell", None)?;
    let count = BYTES.to_string();
    for (way, _) in WAYS {
        let args = ["exec", "shell", "--", "head", "-c", &count, "/dev/zero"];
        let mut exec = command(&world.kubectl, &space, way, &args);
        let mut exec = Running(exec.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let mut stdout = exec.0.stdout.take().context("stdout is piped")?;
        let (mut buffer, mut read) = (vec![0; 4096], 0);
        loop {
            let bytes = stdout.read(&mut buffer)?;
            read += bytes;
            ensure!(buffer[..bytes].iter().all(|byte| *byte == 0), "{way}");
            if bytes == 0 {
                break;
            }
        }
        ensure!(read == BYTES, "{way}: {read} bytes");
        ensure!(exec.0.wait()?.success(), "{way}");
    }
    Ok(())
}

fn a_terminal_has_the_size_of_its_window(world: &World) -> Result<()> {
    let space = world.namespace("exec-size")?;
    space.landing_pod("shell", None)?;
    for (way, _) in WAYS {
        let script =
            "'until stty size | grep -q \"45 123\"; do sleep 0.1; done; echo a-$((40+2))-fit'";
        let args = ["exec", "-it", "shell", "--", "sh", "-c", script];
        let exec = command(&world.kubectl, &space, way, &args);
        let line: Vec<_> = std::iter::once(exec.get_program())
            .chain(exec.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let inside = format!(
            "stty rows 45 cols 123; timeout --foreground 60 {}",
            line.join(" ")
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &inside, "/dev/null"]);
        script.envs(
            exec.get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        );
        let said = run::checked(&mut script)?;
        ensure!(said.contains("a-42-fit"), "{way}: {said}");
    }
    Ok(())
}

fn a_client_that_goes_takes_its_streams_along(world: &World) -> Result<()> {
    let space = world.namespace("exec-gone")?;
    space.landing_pod("shell", None)?;
    for (way, _) in WAYS {
        let script = "echo here; exec cat";
        let args = ["exec", "-i", "shell", "--", "sh", "-c", script];
        let mut exec = command(&world.kubectl, &space, way, &args);
        let piped = exec.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut exec = Running(piped.spawn()?);
        let stdout = exec.0.stdout.take().context("stdout is piped")?;
        let first = BufReader::new(stdout).lines().next().transpose()?;
        ensure!(first.as_deref() == Some("here"), "{way}: {first:?}");
        ensure!(cats(&space)? == 1, "{way}: the command does not run");
        // Without a word: SIGKILL.
        exec.0.kill()?;
        wait::until(&format!("{way}: the command's end"), PATIENCE, || {
            Ok((cats(&space)? == 0).then_some(()))
        })?;
    }
    Ok(())
}

/// How many processes called `cat` the pod has.
fn cats(space: &Space<'_>) -> Result<usize> {
    let script = "grep -lx cat /proc/[0-9]*/comm | wc -l";
    let count = space.exec("shell", &["sh", "-c", script])?;
    Ok(count.trim().parse()?)
}

fn ports_are_forwarded_over_websocket_and_spdy(world: &World) -> Result<()> {
    let space = world.namespace("forward-ways")?;
    space.landing_pod("target", None)?;
    for (way, websocket) in WAYS {
        let args = ["port-forward", "-v=6", "pod/target", ":8080", ":8081"];
        let mut forward = command(&world.kubectl, &space, way, &args);
        let piped = forward.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut forward = Running(piped.spawn()?);
        let stdout = forward.0.stdout.take().context("stdout is piped")?;
        let stderr = forward.0.stderr.take().context("stderr is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let open = port(&mut lines)?;
        for _ in 0..3 {
            let status = first_line(open)?;
            ensure!(status.starts_with("HTTP/1.1 200"), "{way}: {status:?}");
        }
        // Nobody listens there: the connection ends without a word, the next one works.
        let closed = loop {
            let port = port(&mut lines)?;
            if port != open {
                break port;
            }
        };
        ensure!(first_line(closed)?.is_empty(), "{way}: an answer of nobody");
        drop(forward);
        let mut said = String::new();
        BufReader::new(stderr).read_to_string(&mut said)?;
        let spoken = said.contains("WebSocket Upgrade");
        ensure!(spoken == websocket, "{way}: {said}");
    }
    Ok(())
}

/// The next local port that port-forward names.
fn port(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Result<u16> {
    for line in lines {
        let line = line?;
        let port = line.split("127.0.0.1:").nth(1);
        if let Some(port) = port.and_then(|text| text.split(' ').next()) {
            return Ok(port.parse()?);
        }
    }
    anyhow::bail!("port-forward named no port")
}

/// What an HTTP server on a local port begins its answer with; empty when it ends at once.
fn first_line(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut line = String::new();
    // A reset is an end, too.
    let _ = BufReader::new(&stream).read_line(&mut line);
    Ok(line)
}

/// kube-rs forwards ports in the way of older clients, a channel for each port and its errors.
fn a_library_executes_and_forwards_over_websocket(world: &World) -> Result<()> {
    let space = world.namespace("library")?;
    space.landing_pod("target", None)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let talk = async {
        let pods: Api<Pod> = Api::namespaced(client(world).await?, &space.name);
        tokio::time::timeout(PATIENCE, executes(&pods))
            .await
            .context("exec")??;
        tokio::time::timeout(PATIENCE, forwards(&pods))
            .await
            .context("port-forward")?
    };
    runtime.block_on(talk)
}

async fn client(world: &World) -> Result<kube::Client> {
    // Whoever comes second finds it done.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = kube::config::Kubeconfig::read_from(world.cluster.layout.kubeconfig())?;
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await?;
    Ok(kube::Client::try_from(config)?)
}

async fn executes(pods: &Api<Pod>) -> Result<()> {
    let params = AttachParams::default().stdin(true).stderr(false);
    let command = ["sh", "-c", "read word; echo heard $word; exit 3"];
    let mut process = pods.exec("target", command, &params).await?;
    let mut stdin = process.stdin().context("no input")?;
    stdin.write_all(b"hello\n").await?;
    let mut said = String::new();
    let mut stdout = process.stdout().context("no output")?;
    stdout.read_to_string(&mut said).await?;
    ensure!(said == "heard hello\n", "{said:?}");
    let status = process.take_status().context("no status")?.await;
    let status = format!("{status:?}");
    ensure!(status.contains("NonZeroExitCode"), "{status}");
    Ok(())
}

async fn forwards(pods: &Api<Pod>) -> Result<()> {
    let mut forward = pods.portforward("target", &[8080]).await?;
    let mut stream = forward.take_stream(8080).context("no stream")?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == *b"HTTP/1.1 200", "{answer:?}");
    Ok(())
}

fn who_may_only_look_opens_no_streams(world: &World) -> Result<()> {
    let space = world.namespace("look")?;
    space.landing_pod("shell", None)?;
    let role = [
        "create",
        "role",
        "look",
        "--verb=get",
        "--resource=pods,pods/exec",
    ];
    space.run(&role)?;
    space.run(&[
        "create",
        "rolebinding",
        "look",
        "--role=look",
        "--user=watcher",
    ])?;
    for (way, _) in WAYS {
        let args = ["exec", "--as=watcher", "shell", "--", "echo", "hello"];
        let mut exec = command(&world.kubectl, &space, way, &args);
        let output = exec.stdin(Stdio::null()).output()?;
        let said = text(&output.stderr);
        ensure!(
            !output.status.success() && said.contains("orbidden"),
            "{way}: {said}"
        );
    }
    Ok(())
}
