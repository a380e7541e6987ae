//! Test images as an OCI archive, packed without a container engine (OCI image-spec 1.0).
//!
//! One archive holds every image: containerd imports each manifest under the name in its annotation.
//! Layers are plain tar files with fixed owners and times, so that the same programs give the same
//! digests, and a repeated import changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use naru_tests::support::layout::target_dir;
use naru_tests::support::run;
use serde_json::{Value, json};

use crate::progress::step;

/// Name under which containerd stores an imported manifest.
const NAME: &str = "io.containerd.image.name";

struct Image {
    name: &'static str,
    layers: &'static [&'static str],
    entrypoint: &'static [&'static str],
    env: &'static [&'static str],
}

const IMAGES: &[Image] = &[
    Image {
        name: "naru.dev/pause:dev",
        layers: &["landing"],
        entrypoint: &["/landing", "pause"],
        env: &[],
    },
    Image {
        name: "naru.dev/busybox:dev",
        layers: &["busybox"],
        entrypoint: &["/bin/sh"],
        env: &[],
    },
    // Two versions that differ in one variable, for rolling from one to the other.
    Image {
        name: "naru.dev/landing:v1",
        layers: &["landing", "busybox"],
        entrypoint: &["/landing"],
        env: &["VERSION=v1"],
    },
    Image {
        name: "naru.dev/landing:v2",
        layers: &["landing", "busybox"],
        entrypoint: &["/landing"],
        env: &["VERSION=v2"],
    },
];

/// Packs every image into `target/images/naru.tar`, unless it is newer than its parts.
///
/// # Errors
/// When a part is missing or a tool fails.
pub(crate) fn pack(landing: &Path) -> Result<()> {
    let busybox = fs::canonicalize(target_dir().join("tools/bin/busybox")).context("busybox")?;
    let archive = target_dir().join("images/naru.tar");
    let recipe = std::env::current_exe()?;
    if newer(&archive, &[landing, &busybox, &recipe]) {
        return Ok(());
    }
    step("packing the test images");
    let work = target_dir().join("images/work");
    fs::remove_dir_all(&work).ok();
    let mut layout = OciLayout::create(&work.join("oci"))?;
    let landing_layer = layout.layer(&landing_root(&work.join("landing"), landing)?)?;
    let busybox_layer = layout.layer(&busybox_root(&work.join("busybox"), &busybox)?)?;
    for image in IMAGES {
        let layers = image.layers.iter().map(|l| {
            if *l == "landing" {
                &landing_layer
            } else {
                &busybox_layer
            }
        });
        layout.image(image, &layers.cloned().collect::<Vec<_>>())?;
    }
    layout.close(&archive)?;
    fs::remove_dir_all(&work).context("remove the work directory")
}

fn newer(file: &Path, parts: &[&Path]) -> bool {
    let time = |p: &Path| fs::metadata(p).and_then(|m| m.modified()).ok();
    let Some(made) = time(file) else { return false };
    parts
        .iter()
        .all(|p| time(p).is_some_and(|t: SystemTime| t < made))
}

fn landing_root(root: &Path, program: &Path) -> Result<PathBuf> {
    fs::create_dir_all(root)?;
    fs::copy(program, root.join("landing")).with_context(|| program.display().to_string())?;
    Ok(root.to_path_buf())
}

fn busybox_root(root: &Path, busybox: &Path) -> Result<PathBuf> {
    for dir in ["bin", "etc", "tmp"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::copy(busybox, root.join("bin/busybox"))?;
    for applet in run::run(busybox, &["--list"])?
        .lines()
        .filter(|a| *a != "busybox")
    {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    // Without it the static C library looks for plug-ins that the image does not have, and crashes.
    fs::write(root.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    )?;
    Ok(root.to_path_buf())
}

/// A directory in the shape of the OCI image layout, filled blob by blob.
struct OciLayout {
    dir: PathBuf,
    manifests: Vec<Value>,
}

impl OciLayout {
    fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("blobs/sha256"))?;
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            manifests: Vec::new(),
        })
    }

    fn layer(&self, root: &Path) -> Result<Value> {
        let tar = self.dir.join("layer.tar");
        archive(root, &tar)?;
        self.blob(&tar, "application/vnd.oci.image.layer.v1.tar")
    }

    fn image(&mut self, image: &Image, layers: &[Value]) -> Result<()> {
        let config = self.document(
            &config(image, layers),
            "application/vnd.oci.image.config.v1+json",
        )?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
        });
        let mut manifest =
            self.document(&manifest, "application/vnd.oci.image.manifest.v1+json")?;
        manifest["annotations"] = json!({ NAME: image.name });
        self.manifests.push(manifest);
        Ok(())
    }

    fn close(self, archive_path: &Path) -> Result<()> {
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        fs::write(self.dir.join("index.json"), index.to_string())?;
        archive(&self.dir, archive_path)
    }

    fn document(&self, document: &Value, media: &str) -> Result<Value> {
        let file = self.dir.join("document.json");
        fs::write(&file, document.to_string())?;
        self.blob(&file, media)
    }

    /// Moves a file to its place among the blobs and describes it.
    fn blob(&self, file: &Path, media: &str) -> Result<Value> {
        let digest = sha256(file)?;
        let size = fs::metadata(file)?.len();
        fs::rename(file, self.dir.join("blobs/sha256").join(&digest))?;
        Ok(json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": size}))
    }
}

/// A layer that is not compressed has the same digest as its content.
fn config(image: &Image, layers: &[Value]) -> Value {
    let env: Vec<_> = ["PATH=/bin:/"].iter().chain(image.env).collect();
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": image.entrypoint, "Env": env},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| &l["digest"]).collect::<Vec<_>>()},
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn archive(dir: &Path, to: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ]);
    tar.arg("--file")
        .arg(to)
        .arg("--directory")
        .arg(dir)
        .args(["--exclude=./layer.tar", "."]);
    run::checked(&mut tar).map(drop)
}

fn sha256(file: &Path) -> Result<String> {
    let line = run::run("sha256sum", &[file])?;
    let digest = line.split(' ').next().unwrap_or_default();
    ensure!(digest.len() == 64, "sha256sum said {line:?}");
    Ok(digest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_lists_its_layers_in_order() {
        let layers = [json!({"digest": "sha256:a"}), json!({"digest": "sha256:b"})];
        let config = config(&IMAGES[2], &layers);
        assert_eq!(
            config["rootfs"]["diff_ids"],
            json!(["sha256:a", "sha256:b"])
        );
        assert_eq!(
            config["config"]["Env"],
            json!(["PATH=/bin:/", "VERSION=v1"])
        );
    }

    #[test]
    fn the_sandbox_image_of_the_nodes_is_among_the_images() {
        let sandbox = naru_tests::support::containerd::SANDBOX_IMAGE;
        assert!(IMAGES.iter().any(|i| i.name == sandbox));
    }
}
