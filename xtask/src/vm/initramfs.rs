//! The machine's only file system: programs with their libraries, objects, modules, an `init`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use naru_tests::support::layout::target_dir;
use naru_tests::support::run;

use super::kernel::Kernel;
use super::machine::{BEGIN, END};

/// What the tests make links and attach programs with.
const MODULES: &[&str] = &["veth", "sch_ingress", "cls_bpf", "vxlan", "sch_fq"];

/// What goes in besides the kernel's modules and the objects.
pub(super) struct Initramfs {
    pub(super) busybox: PathBuf,
    pub(super) test: PathBuf,
    pub(super) filter: Option<String>,
}

impl Initramfs {
    /// Packs the archive and returns its path.
    pub(super) fn pack(&self, kernel: &Kernel) -> Result<PathBuf> {
        let archive = target_dir().join(format!("vm/{}.cpio", kernel.release));
        let root = target_dir().join(format!("vm/{}.root", kernel.release));
        fs::remove_dir_all(&root).ok();
        for dir in [
            "bin", "dev", "proc", "sys", "tmp", "run", "objects", "modules", "applets",
        ] {
            fs::create_dir_all(root.join(dir))?;
        }
        copy(&self.busybox, &root.join("bin/busybox"))?;
        copy_program(&self.test, &root, "bin/bpf-tests")?;
        for tool in ["ip", "tc"] {
            copy_program(&program(tool)?, &root, &format!("bin/{tool}"))?;
        }
        copy_objects(&root.join("objects"))?;
        let modules = kernel.with_dependencies(MODULES, &self.busybox)?;
        for (name, bytes) in &modules {
            fs::write(root.join("modules").join(name), bytes).with_context(|| name.clone())?;
        }
        let names: Vec<_> = modules.iter().map(|(n, _)| n.as_str()).collect();
        let init = root.join("init");
        fs::write(&init, init_script(&names, self.filter.as_deref()))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        cpio(&self.busybox, &root, &archive)?;
        fs::remove_dir_all(&root).context("remove the work directory")?;
        Ok(archive)
    }
}

/// The machine's first program: prepares, tests, says how that ended, and switches off.
fn init_script(modules: &[&str], filter: Option<&str>) -> String {
    let insmod: String = modules
        .iter()
        .map(|m| format!("insmod /modules/{m}\n"))
        .collect();
    let filter = filter.map(quote).unwrap_or_default();
    format!(
        "#!/bin/busybox sh\n\
         /bin/busybox --install -s /applets\n\
         export PATH=/bin:/applets NARU_BPF_OBJECTS=/objects RUST_BACKTRACE=0\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sysfs /sys\n\
         mount -t devtmpfs dev /dev\n\
         mount -t tmpfs tmp /tmp\n\
         mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         {insmod}\
         echo '{BEGIN}'\n\
         bpf-tests --show-output {filter} 2>&1\n\
         echo \"{END}$?\"\n\
         poweroff -f\n"
    )
}

/// A word for the shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| from.display().to_string())?;
    Ok(())
}

/// Copies a program, and its libraries to where it looks for them.
fn copy_program(from: &Path, root: &Path, to: &str) -> Result<()> {
    copy(from, &root.join(to))?;
    for library in libraries(&run::run("ldd", &[from])?) {
        let to = root.join(library.strip_prefix("/").unwrap_or(&library));
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir)?;
        }
        copy(&library, &to)?;
    }
    Ok(())
}

/// The files in what `ldd` says.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    let words = ldd.split_whitespace().filter(|w| w.starts_with('/'));
    words.map(PathBuf::from).collect()
}

fn program(name: &str) -> Result<PathBuf> {
    let dirs = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(Path::new);
    let found = dirs.iter().map(|d| d.join(name)).find(|p| p.is_file());
    found.with_context(|| format!("no program {name}"))
}

fn copy_objects(to: &Path) -> Result<()> {
    let from = target_dir().join("bpf");
    for entry in fs::read_dir(&from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "o") {
            copy(&path, &to.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn cpio(busybox: &Path, root: &Path, archive: &Path) -> Result<()> {
    let script = "cd \"$1\" && \"$0\" find . | \"$0\" cpio -o -H newc";
    let file = fs::File::create(archive).with_context(|| archive.display().to_string())?;
    let mut command = Command::new(busybox);
    command
        .args(["sh", "-e", "-c", script])
        .args([busybox, root]);
    let output = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::piped())
        .output()
        .context("busybox cpio")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cpio: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_before_the_tests_and_in_order() {
        let script = init_script(&["udp_tunnel", "vxlan"], Some("it's"));
        let at = |what: &str| script.find(what).expect(what);
        assert!(at("/modules/udp_tunnel") < at("/modules/vxlan"));
        assert!(at("/modules/vxlan") < at(BEGIN));
        assert!(at(BEGIN) < at(r"bpf-tests --show-output 'it'\''s'"));
        assert!(at("bpf-tests") < at(END) && at(END) < at("poweroff"));
    }

    #[test]
    fn libraries_are_files_only() {
        let ldd = "\tlinux-vdso.so.1 (0x7ffc)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f01)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x7f02)\n";
        let found = libraries(ldd);
        assert_eq!(
            found,
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
            .map(PathBuf::from)
        );
        assert!(libraries("\tnot a dynamic executable\n").is_empty());
    }
}
