//! A pod as the runtime sees it: a network namespace, attached by the real plugin.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::Node;
use super::netns::Netns;

/// A sandbox that is attached.
pub struct Pod {
    /// Its name in namespace `shop`.
    pub name: String,
    /// Its network namespace.
    pub netns: Netns,
    /// Its first address.
    pub address: String,
    /// What the ADD printed.
    pub result: Value,
    sandbox: String,
    socket: PathBuf,
    plugin: PathBuf,
}

/// Calls the plugin; whether it succeeded, and what it printed.
pub fn call(
    plugin: &Path,
    socket: &Path,
    command: &str,
    sandbox: &str,
    pod: Option<(&str, &Path)>,
) -> (bool, Value) {
    call_with(plugin, &config(socket), command, sandbox, pod)
}

/// The configuration of a node.
pub fn config(socket: &Path) -> Value {
    json!({"cniVersion": "1.1.0", "name": "naru", "type": "naru-cni", "socket": socket})
}

/// Calls the plugin with a configuration. A pod is of the namespace `shop` unless its name is
/// written `NAMESPACE/NAME`.
pub fn call_with(
    plugin: &Path,
    config: &Value,
    command: &str,
    sandbox: &str,
    pod: Option<(&str, &Path)>,
) -> (bool, Value) {
    let mut process = Command::new(plugin);
    process
        .env_clear()
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", sandbox);
    process.env("CNI_IFNAME", if sandbox.is_empty() { "" } else { "eth0" });
    if let Some((name, netns)) = pod {
        let (space, name) = name.split_once('/').unwrap_or(("shop", name));
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={space};K8S_POD_NAME={name}");
        process.env("CNI_NETNS", netns).env("CNI_ARGS", args);
    }
    let mut process = process
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    let input = config.to_string();
    process
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes())
        .expect("the plugin reads");
    let output = process.wait_with_output().expect("the plugin ends");
    (
        output.status.success(),
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
    )
}

impl Pod {
    /// Attaches a pod of the API to a node.
    pub fn add(plugin: &Path, node: &Node, fixture: &str, name: &str) -> Self {
        Self::add_in(plugin, node, fixture, "shop", name)
    }

    /// Attaches a pod of any namespace of the API to a node.
    pub fn add_in(plugin: &Path, node: &Node, fixture: &str, space: &str, name: &str) -> Self {
        let netns = Netns::new(&format!("nt-{fixture}-p-{name}"));
        let sandbox = format!("{fixture}{name}");
        let (added, result) = call(
            plugin,
            &node.socket(),
            "ADD",
            &sandbox,
            Some((&format!("{space}/{name}"), &netns.path())),
        );
        assert!(added, "ADD {name}: {result}");
        let address = result["ips"][0]["address"].as_str().expect("an address");
        let (address, length) = address.split_once('/').expect("a prefix length");
        assert!(["32", "128"].contains(&length), "one address: {result}");
        let address = address.to_owned();
        Self {
            name: name.into(),
            netns,
            address,
            result,
            sandbox,
            socket: node.socket(),
            plugin: plugin.into(),
        }
    }

    /// Its addresses, one of each family.
    pub fn addresses(&self) -> Vec<String> {
        let all = self.result["ips"].as_array().into_iter().flatten();
        let all = all.filter_map(|ip| ip["address"].as_str()?.split('/').next());
        all.map(str::to_owned).collect()
    }

    /// Calls the plugin about this pod as a runtime does, with the result of the ADD where the
    /// specification wants it.
    pub fn cni(&self, command: &str) -> (bool, Value) {
        let mut config = config(&self.socket);
        if command != "ADD" {
            config["prevResult"] = self.result.clone();
        }
        let path = self.netns.path();
        let pod = Some((self.name.as_str(), path.as_path()));
        call_with(&self.plugin, &config, command, &self.sandbox, pod)
    }

    /// Answers every connection to a port: echoes each byte, after the pod's name and a newline.
    pub fn serve(&self, port: u16) {
        self.serve_at("0.0.0.0", port);
    }

    /// The same at one address, or at all of a family.
    pub fn serve_at(&self, host: &'static str, port: u16) {
        let greeting = format!("{}\n", self.name);
        let (bound, wait) = std::sync::mpsc::channel();
        self.netns.spawn(move || {
            let listener = TcpListener::bind((host, port)).expect("the port is free");
            bound.send(()).expect("the test waits");
            for mut stream in listener.incoming().flatten() {
                let greeting = greeting.clone();
                std::thread::spawn(move || {
                    let _ = stream.write_all(greeting.as_bytes());
                    let mut byte = [0];
                    while stream
                        .read_exact(&mut byte)
                        .and_then(|()| stream.write_all(&byte))
                        .is_ok()
                    {}
                });
            }
        });
        wait.recv().expect("the server listens");
    }

    /// Connects from this pod, as a process of the node; the greeting, or none within a second.
    pub fn ask(&self, node: &Node, address: &str, port: u16) -> Option<String> {
        let script =
            format!("exec 3<>/dev/tcp/{address}/{port} && read -t 1 -u 3 line && echo $line");
        let mut command = node.command_in(&self.netns, "timeout");
        let output = command
            .args(["1", "bash", "-c", &script])
            .stderr(Stdio::null())
            .output()
            .expect("bash");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    }
}
