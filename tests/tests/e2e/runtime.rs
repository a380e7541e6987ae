//! What a container sees and what one sees of it: files, environment, identity, limits, logs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, ensure};
use naru_tests::support::containerd::Containerd;
use naru_tests::support::process::enter;
use naru_tests::support::{run, wait};

use crate::harness::{Case, cases};
use crate::kubectl::Running;
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    the_downward_api_tells_a_pod_about_itself,
    a_sub_path_mounts_one_part_of_a_volume,
    changed_configuration_reaches_a_running_pod,
    a_service_account_token_is_known_to_the_api,
    resource_limits_are_the_kernels,
    attach_carries_input_and_output,
    followed_logs_survive_a_rotation,
];

fn the_downward_api_tells_a_pod_about_itself(world: &World) -> Result<()> {
    let space = world.namespace("downward")?;
    space.apply(
        "apiVersion: v1
kind: Pod
metadata: {name: self, labels: {tier: gold}, annotations: {note: hello}}
spec:
  terminationGracePeriodSeconds: 1
  nodeName: node2
  serviceAccountName: default
  containers:
  - name: main
    image: naru.dev/landing:v1
    args: [serve]
    resources: {limits: {cpu: 1500m, memory: 64Mi}, requests: {cpu: 100m, memory: 32Mi}}
    env:
    - {name: A_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: A_SPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: A_TIER, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['tier']\"}}}
    - {name: A_ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    - {name: A_HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
    - {name: A_CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: A_MEMORY, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1Mi}}}
    - {name: A_JOINED, value: $(A_NAME)-$(A_CPU)-$$(A_NAME)}
    volumeMounts: [{name: about, mountPath: /about}]
  volumes:
  - name: about
    downwardAPI:
      items:
      - {path: labels, fieldRef: {fieldPath: metadata.labels}}
      - {path: deep/note, fieldRef: {fieldPath: \"metadata.annotations['note']\"}}
      - {path: memory, resourceFieldRef: {containerName: main, resource: limits.memory}}
",
    )?;
    space.pods_ready(&["self"])?;
    let script = "echo $A_NAME $A_SPACE $A_TIER $A_ACCOUNT $A_HOST $A_CPU $A_MEMORY; echo \"$A_JOINED\"; \
                  cat /about/labels; echo; cat /about/deep/note; echo; cat /about/memory";
    let said = space.exec("self", &["sh", "-c", script])?;
    let wanted = format!(
        "self {} gold default 192.168.77.102 2 32\nself-2-$(A_NAME)\ntier=\"gold\"\nhello\n67108864",
        space.name
    );
    ensure!(said.trim_end() == wanted, "{said:?} instead of {wanted:?}");
    // The volume follows the labels; the environment is what it was at the start.
    space.run(&["label", "pod", "self", "tier=silver", "--overwrite"])?;
    file_becomes(&space, "self", "/about/labels", "tier=\"silver\"")?;
    ensure!(space.exec("self", &["sh", "-c", "echo $A_TIER"])?.trim() == "gold");
    Ok(())
}

fn file_becomes(space: &Space<'_>, pod: &str, path: &str, wanted: &str) -> Result<()> {
    wait::until(&format!("{path} in {pod}"), PATIENCE, || {
        let text = space.exec(pod, &["cat", path])?;
        ensure!(text.trim_end() == wanted, "it is {text:?}");
        Ok(Some(()))
    })
}

/// ConfigMap `settings`, Secret `keys`, and a pod `reader` that mounts them in several ways.
fn reader(space: &Space<'_>) -> Result<()> {
    space.apply(
        "apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, shape: round}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {token: one}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: naru.dev/landing:v1
    args: [serve]
    env: [{name: WHO, value: main}]
    volumeMounts:
    - {name: settings, mountPath: /etc/settings}
    - {name: settings, mountPath: /etc/colour, subPath: colour}
    - {name: keys, mountPath: /etc/keys, readOnly: true}
    - {name: scratch, mountPath: /data/all}
    - {name: scratch, mountPath: /data/part, subPath: deep/part}
    - {name: scratch, mountPath: /data/mine, subPathExpr: of-$(WHO)}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys}}
  - {name: scratch, emptyDir: {}}
",
    )?;
    space.pods_ready(&["reader"])
}

fn a_sub_path_mounts_one_part_of_a_volume(world: &World) -> Result<()> {
    let space = world.namespace("subpath")?;
    reader(&space)?;
    let script = "cat /etc/colour; echo; ls /etc/settings | tr '\\n' ' '; echo; \
                  echo p > /data/part/f; echo m > /data/mine/f; cat /data/all/deep/part/f /data/all/of-main/f";
    let said = space.exec("reader", &["sh", "-c", script])?;
    ensure!(said == "blue\ncolour shape \np\nm\n", "{said:?}");
    // A way out of the volume is refused, and says so.
    let escape = crate::world::landing_pod("escape", None)
        + "    volumeMounts: [{name: scratch, mountPath: /x, subPath: ../../etc}]\n  volumes: [{name: scratch, emptyDir: {}}]\n";
    let kubectl = &world.kubectl;
    let said = kubectl.refused(&["-n", &space.name, "create", "-f", "-"], Some(&escape))?;
    ensure!(said.contains("subPath"), "{said}");
    Ok(())
}

fn changed_configuration_reaches_a_running_pod(world: &World) -> Result<()> {
    let space = world.namespace("change")?;
    reader(&space)?;
    space.run(&[
        "patch",
        "configmap",
        "settings",
        "-p",
        r#"{"data":{"colour":"green"}}"#,
    ])?;
    space.run(&[
        "patch",
        "secret",
        "keys",
        "-p",
        r#"{"stringData":{"token":"two"}}"#,
    ])?;
    file_becomes(&space, "reader", "/etc/settings/colour", "green")?;
    file_becomes(&space, "reader", "/etc/keys/token", "two")?;
    // What is mounted by subPath stays, as documented of Kubernetes.
    ensure!(space.exec("reader", &["cat", "/etc/colour"])? == "blue");
    space.run(&[
        "patch",
        "configmap",
        "settings",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/data/shape"}]"#,
    ])?;
    wait::holds("the removed key's file to go", PATIENCE, || {
        space
            .exec("reader", &["test", "-e", "/etc/settings/shape"])
            .is_err()
    })
}

fn a_service_account_token_is_known_to_the_api(world: &World) -> Result<()> {
    let space = world.namespace("token")?;
    space.landing_pod("caller", Some(1))?;
    let secrets = "/var/run/secrets/kubernetes.io/serviceaccount";
    let read = |name: &str| space.exec("caller", &["cat", &format!("{secrets}/{name}")]);
    ensure!(read("namespace")? == space.name);
    let dir = tempfile::tempdir()?;
    let authority = dir.path().join("ca.crt");
    std::fs::write(&authority, read("ca.crt")?)?;
    let address = space.exec(
        "caller",
        &[
            "sh",
            "-c",
            "echo https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT",
        ],
    )?;
    // From the pod's network, by the address and with the files that the pod was given.
    let netns = network_of(world, &space, "caller")?;
    let ask = |path: &str, token: &str| -> Result<(String, String)> {
        let mut command = enter(
            &world.cluster.cgroups.dir("node1/daemons"),
            Some(&netns),
            false,
        );
        command
            .args([
                "curl",
                "--silent",
                "--show-error",
                "--max-time",
                "5",
                "--cacert",
            ])
            .arg(&authority);
        command.args([
            "--header",
            &format!("Authorization: Bearer {token}"),
            "--write-out",
            "\n%{http_code}",
        ]);
        let output = run::checked(command.arg(format!("{}{path}", address.trim())))?;
        let (body, code) = output.rsplit_once('\n').context("curl printed no code")?;
        Ok((code.to_owned(), body.to_owned()))
    };
    let token = read("token")?;
    let (code, body) = ask("/api/v1", &token)?;
    ensure!(
        code == "200" && body.contains("APIResourceList"),
        "{code} {body}"
    );
    // Who it is stands in the refusal of what it may not do.
    let (code, body) = ask(
        &format!("/api/v1/namespaces/{}/secrets", space.name),
        &token,
    )?;
    let user = format!("system:serviceaccount:{}:default", space.name);
    ensure!(code == "403" && body.contains(&user), "{code} {body}");
    let forged = format!("{}x", token.trim_end_matches(|c| c != '.'));
    let (code, body) = ask("/api/v1", &forged)?;
    ensure!(code == "401", "{code} {body}");
    // A token is bound to its pod and ends with it.
    space.run(&["delete", "pod", "caller", "--wait=false"])?;
    wait::until("the end of the pod's token", PATIENCE, || {
        let (code, body) =
            ask("/api/v1", &token).or_else(|_| from_the_node(world, &authority, &token))?;
        ensure!(code == "401", "{code} {body}");
        Ok(Some(()))
    })
}

/// The same question from node 1 itself, whose network outlives the pod's.
fn from_the_node(world: &World, authority: &Path, token: &str) -> Result<(String, String)> {
    let bearer = format!("Authorization: Bearer {token}");
    let authority = authority.to_string_lossy();
    let words = [
        "curl",
        "--silent",
        "--max-time",
        "5",
        "--cacert",
        &authority,
        "--header",
        &bearer,
    ];
    let tail = [
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        "https://10.96.0.1/api/v1",
    ];
    Ok((
        world.on_node(1, &[&words[..], &tail].concat())?,
        String::new(),
    ))
}

/// The first process of a pod's first container, as the machine numbers it.
pub(crate) fn process_of(world: &World, space: &Space<'_>, pod: &str) -> Result<i32> {
    let id = space.field(
        &format!("pod/{pod}"),
        ".status.containerStatuses[0].containerID",
    )?;
    let node = space.field(&format!("pod/{pod}"), ".spec.nodeName")?;
    Containerd::of(&world.cluster.layout, &node).task_pid(&id)
}

/// The network namespace of a pod.
pub(crate) fn network_of(world: &World, space: &Space<'_>, pod: &str) -> Result<PathBuf> {
    let pid = process_of(world, space, pod)?;
    Ok(PathBuf::from(format!("/proc/{pid}/ns/net")))
}

/// A file of a process's cgroups, wherever this machine has that controller: by its name in the
/// unified hierarchy, or by controller and name in an older one.
pub(crate) fn of_cgroup(pid: i32, unified: &str, controller: &str, older: &str) -> Result<String> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mut paths = BTreeMap::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        paths.extend(
            names
                .split(',')
                .map(|name| (name.to_owned(), path.to_owned())),
        );
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mounts: Vec<Vec<&str>> = mounts
        .lines()
        .map(|line| line.split(' ').collect())
        .collect();
    let older_mount = mounts
        .iter()
        .find(|m| m[2] == "cgroup" && m[3].split(',').any(|o| o == controller));
    let (mount, path, name) = match (older_mount, paths.get(controller)) {
        (Some(mount), Some(path)) => (mount[1], path, older),
        _ => {
            let mount = mounts
                .iter()
                .find(|m| m[2] == "cgroup2")
                .context("a cgroup2 mount")?;
            (mount[1], paths.get("").context("a unified group")?, unified)
        }
    };
    let file = Path::new(mount)
        .join(path.trim_start_matches('/'))
        .join(name);
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(text.trim().to_owned())
}

fn resource_limits_are_the_kernels(world: &World) -> Result<()> {
    let space = world.namespace("limits")?;
    let limited = crate::world::landing_pod("limited", Some(1))
        + "    resources: {limits: {cpu: 250m, memory: 48Mi}, requests: {cpu: 100m, memory: 16Mi}}\n";
    space.apply(&limited)?;
    space.pods_ready(&["limited"])?;
    let pid = process_of(world, &space, "limited")?;
    let memory = of_cgroup(pid, "memory.max", "memory", "memory.limit_in_bytes")?;
    ensure!(memory == (48 << 20).to_string(), "memory limit {memory}");
    let quota = of_cgroup(pid, "cpu.max", "cpu", "cpu.cfs_quota_us")?;
    ensure!(
        quota == "25000 100000" || quota == "25000",
        "CPU quota {quota}"
    );
    let shares = of_cgroup(pid, "cpu.weight", "cpu", "cpu.shares")?;
    // 102 shares, which the unified hierarchy has as weight 4.
    ensure!(shares == "102" || shares == "4", "CPU shares {shares}");
    ensure!(space.field("pod/limited", ".status.qosClass")? == "Burstable");
    // What wants more is killed, and the status says by whom.
    let hungry = "apiVersion: v1
kind: Pod
metadata: {name: hungry}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: naru.dev/landing:v1
    command: [sh, -c, 'tail /dev/zero']
    resources: {limits: {memory: 16Mi}}
";
    space.apply(hungry)?;
    let reason = ".status.containerStatuses[0].state.terminated.reason";
    space
        .field_becomes("pod/hungry", reason, |v| v == "OOMKilled")
        .map(drop)
}

fn attach_carries_input_and_output(world: &World) -> Result<()> {
    world.with_both("attach", |kubectl, space| {
        space.apply(
            "apiVersion: v1
kind: Pod
metadata: {name: echo}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: naru.dev/landing:v1, stdin: true, command: [sh, -c, 'while read w; do echo heard $w; done; sleep 60']}]
",
        )?;
        space.pods_ready(&["echo"])?;
        let mut attach = kubectl.command(&["-n", &space.name, "attach", "-i", "echo"]);
        let child = attach.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut attach = Running(child);
        let mut lines = BufReader::new(attach.0.stdout.take().context("stdout is piped")?).lines();
        let mut input = attach.0.stdin.take().context("stdin is piped")?;
        for word in ["one", "two"] {
            std::io::Write::write_all(&mut input, format!("{word}\n").as_bytes())?;
            let line = lines.next().transpose()?;
            ensure!(line == Some(format!("heard {word}")), "{line:?}");
        }
        Ok(())
    })
}

/// Where node `k` keeps the logs of a pod's containers.
fn log_directory(world: &World, space: &Space<'_>, k: u8, pod: &str) -> Result<PathBuf> {
    let uid = space.field(&format!("pod/{pod}"), ".metadata.uid")?;
    let wanted = format!("{}_{pod}_{uid}", space.name);
    let node = world.cluster.layout.member(&format!("node{k}"));
    let directory = node.join("state/logs").join(wanted).join("main");
    ensure!(directory.is_dir(), "no {}", directory.display());
    Ok(directory)
}

fn followed_logs_survive_a_rotation(world: &World) -> Result<()> {
    let space = world.namespace("rotation")?;
    // A burst as large as a log may be, then lines for as long as it takes to be rotated.
    let script = "n=1; count=60000; while [ ! -e /tmp/stop ]; do \
                  seq $n $((n+count-1)) | sed 's/$/ ----------------------------------------------------------------------------------------------------------------------/'; \
                  n=$((n+count)); count=50; sleep 0.01; done; echo end $n; sleep 60";
    space.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: chatty}}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers: [{{name: main, image: naru.dev/landing:v1, command: [sh, -c, \"{script}\"]}}]
"
    ))?;
    space.pods_ready(&["chatty"])?;
    let mut command = world
        .kubectl
        .command(&["-n", &space.name, "logs", "-f", "chatty"]);
    let mut follow = Running(command.stdout(Stdio::piped()).spawn()?);
    let lines = BufReader::new(follow.0.stdout.take().context("stdout is piped")?).lines();
    let reading = std::thread::spawn(move || counted(lines));
    let directory = log_directory(world, &space, 1, "chatty")?;
    wait::holds("the log to be rotated", PATIENCE, || {
        std::fs::read_dir(&directory).is_ok_and(|entries| entries.count() > 1)
    })?;
    // Lines in the new file, too, before the end.
    wait::holds("lines in the new log", PATIENCE, || {
        std::fs::metadata(directory.join("0.log")).is_ok_and(|m| m.len() > 100_000)
    })?;
    space.exec("chatty", &["touch", "/tmp/stop"])?;
    let (seen, end) = reading
        .join()
        .map_err(|_| anyhow!("the reader panicked"))??;
    ensure!(
        end == seen + 1,
        "{seen} lines were followed, {} were written",
        end - 1
    );
    // And afterwards, from the files that are left.
    let tail = space.run(&["logs", "--tail=3", "chatty"])?;
    ensure!(
        tail.lines().count() == 3 && tail.ends_with(&format!("end {end}\n")),
        "{tail}"
    );
    Ok(())
}

/// Reads numbered lines, which must follow one another, up to `end N`.
fn counted(lines: impl Iterator<Item = std::io::Result<String>>) -> Result<(u64, u64)> {
    let mut seen = 0;
    for line in lines {
        let line = line?;
        let mut words = line.split(' ');
        let first = words.next().unwrap_or_default();
        if first == "end" {
            let end = words.next().unwrap_or_default().parse()?;
            return Ok((seen, end));
        }
        let number: u64 = first.parse().with_context(|| line.clone())?;
        ensure!(number == seen + 1, "line {number} follows line {seen}");
        seen = number;
    }
    Err(anyhow!("the log ended after line {seen}"))
}
