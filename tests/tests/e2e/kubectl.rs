//! Unmodified kubectl, the newest and the oldest that must work.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use naru_tests::support::{Kubectl, layout, run};

use crate::harness::{Case, cases};
use crate::world::{PATIENCE, Space, World, landing_pod, landing_service};

pub(crate) const CASES: &[Case] = cases![
    version_and_discovery_work,
    explain_describes_fields,
    an_unknown_field_is_refused_by_its_path,
    bad_objects_get_one_specific_error,
    applying_twice_changes_nothing,
    the_shop_can_be_applied_twice,
    get_prints_tables_and_formats,
    get_watch_shows_changes_as_they_happen,
    objects_can_be_edited_patched_labelled_and_annotated,
    describe_shows_events,
    logs_are_read_and_followed,
    exec_carries_input_output_and_exit_code,
    port_forward_reaches_a_pod,
    wait_sees_a_condition,
];

fn version_and_discovery_work(world: &World) -> Result<()> {
    for kubectl in [&world.kubectl, &world.oldest] {
        let version = kubectl.json(&["version"])?;
        ensure!(version["serverVersion"]["major"] == "1", "{version}");
        let info = kubectl.run(&["cluster-info"])?;
        ensure!(info.contains("127.0.0.1"), "{info}");
        let kinds = kubectl.run(&["api-resources", "-o", "name"])?;
        for kind in [
            "pods",
            "deployments.apps",
            "networkpolicies.networking.k8s.io",
            "leases.coordination.k8s.io",
        ] {
            ensure!(kinds.lines().any(|l| l == kind), "{kind} is not in {kinds}");
        }
    }
    Ok(())
}

fn explain_describes_fields(world: &World) -> Result<()> {
    for kubectl in [&world.kubectl, &world.oldest] {
        let text = kubectl.run(&["explain", "deployment.spec.strategy"])?;
        ensure!(text.contains("rollingUpdate"), "{text}");
    }
    Ok(())
}

fn an_unknown_field_is_refused_by_its_path(world: &World) -> Result<()> {
    world.with_both("wrong", |kubectl, space| {
        let wrong = landing_pod("wrong", None).replace("args:", "argz:");
        let said = kubectl.refused(&["-n", &space.name, "create", "-f", "-"], Some(&wrong))?;
        ensure!(said.contains("argz"), "{said}");
        Ok(())
    })
}

fn bad_objects_get_one_specific_error(world: &World) -> Result<()> {
    let space = world.namespace("bad")?;
    let refuse = |yaml: &str| {
        world
            .kubectl
            .refused(&["-n", &space.name, "create", "-f", "-"], Some(yaml))
    };
    let nameless = refuse(&landing_pod("Not_A_Name", None))?;
    ensure!(nameless.contains("metadata.name"), "{nameless}");
    let service = landing_service("x", 1).replace("port: 80,", "port: 123456,");
    let port = refuse(&service)?;
    ensure!(port.contains("spec.ports[0].port"), "{port}");
    let missing = world
        .kubectl
        .refused(&["-n", &space.name, "get", "pod", "nobody"], None)?;
    ensure!(missing.contains("NotFound"), "{missing}");
    // Without the client's own validation, which would ask for custom resources first.
    let unicorn = "apiVersion: v1\nkind: Unicorn\nmetadata: {name: x}\n";
    let create = ["-n", &space.name, "create", "--validate=false", "-f", "-"];
    let kind = world.kubectl.refused(&create, Some(unicorn))?;
    ensure!(kind.contains("Unicorn"), "{kind}");
    Ok(())
}

fn applying_twice_changes_nothing(world: &World) -> Result<()> {
    world.with_both("twice", |kubectl, space| {
        let apply = || {
            kubectl.pipe(
                &["-n", &space.name, "apply", "-f", "-"],
                &landing_service("web", 1),
            )
        };
        let first = apply()?;
        ensure!(first.lines().all(|l| l.ends_with(" created")), "{first}");
        let second = apply()?;
        ensure!(
            second.lines().all(|l| l.ends_with(" unchanged")),
            "{second}"
        );
        Ok(())
    })
}

fn the_shop_can_be_applied_twice(world: &World) -> Result<()> {
    let shop = layout::checkout().join("examples/shop");
    let shop = shop.to_string_lossy();
    world.kubectl.run(&["apply", "-f", &shop])?;
    world.kubectl.run(&[
        "-n",
        "shop",
        "wait",
        "--for=condition=Available",
        "--timeout=90s",
        "deployment",
        "--all",
    ])?;
    for kubectl in [&world.kubectl, &world.oldest] {
        let again = kubectl.run(&["apply", "-f", &shop])?;
        // A Secret given as stringData is written afresh by design: the server has only its data.
        let changed: Vec<_> = again
            .lines()
            .filter(|l| !l.ends_with("unchanged") && !l.starts_with("secret/"))
            .collect();
        ensure!(changed.is_empty(), "{changed:?}");
    }
    Ok(())
}

fn get_prints_tables_and_formats(world: &World) -> Result<()> {
    world.with_both("get", |kubectl, space| {
        space.landing_pod("one", Some(1))?;
        let get = |args: &[&str]| kubectl.run(&[&["-n", &space.name, "get"], args].concat());
        let table = get(&["pods"])?;
        ensure!(
            table.starts_with("NAME ") && table.contains("1/1") && table.contains("Running"),
            "{table}"
        );
        let wide = get(&["pods", "-o", "wide"])?;
        ensure!(wide.contains("node1") && wide.contains("10.244."), "{wide}");
        ensure!(get(&["pods", "-o", "name"])?.trim() == "pod/one");
        ensure!(get(&["pod", "one", "-o", "yaml"])?.contains("kind: Pod"));
        ensure!(
            get(&["pods", "-l", "app=one", "-o", "name"])?
                .lines()
                .count()
                == 1
        );
        ensure!(get(&["pods", "-l", "app!=one", "-o", "name"])?.is_empty());
        ensure!(
            get(&[
                "pods",
                "--field-selector",
                "spec.nodeName=node1",
                "-o",
                "name"
            ])?
            .lines()
            .count()
                == 1
        );
        ensure!(
            get(&[
                "pods",
                "--field-selector",
                "status.phase=Failed",
                "-o",
                "name"
            ])?
            .is_empty()
        );
        ensure!(kubectl.run(&["get", "pods", "-A"])?.contains(&space.name));
        Ok(())
    })
}

fn get_watch_shows_changes_as_they_happen(world: &World) -> Result<()> {
    world.with_both("watch", |kubectl, space| {
        space.run(&["create", "configmap", "before"])?;
        let mut command =
            kubectl.command(&["-n", &space.name, "get", "configmaps", "-w", "-o", "name"]);
        let mut watch = Running(command.stdout(Stdio::piped()).spawn()?);
        let stdout = watch.0.stdout.take().context("stdout is piped")?;
        // Every new namespace is furnished with that one, at a moment of the controller's choice.
        let furnished = |line: &std::io::Result<String>| {
            matches!(line.as_deref(), Ok("configmap/kube-root-ca.crt"))
        };
        let mut lines = BufReader::new(stdout)
            .lines()
            .filter(|line| !furnished(line));
        ensure!(lines.next().transpose()?.as_deref() == Some("configmap/before"));
        space.run(&["create", "configmap", "after"])?;
        ensure!(lines.next().transpose()?.as_deref() == Some("configmap/after"));
        Ok(())
    })
}

fn objects_can_be_edited_patched_labelled_and_annotated(world: &World) -> Result<()> {
    world.with_both("change", |kubectl, space| {
        let run = |args: &[&str]| kubectl.run(&[&["-n", &space.name], args].concat());
        run(&["create", "configmap", "c", "--from-literal=colour=red"])?;
        run(&["label", "configmap", "c", "tier=one"])?;
        run(&["annotate", "configmap", "c", "note=hello"])?;
        run(&[
            "patch",
            "configmap",
            "c",
            "-p",
            r#"{"data":{"shape":"round"}}"#,
        ])?;
        run(&[
            "patch",
            "configmap",
            "c",
            "--type=merge",
            "-p",
            r#"{"data":{"size":"big"}}"#,
        ])?;
        run(&[
            "patch",
            "configmap",
            "c",
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/data/size"}]"#,
        ])?;
        let mut edit = kubectl.command(&["-n", &space.name, "edit", "configmap", "c"]);
        run::checked(edit.env("KUBE_EDITOR", "sed -i s/red/blue/"))?;
        let object = kubectl.json(&["-n", &space.name, "get", "configmap", "c"])?;
        ensure!(
            object["data"] == serde_json::json!({"colour": "blue", "shape": "round"}),
            "{object}"
        );
        ensure!(
            object["metadata"]["labels"]["tier"] == "one"
                && object["metadata"]["annotations"]["note"] == "hello"
        );
        Ok(())
    })
}

fn describe_shows_events(world: &World) -> Result<()> {
    world.with_both("describe", |kubectl, space| {
        space.landing_pod("seen", None)?;
        let text = kubectl.run(&["-n", &space.name, "describe", "pod", "seen"])?;
        for word in ["Scheduled", "Created", "Started"] {
            ensure!(text.contains(word), "no {word} in:\n{text}");
        }
        let node = kubectl.run(&["describe", "node", "node1"])?;
        ensure!(
            node.contains("Allocatable") && node.contains("Non-terminated Pods"),
            "{node}"
        );
        Ok(())
    })
}

fn logs_are_read_and_followed(world: &World) -> Result<()> {
    world.with_both("logs", |kubectl, space| {
        space.landing_pod("talker", None)?;
        let all = kubectl.run(&["-n", &space.name, "logs", "talker"])?;
        ensure!(all.contains("serving on port 8080"), "{all}");
        let mut command = kubectl.command(&["-n", &space.name, "logs", "-f", "talker"]);
        let mut follow = Running(command.stdout(Stdio::piped()).spawn()?);
        let lines = BufReader::new(follow.0.stdout.take().context("stdout is piped")?).lines();
        space.get_from("talker", "http://127.0.0.1:8080/followed")?;
        // The readiness probe keeps the stream from ending without a hit.
        let seen = lines
            .take(200)
            .map_while(Result::ok)
            .any(|l| l.contains("/followed"));
        ensure!(seen, "the line of the request was not followed");
        Ok(())
    })
}

fn exec_carries_input_output_and_exit_code(world: &World) -> Result<()> {
    world.with_both("exec", |kubectl, space| {
        space.landing_pod("shell", None)?;
        let words = |tail: &[&'static str]| {
            [&["-n", space.name.as_str(), "exec"], tail]
                .concat()
                .join("\u{1f}")
        };
        let run = |tail: &[&'static str], input: &str| {
            let line = words(tail);
            kubectl.pipe(&line.split('\u{1f}').collect::<Vec<_>>(), input)
        };
        ensure!(run(&["shell", "--", "echo", "hello"], "")? == "hello\n");
        ensure!(
            run(&["-i", "shell", "--", "cat"], "through the cluster\n")? == "through the cluster\n"
        );
        let line = words(&["shell", "--", "sh", "-c", "echo oops >&2; exit 7"]);
        let output = kubectl.output(&line.split('\u{1f}').collect::<Vec<_>>())?;
        ensure!(output.status.code() == Some(7), "{output:?}");
        ensure!(
            String::from_utf8_lossy(&output.stderr).contains("oops"),
            "{output:?}"
        );
        interactive(kubectl, space)
    })
}

/// With a terminal of its own, made by script(1).
fn interactive(kubectl: &Kubectl, space: &Space<'_>) -> Result<()> {
    let exec = kubectl.command(&["-n", &space.name, "exec", "-it", "shell", "--", "sh"]);
    let line: Vec<_> = std::iter::once(exec.get_program())
        .chain(exec.get_args())
        .map(|w| w.to_string_lossy().into_owned())
        .collect();
    let mut script = std::process::Command::new("script");
    script.args([
        "--quiet",
        "--return",
        "--command",
        &line.join(" "),
        "/dev/null",
    ]);
    script.envs(exec.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let said = run::with_input(&mut script, "test -t 0 && echo a-$((40+2))-tty\nexit\n")?;
    ensure!(said.contains("a-42-tty"), "{said}");
    Ok(())
}

fn port_forward_reaches_a_pod(world: &World) -> Result<()> {
    world.with_both("forward", |kubectl, space| {
        space.landing_pod("target", None)?;
        let mut command =
            kubectl.command(&["-n", &space.name, "port-forward", "pod/target", ":8080"]);
        let mut forward = Running(command.stdout(Stdio::piped()).spawn()?);
        let mut lines = BufReader::new(forward.0.stdout.take().context("stdout is piped")?).lines();
        let first = lines.next().transpose()?.context("port-forward ended")?;
        let port = first
            .split("127.0.0.1:")
            .nth(1)
            .and_then(|t| t.split(' ').next())
            .context(first.clone())?;
        for _ in 0..3 {
            let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
            let mut status = String::new();
            BufReader::new(&stream).read_line(&mut status)?;
            ensure!(status.starts_with("HTTP/1.1 200"), "{status:?}");
        }
        Ok(())
    })
}

fn wait_sees_a_condition(world: &World) -> Result<()> {
    world.with_both("wait", |kubectl, space| {
        space.apply(&landing_service("web", 1))?;
        kubectl.run(&[
            "-n",
            &space.name,
            "wait",
            "--for=condition=Available",
            "--timeout=60s",
            "deployment/web",
        ])?;
        kubectl.run(&["-n", &space.name, "delete", "deployment", "web"])?;
        kubectl
            .run(&[
                "-n",
                &space.name,
                "wait",
                "--for=delete",
                "--timeout=60s",
                "pod",
                "-l",
                "app=web",
            ])
            .map(drop)
            .or_else(
                // 1.20 calls it an error when there is nothing left to wait for.
                |e| {
                    if format!("{e:#}").contains("no matching resources") {
                        Ok(())
                    } else {
                        Err(e)
                    }
                },
            )
    })
}

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
