//! What a file holds comes back, and what is not whole is refused.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::store::{Change, Encryption, Resource, ResourceDef, Store};

const DEFS: &[ResourceDef] = &[
    ResourceDef {
        group: "",
        plural: "things",
        fields: &[],
        paths: &[],
    },
    ResourceDef {
        group: "example.com",
        plural: "widgets",
        fields: &[],
        paths: &[],
    },
];

async fn filled(directory: &Path) -> Store {
    let store = Store::open(&directory.join("store.redb"), DEFS).unwrap();
    for index in 0..300 {
        let resource = Resource(index % 2);
        let object = json!({"metadata": {"name": format!("o{index}")}, "data": "ä".repeat(index)});
        let draft = store.draft(resource, &object);
        let key = format!("ns/o{index}").into();
        store
            .write(resource, key, Change::Create(draft))
            .await
            .unwrap();
    }
    store
}

fn save(store: &Store, path: &Path) {
    let pieces: Vec<_> = store.everything().into_file().collect();
    std::fs::write(path, pieces.concat()).unwrap();
}

#[tokio::test]
async fn a_store_comes_back_as_it_was_but_later() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = filled(old.path()).await;
    let file = old.path().join("snapshot");
    save(&store, &file);
    let path = new.path().join("store.redb");
    let restored = into_file(&file, &path, DEFS, Encryption::default()).unwrap();
    assert_eq!(
        restored,
        Restored {
            objects: 300,
            revision: store.revision()
        }
    );
    let again = Store::open(&path, DEFS).unwrap();
    for resource in [Resource(0), Resource(1)] {
        let (had, has) = (
            store.snapshot(resource).objects,
            again.snapshot(resource).objects,
        );
        assert_eq!(had.len(), 150);
        for ((key, had), (same, has)) in had.iter().zip(has.iter()) {
            assert_eq!(
                (key, had.json(), had.revision),
                (same, has.json(), has.revision)
            );
        }
    }
    assert!(again.revision() > store.revision() + 1_000_000);
    let since = again.watch(Resource(0), store.revision() + 1);
    assert!(since.is_err(), "nobody knows what came after the snapshot");
    let occupied = into_file(&file, &path, DEFS, Encryption::default());
    assert!(matches!(occupied, Err(RestoreError::Occupied(_))));
}

#[tokio::test]
async fn a_file_that_is_not_whole_is_refused_and_makes_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(directory.path()).await;
    let file = directory.path().join("snapshot");
    save(&store, &file);
    let whole = std::fs::read(&file).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let path = directory.path().join("new.redb");
        let error = into_file(&file, &path, DEFS, Encryption::default()).unwrap_err();
        assert!(!path.exists());
        error.to_string()
    };
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap();
    assert!(refused(&whole[..=last]).contains("without its last line"));
    assert!(refused(&whole[..last - 7]).contains("line 301"));
    assert!(refused(b"").contains("cut off"));
    assert!(refused(b"{}\n").contains("no snapshot"));
    let other = String::from_utf8(whole.clone()).unwrap();
    assert!(refused(other.replace("o17", "o71").as_bytes()).contains("damaged"));
    let newer = other.replacen(r#""naru_snapshot":1"#, r#""naru_snapshot":2"#, 1);
    assert!(refused(newer.as_bytes()).contains("form 2"));
    assert!(refused(&[&whole[..], b"more\n"].concat()).contains("behind the end"));
}
