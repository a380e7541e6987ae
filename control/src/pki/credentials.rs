//! Credential files on disk: kubeconfigs of people, and what a node needs.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::authority::{Authority, Leaf, PkiError, Subject, write_public, write_secret};
use super::kubeconfig::{KubeconfigSpec, kubeconfig};

/// Where a node's credentials go and whom they name.
#[derive(Debug, Clone)]
pub struct NodeFiles<'a> {
    /// URL of the API server.
    pub server: &'a str,
    /// Name of the node.
    pub node: &'a str,
    /// Address at which the API server reaches the node.
    pub address: IpAddr,
    /// Directory that receives `kubeconfig`, `serving.crt`, `serving.key`, `ca.crt`.
    pub out: &'a Path,
}

/// Signs and writes a node's credentials.
///
/// # Errors
/// When a file cannot be written or the node's name is no DNS name.
pub fn write_node_credentials(
    authority: &Authority,
    files: &NodeFiles<'_>,
) -> Result<(), PkiError> {
    let user = format!("system:node:{}", files.node);
    let groups = vec!["system:nodes".to_owned()];
    let client = Subject {
        user: user.clone(),
        groups: groups.clone(),
        ..Subject::default()
    };
    let serving = Subject {
        user: user.clone(),
        groups,
        names: vec![files.node.to_owned()],
        addresses: vec![files.address],
    };
    let spec = KubeconfigSpec {
        server: files.server,
        user: &user,
    };
    let config = kubeconfig(authority, &spec, &authority.sign(&client)?);
    let serving = authority.sign(&serving)?;
    let source = |source| PkiError::File {
        path: files.out.to_owned(),
        source,
    };
    fs::create_dir_all(files.out).map_err(source)?;
    write_secret(&files.out.join("kubeconfig"), &config)?;
    write_public(&files.out.join("serving.crt"), &serving.certificate)?;
    write_secret(&files.out.join("serving.key"), &serving.key)?;
    write_public(&files.out.join("ca.crt"), authority.certificate())
}

/// Signs a client certificate for `user` in `groups` and writes its kubeconfig.
///
/// # Errors
/// When the file cannot be written.
pub fn write_kubeconfig(
    authority: &Authority,
    spec: &KubeconfigSpec<'_>,
    groups: &[String],
    out: &Path,
) -> Result<(), PkiError> {
    let subject = Subject {
        user: spec.user.to_owned(),
        groups: groups.to_vec(),
        ..Subject::default()
    };
    write_signed_kubeconfig(authority, spec, &authority.sign(&subject)?, out)
}

/// Writes the kubeconfig of a client whose certificate is signed already.
///
/// # Errors
/// When the file cannot be written.
pub fn write_signed_kubeconfig(
    authority: &Authority,
    spec: &KubeconfigSpec<'_>,
    leaf: &Leaf,
    out: &Path,
) -> Result<(), PkiError> {
    write_secret(out, &kubeconfig(authority, spec, leaf))
}
