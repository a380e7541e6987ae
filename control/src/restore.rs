//! `naru-control restore`: a store from a snapshot, while no server runs on it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use naru_control::api::Kinds;
use naru_control::registry::KINDS;
use naru_control::store::{Encryption, snapshot};

use crate::serve::EtcdArgs;

/// What is restored and where.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The snapshot.
    file: PathBuf,
    /// Directory of the control plane, in which there is no store yet; its authorities (`pki`) are not
    /// in a snapshot and have to be there already.
    #[arg(long, required_unless_present = "etcd_servers")]
    data_dir: Option<PathBuf>,
    /// File with the EncryptionConfiguration by which the new store is encrypted.
    #[arg(long)]
    encryption_provider_config: Option<PathBuf>,
    #[command(flatten)]
    etcd: EtcdArgs,
}

/// Restores, or changes nothing.
pub(crate) fn run(args: &RestoreArgs) -> anyhow::Result<()> {
    let resources = Kinds(KINDS).resources();
    let encryption = match &args.encryption_provider_config {
        None => Encryption::default(),
        Some(path) => Encryption::read(path, &resources)
            .with_context(|| format!("encryption configuration {}", path.display()))?,
    };
    let restored = match (args.etcd.config()?, &args.data_dir) {
        (Some(config), _) => {
            naru_core::start("naru-control");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(snapshot::into_etcd(&args.file, &config, encryption))
        }
        (None, Some(directory)) => {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
            let path = directory.join("store.redb");
            snapshot::into_file(&args.file, &path, &resources, encryption)
        }
        (None, None) => anyhow::bail!("neither --data-dir nor --etcd-servers is given"),
    };
    let restored = restored.context("nothing was restored")?;
    println!(
        "{} objects of revision {} restored",
        restored.objects, restored.revision
    );
    Ok(())
}
