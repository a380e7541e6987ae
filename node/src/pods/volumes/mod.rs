//! Volumes: what a pod's directory holds and what its containers see of it.
//!
//! [`payload`] decides what files a volume is made of, [`atomic`] puts them there, [`mounts`]
//! knows tmpfs. Kinds that need a driver (persistent claims, CSI, network file systems) are
//! refused by name until there is one.

pub mod atomic;
pub mod mounts;
pub mod payload;
pub mod tokens;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, HostPathVolumeSource, Pod, Volume, VolumeMount};
use naru_cri::v1;

use super::container::mount;
use super::env::Objects;
use super::expand::expand;
use super::fields::FieldError;
use super::names::Dirs;
use super::plan::spec;
use super::resources::units;

/// Why a volume can't be made; the pod's containers wait.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// An object is absent.
    #[error("{kind} \"{name}\" not found")]
    NotFound {
        /// The volume.
        volume: String,
        /// `configmap` or `secret`.
        kind: &'static str,
        /// The object's name.
        name: String,
    },
    /// The object lacks a chosen key.
    #[error("{kind} \"{name}\" references non-existent config key: {key}")]
    NoKey {
        /// The volume.
        volume: String,
        /// The object's kind.
        kind: &'static str,
        /// The object's name.
        name: String,
        /// The key.
        key: String,
    },
    /// A file would lie outside the volume.
    #[error("path {path:?} must be relative and stay in the volume")]
    Path {
        /// The volume.
        volume: String,
        /// The path.
        path: String,
    },
    /// A field reference that means nothing.
    #[error("{source}")]
    Field {
        /// The volume.
        volume: String,
        /// Which.
        source: FieldError,
    },
    /// No token for the service account.
    #[error("failed to fetch token: {message}")]
    Token {
        /// The volume.
        volume: String,
        /// The API's words.
        message: String,
    },
    /// A host path that isn't what the spec says.
    #[error("hostPath type check failed: {path} is not a {wanted}")]
    HostPath {
        /// The volume.
        volume: String,
        /// The path on the host.
        path: String,
        /// What it should be.
        wanted: String,
    },
    /// A kind of volume this node can't make.
    #[error("volume plugin is not supported by this node")]
    Unsupported {
        /// The volume.
        volume: String,
    },
    /// The file system refused.
    #[error("{doing}: {source}")]
    Io {
        /// The volume.
        volume: String,
        /// What was tried.
        doing: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

impl VolumeError {
    /// The volume's name.
    pub fn volume(&self) -> &str {
        match self {
            Self::NotFound { volume, .. }
            | Self::NoKey { volume, .. }
            | Self::Path { volume, .. }
            | Self::Field { volume, .. }
            | Self::Token { volume, .. }
            | Self::HostPath { volume, .. }
            | Self::Unsupported { volume }
            | Self::Io { volume, .. } => volume,
        }
    }
}

/// Makes or refreshes every volume of a pod; returns whether files changed.
///
/// # Errors
/// The first volume that can't be made.
pub fn prepare<O: Objects>(
    inputs: &payload::Inputs<'_, O>,
    dirs: &Dirs,
    uid: &str,
) -> Result<bool, VolumeError> {
    let mut changed = false;
    for volume in spec(inputs.pod).volumes.iter().flatten() {
        changed |= prepare_one(inputs, volume, &dirs.volume(uid, &volume.name))?;
    }
    Ok(changed)
}

fn prepare_one<O: Objects>(
    inputs: &payload::Inputs<'_, O>,
    volume: &Volume,
    directory: &Path,
) -> Result<bool, VolumeError> {
    let io = |doing| {
        let volume = volume.name.clone();
        move |source| VolumeError::Io {
            volume,
            doing,
            source,
        }
    };
    if let Some(host) = &volume.host_path {
        return host_path(volume, host).map(|()| false);
    }
    let files = payload::payload(inputs, volume)?;
    if files.is_none() && volume.empty_dir.is_none() {
        return Err(VolumeError::Unsupported {
            volume: volume.name.clone(),
        });
    }
    let fresh = !directory.exists();
    fs::create_dir_all(directory).map_err(io("make the volume's directory"))?;
    let in_memory = volume
        .empty_dir
        .as_ref()
        .is_some_and(|e| e.medium.as_deref() == Some("Memory"));
    if in_memory || holds_secrets(volume) {
        let limit = volume
            .empty_dir
            .as_ref()
            .and_then(|e| e.size_limit.as_ref())
            .and_then(units);
        mounts::tmpfs(directory, limit, 0o777).map_err(io("mount tmpfs"))?;
    }
    let group = fs_group(inputs.pod);
    if fresh || in_memory {
        own_directory(directory, files.is_none(), group).map_err(io("set the volume's mode"))?;
    }
    match files {
        Some(files) => atomic::write(directory, &files, group).map_err(io("write the volume")),
        None => Ok(false),
    }
}

fn holds_secrets(volume: &Volume) -> bool {
    volume.secret.is_some() || volume.projected.is_some()
}

fn fs_group(pod: &Pod) -> Option<u32> {
    spec(pod)
        .security_context
        .as_ref()?
        .fs_group
        .and_then(|group| u32::try_from(group).ok())
}

/// Anyone may write to an empty directory; the pod's group owns what it shares.
fn own_directory(directory: &Path, writable: bool, group: Option<u32>) -> io::Result<()> {
    let sticky = if group.is_some() { 0o2000 } else { 0 };
    let mode = if writable { 0o777 } else { 0o755 };
    if group.is_some() {
        std::os::unix::fs::chown(directory, None, group)?;
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(mode | sticky))
}

fn host_path(volume: &Volume, source: &HostPathVolumeSource) -> Result<(), VolumeError> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let io = |doing| {
        let volume = volume.name.clone();
        move |error| VolumeError::Io {
            volume,
            doing,
            source: error,
        }
    };
    match kind {
        "DirectoryOrCreate" if !path.exists() => {
            fs::create_dir_all(path).map_err(io("make the host's directory"))?;
        }
        "FileOrCreate" if !path.exists() => {
            fs::write(path, b"").map_err(io("make the host's file"))?;
        }
        _ => {}
    }
    match is_of_kind(path, kind) {
        true => Ok(()),
        false => Err(VolumeError::HostPath {
            volume: volume.name.clone(),
            path: source.path.clone(),
            wanted: kind.to_owned(),
        }),
    }
}

fn is_of_kind(path: &Path, kind: &str) -> bool {
    let meta = fs::metadata(path);
    let is = |check: fn(&fs::FileType) -> bool| meta.as_ref().is_ok_and(|m| check(&m.file_type()));
    match kind {
        "Directory" | "DirectoryOrCreate" => is(fs::FileType::is_dir),
        "File" | "FileOrCreate" => is(fs::FileType::is_file),
        "Socket" => is(|kind| kind.is_socket()),
        "CharDevice" => is(|kind| kind.is_char_device()),
        "BlockDevice" => is(|kind| kind.is_block_device()),
        _ => true,
    }
}

/// Unmounts and removes every volume of a pod; repeatable.
///
/// # Errors
/// Whatever the file system answers.
pub fn release(dirs: &Dirs, uid: &str) -> io::Result<()> {
    let directory = dirs.volumes(uid);
    mounts::release(&directory)?;
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The mounts of one container: volumes by its own list, then hosts file and last words.
///
/// # Errors
/// A sentence, for a mount that names no volume or a subpath that leaves it.
pub fn container_mounts(
    pod: &Pod,
    container: &Container,
    env: &[(String, String)],
    dirs: &Dirs,
    uid: &str,
) -> Result<Vec<v1::Mount>, String> {
    let mut mounts = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        mounts.push(volume_mount(pod, wanted, env, dirs, uid)?);
    }
    let has = |path: &str| mounts.iter().any(|mount| mount.container_path == path);
    if !has("/etc/hosts") {
        mounts.push(mount("/etc/hosts", &dirs.hosts(uid), false));
    }
    Ok(mounts)
}

fn volume_mount(
    pod: &Pod,
    wanted: &VolumeMount,
    env: &[(String, String)],
    dirs: &Dirs,
    uid: &str,
) -> Result<v1::Mount, String> {
    let volume = spec(pod)
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.name == wanted.name);
    let volume = volume.ok_or_else(|| format!("volume {:?} not found in pod", wanted.name))?;
    let root = match &volume.host_path {
        Some(host) => PathBuf::from(&host.path),
        None => dirs.volume(uid, &volume.name),
    };
    let source = match subpath(wanted, env)? {
        None => root,
        Some(path) => inside(&root, &path)?,
    };
    let files = volume.host_path.is_none() && volume.empty_dir.is_none();
    Ok(v1::Mount {
        propagation: match wanted.mount_propagation.as_deref() {
            Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
            _ => v1::MountPropagation::PropagationPrivate,
        } as i32,
        // What the node writes the container may only read.
        ..mount(
            &wanted.mount_path,
            &source,
            files || wanted.read_only == Some(true),
        )
    })
}

fn subpath(wanted: &VolumeMount, env: &[(String, String)]) -> Result<Option<String>, String> {
    let lookup = |name: &str| {
        env.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let expanded = wanted
        .sub_path_expr
        .as_deref()
        .map(|text| expand(text, lookup));
    match expanded
        .or_else(|| wanted.sub_path.clone())
        .filter(|path| !path.is_empty())
    {
        Some(path) if !payload::is_inside(&path) => Err(format!(
            "subPath {path:?} must be relative and stay in the volume"
        )),
        path => Ok(path),
    }
}

/// The path below the volume's root, made if absent; links must not lead out of the volume.
fn inside(root: &Path, path: &str) -> Result<PathBuf, String> {
    let target = root.join(path);
    if fs::symlink_metadata(&target).is_err() {
        fs::create_dir_all(&target).map_err(|error| format!("make subPath {path:?}: {error}"))?;
    }
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|error| format!("{}: {error}", path.display()))
    };
    let (root, target) = (real(root)?, real(&target)?);
    match target.starts_with(&root) {
        true => Ok(target),
        false => Err(format!("subPath {path:?} leaves the volume")),
    }
}
