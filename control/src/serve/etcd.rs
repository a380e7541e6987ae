//! Flags of a store on etcd, named as kube-apiserver has them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use naru_control::store::EtcdConfig;

/// Where etcd is; without it the store is a file of this server.
#[derive(Args, Debug)]
pub(crate) struct EtcdArgs {
    /// URLs of the members of an etcd cluster, separated by commas: objects are kept there, and
    /// several servers may use it at once.
    #[arg(long, value_delimiter = ',')]
    etcd_servers: Vec<String>,
    /// File with the authority of the members' certificates.
    #[arg(long, requires = "etcd_servers")]
    etcd_cafile: Option<PathBuf>,
    /// File with the certificate by which the members know this server.
    #[arg(long, requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// File with the key of that certificate.
    #[arg(long, requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// What all keys in etcd begin with.
    #[arg(long, default_value = "/naru")]
    etcd_prefix: String,
}

impl EtcdArgs {
    /// Whether other servers may use the same store.
    pub(crate) fn is_used(&self) -> bool {
        !self.etcd_servers.is_empty()
    }

    /// Which etcd is to be used, if any.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn config(&self) -> anyhow::Result<Option<EtcdConfig>> {
        if self.etcd_servers.is_empty() {
            return Ok(None);
        }
        let identity = match (&self.etcd_certfile, &self.etcd_keyfile) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        let cluster = naru_etcd::Config {
            servers: self.etcd_servers.clone(),
            authority: self.etcd_cafile.as_deref().map(read).transpose()?,
            identity,
        };
        Ok(Some(EtcdConfig {
            cluster,
            prefix: self.etcd_prefix.clone(),
        }))
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
