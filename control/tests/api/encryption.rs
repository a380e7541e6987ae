//! Secrets at rest, looked for in the files of a real server.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::Control;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const ONE: &str = "{name: one, secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}";
const TWO: &str = "{name: two, secret: AQEBAQEBAQEBAQEBAQEBAQ==}";

fn configure(path: &Path, providers: &str) {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
         resources: [{{resources: [secrets], providers: [{providers}]}}]"
    );
    std::fs::write(path, text).unwrap();
}

/// Whether `text` stands in any file of the store.
fn occurs(control: &Control, text: &str) -> bool {
    let files = std::fs::read_dir(control.dir()).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut files = files.filter(|path| path.is_file());
    files.any(|path| {
        let bytes = std::fs::read(path).unwrap();
        let mut places = bytes.windows(text.len());
        places.any(|place| place == text.as_bytes())
    })
}

fn secret(name: &str) -> Value {
    // "c2lsdmVyLWZvcmVzdA==" in base64.
    json!({"metadata": {"name": name}, "stringData": {"word": "silver-forest"}})
}

async fn read(control: &Control, name: &str) {
    let secret = control.get(&format!("{SECRETS}/{name}")).await.expect(200);
    assert_eq!(secret["data"]["word"], "c2lsdmVyLWZvcmVzdA==");
}

#[tokio::test]
async fn a_secret_stands_in_no_file_and_keys_are_replaced_by_two_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("encryption.yaml");
    configure(&config, &format!("aesgcm: {{keys: [{ONE}]}}"));
    let path = config.display().to_string();
    let mut control = Control::start(&["--encryption-provider-config", &path]).await;
    control.post(SECRETS, &secret("one")).await.expect(201);
    let map = json!({"metadata": {"name": "one"}, "data": {"word": "golden-meadow"}});
    control.post(MAPS, &map).await.expect(201);
    let hidden = |control: &Control| {
        assert!(!occurs(control, "silver-forest") && !occurs(control, "c2lsdmVyLWZvcmVzdA"));
        assert!(occurs(control, "golden-meadow"), "nothing can be found");
    };
    hidden(&control);
    control.restart().await;
    read(&control, "one").await;
    hidden(&control);
    configure(&config, &format!("aesgcm: {{keys: [{TWO}, {ONE}]}}"));
    control.restart().await;
    read(&control, "one").await;
    control.post(SECRETS, &secret("two")).await.expect(201);
    configure(&config, &format!("aesgcm: {{keys: [{TWO}]}}"));
    control.restart().await;
    read(&control, "one").await;
    read(&control, "two").await;
    hidden(&control);
}

#[tokio::test]
async fn what_was_stored_before_is_encrypted_when_encryption_is_switched_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("encryption.yaml");
    configure(&config, "identity: {}");
    let path = config.display().to_string();
    let mut control = Control::start(&["--encryption-provider-config", &path]).await;
    let made = control.post(SECRETS, &secret("one")).await.expect(201);
    assert!(occurs(&control, "c2lsdmVyLWZvcmVzdA"));
    configure(&config, &format!("aesgcm: {{keys: [{ONE}]}}"));
    control.restart().await;
    read(&control, "one").await;
    assert!(occurs(&control, "k8s:enc:aesgcm:v1:one:"));
    let same = control.get(&format!("{SECRETS}/one")).await.expect(200);
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&made), version(&same), "it has not changed");
}

#[test]
fn a_configuration_without_sense_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("encryption.yaml");
    configure(&config, "kms: {name: vault}");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_naru-control"))
        .args(["serve", "--listen", "127.0.0.1:0", "--advertise-address"])
        .args(["192.0.2.1", "--data-dir"])
        .arg(folder.path())
        .arg("--encryption-provider-config")
        .arg(&config)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let last = text.lines().last().unwrap_or_default();
    assert!(last.contains("kms is not supported, only aesgcm and identity are"));
    assert!(!folder.path().join("store.redb").exists(), "{text}");
}
