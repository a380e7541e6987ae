//! A new user's first ten minutes: the commands of the README and those that they print, typed as
//! they stand there, and a machine that is afterwards as it was before.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use naru_tests::support::{Layout, layout, leaks, run, wait};

/// Another cluster than those that people and other tests use.
const CLUSTER: &str = "first";
/// The kernel frees programs and maps some time after their last user is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the kernel holds of eBPF, by its ids.
#[derive(Debug, Default, PartialEq, Eq)]
struct Loaded {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Loaded {
    fn now() -> Self {
        // One that vanishes while it is listed is not there.
        Self {
            programs: aya::programs::loaded_programs()
                .filter_map(|p| Some(p.ok()?.id()))
                .collect(),
            maps: aya::maps::loaded_maps()
                .filter_map(|m| Some(m.ok()?.id()))
                .collect(),
            links: aya::programs::loaded_links()
                .filter_map(|l| Some(l.ok()?.id()))
                .collect(),
        }
    }

    /// What is here and was not in `before`.
    fn since(&self, before: &Self) -> Self {
        let new = |now: &BTreeSet<u32>, then: &BTreeSet<u32>| now - then;
        Self {
            programs: new(&self.programs, &before.programs),
            maps: new(&self.maps, &before.maps),
            links: new(&self.links, &before.links),
        }
    }
}

fn xtask(words: &[&str]) -> String {
    let program: PathBuf = layout::target_dir().join("release/xtask");
    let mut command = Command::new(program);
    command
        .args(words)
        .args(["--cluster", CLUSTER])
        .current_dir(layout::checkout());
    run::checked(&mut command).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Types lines into one shell; returns what each printed.
fn typed(lines: &[String]) -> Vec<String> {
    const END: &str = "--- end of a command ---";
    let script: String = lines
        .iter()
        .map(|line| format!("{line}\necho '{END}'\n"))
        .collect();
    let said = run::run("sh", &["-ec", &script]).unwrap_or_else(|error| panic!("{error:#}"));
    said.split(&format!("{END}\n")).map(str::to_owned).collect()
}

/// The lines that `up` tells the user to try, and the shop's URL.
fn advice(said: &str) -> (Vec<String>, String) {
    let lines = said.lines().skip_while(|l| *l != "Try next:").skip(2);
    let commands: Vec<_> = lines
        .take_while(|l| !l.is_empty())
        .map(|l| l.trim().to_owned())
        .collect();
    let url = said
        .lines()
        .find_map(|l| l.trim().strip_prefix("shop "))
        .expect("the shop's URL");
    (commands, url.trim().to_owned())
}

/// Ends the cluster if the test did not.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let layout = Layout::of_checkout(CLUSTER).expect("a layout");
            naru_tests::support::down::down(&layout).ok();
        }
    }
}

#[test]
fn the_first_ten_minutes_go_as_the_readme_says() {
    let layout = Layout::of_checkout(CLUSTER).unwrap();
    let before = Loaded::now();
    let end = End;
    let said = xtask(&["up"]);
    let (commands, url) = advice(&said);
    assert_eq!(commands.len(), 3, "{said}");
    assert!(
        layout.kubeconfig().is_file() && said.contains(&layout.kubeconfig().display().to_string())
    );
    // Once more is harmless, and says the same.
    assert_eq!(xtask(&["up"]), said);
    let outputs = typed(&commands);
    assert_eq!(outputs[0].matches("Running").count(), 5, "{}", outputs[0]);
    assert!(outputs[1].contains("hostname api-"), "{}", outputs[1]);
    assert!(
        outputs[2].contains("the connection is allowed"),
        "{}",
        outputs[2]
    );
    // A browser takes every name below localhost for this machine; curl is told so.
    let page = typed(&[format!("curl --silent --fail --max-time 5 {url}")]).concat();
    assert!(page.contains("hostname web-"), "{page}");
    let loaded = Loaded::now().since(&before);
    assert!(
        !loaded.programs.is_empty() && !loaded.links.is_empty(),
        "{loaded:?}"
    );
    let farewell = xtask(&["down"]);
    drop(end);
    assert!(farewell.is_empty(), "{farewell}");
    assert_eq!(leaks::find(&layout).unwrap(), Vec::<String>::new());
    wait::until("programs, maps and links to be gone", PATIENCE, || {
        let left = Loaded::now().since(&before);
        anyhow::ensure!(left == Loaded::default(), "left: {left:?}");
        Ok(Some(()))
    })
    .unwrap();
}
