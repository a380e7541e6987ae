//! The kubeconfig, found and merged as kubectl does.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::cli::Access;

/// The configuration for the cluster that the flags, the environment and the files name.
pub(crate) async fn load(access: &Access) -> anyhow::Result<kube::Config> {
    let options = KubeConfigOptions {
        context: access.context.clone(),
        cluster: access.cluster.clone(),
        user: access.user.clone(),
    };
    let mut config = match files(access, std::env::var_os("KUBECONFIG").as_deref())? {
        Some(merged) => {
            known_user(&merged, access)?;
            let loaded = kube::Config::from_custom_kubeconfig(merged, &options).await;
            loaded.context("the kubeconfig is not usable")?
        }
        None => kube::Config::incluster().map_err(|_| {
            anyhow::anyhow!(
                "no kubeconfig: give --kubeconfig, set KUBECONFIG or make ~/.kube/config"
            )
        })?,
    };
    if let Some(namespace) = &access.namespace {
        config.default_namespace.clone_from(namespace);
    }
    Ok(config)
}

/// A user that the file does not have would make the request one of nobody's.
fn known_user(config: &Kubeconfig, access: &Access) -> anyhow::Result<()> {
    let Some(wanted) = &access.user else {
        return Ok(());
    };
    let known = config.auth_infos.iter().any(|user| user.name == *wanted);
    anyhow::ensure!(known, "the kubeconfig has no user {wanted:?}");
    Ok(())
}

/// The flag's file alone; or those of the variable, merged, without the missing ones; or the one
/// in the home directory. `None` when there is no file at all.
fn files(
    access: &Access,
    variable: Option<&std::ffi::OsStr>,
) -> anyhow::Result<Option<Kubeconfig>> {
    if let Some(path) = &access.kubeconfig {
        return read(path).map(Some);
    }
    let listed: Vec<PathBuf> = variable
        .map(|list| std::env::split_paths(list).collect())
        .unwrap_or_default();
    let listed: Vec<PathBuf> = listed
        .into_iter()
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    let home = || std::env::home_dir().map(|home| home.join(".kube/config"));
    let candidates = if listed.is_empty() {
        home().into_iter().collect()
    } else {
        listed
    };
    let mut merged: Option<Kubeconfig> = None;
    for path in candidates.iter().filter(|path| path.exists()) {
        let next = read(path)?;
        merged = Some(match merged {
            Some(first) => first
                .merge(next)
                .context("the files of KUBECONFIG do not fit together")?,
            None => next,
        });
    }
    Ok(merged)
}

fn read(path: &Path) -> anyhow::Result<Kubeconfig> {
    Kubeconfig::read_from(path).with_context(|| format!("kubeconfig {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &Path, name: &str, context: &str) -> PathBuf {
        let path = dir.join(name);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {context}\ncontexts:\n- name: {context}\n  context: {{cluster: {context}, namespace: ns-{context}}}\nclusters:\n- name: {context}\n  cluster: {{server: 'https://{context}:6443'}}\nusers: []\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn the_variables_files_are_merged_and_missing_ones_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (
            file(dir.path(), "one", "one"),
            file(dir.path(), "two", "two"),
        );
        let list = std::env::join_paths([&dir.path().join("none"), &one, &two]).unwrap();
        let merged = files(&Access::default(), Some(&list)).unwrap().unwrap();
        assert_eq!(merged.current_context.as_deref(), Some("one"));
        assert_eq!(merged.contexts.len(), 2);
    }

    #[test]
    fn the_flag_beats_the_variable_and_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (
            file(dir.path(), "one", "one"),
            file(dir.path(), "two", "two"),
        );
        let mut access = Access {
            kubeconfig: Some(two),
            ..Access::default()
        };
        let chosen = files(&access, Some(one.as_os_str())).unwrap().unwrap();
        assert_eq!(chosen.current_context.as_deref(), Some("two"));
        access.kubeconfig = Some(dir.path().join("none"));
        assert!(files(&access, None).is_err());
    }

    #[tokio::test]
    async fn the_namespace_comes_from_the_flag_or_the_context() {
        let dir = tempfile::tempdir().unwrap();
        let mut access = Access {
            kubeconfig: Some(file(dir.path(), "one", "one")),
            ..Access::default()
        };
        assert_eq!(load(&access).await.unwrap().default_namespace, "ns-one");
        access.namespace = Some("shop".into());
        assert_eq!(load(&access).await.unwrap().default_namespace, "shop");
        access.user = Some("absent".into());
        let why = load(&access).await.unwrap_err().to_string();
        assert_eq!(why, "the kubeconfig has no user \"absent\"");
        access.user = None;
        access.context = Some("absent".into());
        assert!(load(&access).await.is_err());
    }
}
