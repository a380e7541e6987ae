//! The disk under the control plane's store runs full while the cluster works.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use naru_tests::support::daemons::{CONTROL_PROCESS, control_data};
use naru_tests::support::run;

use crate::faults::{UNTIL, within};
use crate::harness::{Case, cases};
use crate::runtime::network_of;
use crate::world::{Background, Space, World};

pub(crate) const CASES: &[Case] =
    cases![a_full_disk_refuses_writes_and_loses_nothing_that_was_acknowledged];

/// What the store gets besides the files that it has, in bytes.
const ROOM: u64 = 24 << 20;
/// More writes than the room can take.
const ATTEMPTS: usize = 300;

/// The control plane's data on a small file system, until dropped.
struct SmallDisk<'a> {
    world: &'a World,
    data: PathBuf,
    aside: PathBuf,
}

impl<'a> SmallDisk<'a> {
    /// The control plane is down meanwhile: nothing may write to either place.
    fn move_in(world: &'a World) -> Result<Self> {
        let data = control_data(&world.cluster.layout);
        let aside = data.with_extension("aside");
        world.cluster.kill(CONTROL_PROCESS)?;
        fs::rename(&data, &aside)?;
        fs::create_dir(&data)?;
        let disk = Self { world, data, aside };
        let size = format!("size={}", used(&disk.aside)? + ROOM);
        let data = disk.data.to_string_lossy();
        run::run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "naru-small-disk", &data],
        )?;
        disk.copy(&disk.aside, &disk.data)?;
        world.cluster.start_control()?;
        Ok(disk)
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        let from = format!("{}/.", from.display());
        run::run("cp", &["-a", &from, &to.to_string_lossy()]).map(drop)
    }

    /// Takes all the space that is left.
    fn fill(&self) -> Result<()> {
        let mut ballast = fs::File::create(self.ballast())?;
        let block = vec![1_u8; 64 << 10];
        loop {
            match ballast.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("fill the disk"),
            }
        }
    }

    fn relieve(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("remove the ballast")
    }

    fn ballast(&self) -> PathBuf {
        self.data.join("ballast")
    }

    /// The data of the small disk become the cluster's, as they are.
    fn move_out(&self) -> Result<()> {
        self.world.cluster.kill(CONTROL_PROCESS).ok();
        fs::remove_file(self.ballast()).ok();
        fs::remove_dir_all(&self.aside)?;
        fs::create_dir(&self.aside)?;
        self.copy(&self.data, &self.aside)?;
        run::run("umount", &[self.data.as_os_str()])?;
        fs::remove_dir(&self.data)?;
        fs::rename(&self.aside, &self.data)?;
        self.world.cluster.start_control()
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        if self.aside.exists() {
            self.move_out().ok();
        }
    }
}

/// Bytes of all files below a directory.
fn used(dir: &Path) -> Result<u64> {
    let text = run::run("du", &["-s", "-B1", &dir.to_string_lossy()])?;
    let number = text.split_whitespace().next().context("du")?;
    Ok(number.parse()?)
}

/// Writes objects of half a megabyte until the server refuses one; returns their names and what it
/// said.
fn write_until_refused(space: &Space<'_>) -> Result<(Vec<String>, String)> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), "x".repeat(500_000))?;
    let from = format!("--from-file=text={}", file.path().display());
    let mut written = Vec::new();
    for number in 0..ATTEMPTS {
        let name = format!("c{number}");
        match space.run(&["create", "configmap", &name, &from]) {
            Ok(_) => written.push(name),
            Err(error) => return Ok((written, format!("{error:#}"))),
        }
    }
    anyhow::bail!("{ATTEMPTS} writes, and the disk is not full")
}

fn names(space: &Space<'_>) -> Result<Vec<String>> {
    let text = space.run(&["get", "configmaps", "-o", "name"])?;
    Ok(text
        .lines()
        .map(|l| l.trim_start_matches("configmap/").to_owned())
        .collect())
}

fn all_there(space: &Space<'_>, written: &[String]) -> Result<()> {
    let there = names(space)?;
    let lost: Vec<_> = written
        .iter()
        .filter(|name| !there.contains(name))
        .collect();
    ensure!(lost.is_empty(), "lost: {lost:?}");
    Ok(())
}

fn a_full_disk_refuses_writes_and_loses_nothing_that_was_acknowledged(world: &World) -> Result<()> {
    let space = world.namespace("disk")?;
    space.landing_service("web", 1)?;
    space.landing_pod("client", Some(1))?;
    let disk = SmallDisk::move_in(world)?;
    world.cluster.wait_ready()?;
    // In the pod's network, but no child of an exec session: that one would end with the server.
    let pod = network_of(world, &space, "client")?;
    let service = format!("{}:80", space.field("service/web", ".spec.clusterIP")?);
    let load = Background::start(within(world, 1, &pod, "load", &service, UNTIL)?)?;
    disk.fill()?;
    let (written, refusal) = write_until_refused(&space)?;
    ensure!(
        refusal.contains("the disk under the store is full; nothing was written"),
        "{refusal}"
    );
    // Reads go on, and so do watches, logs and commands, which write nothing.
    all_there(&space, &written)?;
    ensure!(
        !names(&space)?.contains(&format!("c{}", written.len())),
        "a refused write is there"
    );
    space.exec("client", &["true"])?;
    let again = space.run(&["create", "configmap", "again", "--from-literal=a=b"]);
    // A small one may find a free page; if it was acknowledged it must stay.
    let small: Vec<_> = again
        .is_ok()
        .then(|| "again".to_owned())
        .into_iter()
        .collect();
    disk.relieve()?;
    space.run(&["create", "configmap", "after", "--from-literal=a=b"])?;
    let kept = [&written[..], &small, &["after".to_owned()]].concat();
    all_there(&space, &kept)?;
    // From the file alone, too.
    world.cluster.kill(CONTROL_PROCESS)?;
    world.cluster.start_control()?;
    all_there(&space, &kept)?;
    load.finish()?.flawless(50)?;
    disk.move_out()?;
    all_there(&space, &kept)?;
    world.cluster.wait_ready()
}
