//! How a node gets in: bootstrap tokens, requests for certificates, and what signs and removes them.

use super::identity::{CSRS, grant, myself};
use super::rights::{ask, get, sign};
use super::*;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::Method;
use kube::Client;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use support::eventually;
use support::http::MERGE_PATCH;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
const NODES: &str = "system:bootstrappers:kubeadm:default-node-token";
const SECRET: &str = "0123456789abcdef";
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";

/// The Secret of the token `ID.0123456789abcdef`, with changes.
fn token(id: &str, changes: Value) -> Value {
    let mut data = json!({"token-id": id, "token-secret": SECRET,
        "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
        "expiration": "2099-01-01T00:00:00Z", "auth-extra-groups": NODES});
    let changes = changes.as_object().unwrap().clone();
    data.as_object_mut().unwrap().extend(changes);
    json!({"metadata": {"name": format!("bootstrap-token-{id}")},
        "type": "bootstrap.kubernetes.io/token", "stringData": data})
}

fn in_seconds(seconds: i64) -> String {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    jiff::Timestamp::from_second(end.as_second())
        .unwrap()
        .to_string()
}

/// A request, PEM, and its key.
fn asked(user: &str, groups: &[&str], names: &[&str]) -> (String, KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for group in groups {
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, *group);
    }
    params.distinguished_name.push(DnType::CommonName, user);
    let key = KeyPair::generate().unwrap();
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    (pem, key)
}

fn request(name: &str, signer: &str, usage: &str, pem: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"request": BASE64_STANDARD.encode(pem),
        "signerName": signer, "usages": ["digital signature", usage]}})
}

/// The certificate, PEM, that a request got.
async fn issued(client: &Client, name: &str) -> String {
    let path = format!("{CSRS}/{name}");
    let certificate = eventually("a certificate", || async {
        let request = get(client, &path).await.expect(200);
        let certificate = &request["status"]["certificate"];
        certificate.as_str().map(str::to_owned)
    })
    .await;
    String::from_utf8(BASE64_STANDARD.decode(certificate).unwrap()).unwrap()
}

async fn certified(control: &Control, certificate: &str, key: &KeyPair) -> Client {
    let encode = |text: &str| BASE64_STANDARD.encode(text);
    let user = json!({"client-certificate-data": encode(certificate),
        "client-key-data": encode(&key.serialize_pem())});
    control.shown(user).await
}

fn approval() -> Value {
    json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Test",
        "message": "by hand"}]}})
}

#[tokio::test]
async fn a_node_comes_in_with_a_token_and_stays_with_a_certificate() {
    let control = Control::start(&[]).await;
    create(&control, SECRETS, &token("abcdef", json!({}))).await;
    let new = control.bearer(&format!("abcdef.{SECRET}")).await;
    assert_eq!(
        myself(&new, &[]).await,
        json!({"username": "system:bootstrap:abcdef",
            "groups": ["system:bootstrappers", NODES, "system:authenticated"]})
    );
    get(&new, "/api/v1/nodes").await.refused(403, "Forbidden");

    let (pem, key) = asked("system:node:n9", &["system:nodes"], &[]);
    let wanted = request("n9", NODE_CLIENT, "client auth", &pem);
    let made = ask(&new, Method::POST, CSRS, &wanted).await.expect(201);
    assert_eq!(made["spec"]["username"], "system:bootstrap:abcdef");
    let certificate = issued(&new, "n9").await;
    let stored = get(&new, &format!("{CSRS}/n9")).await.expect(200);
    assert_eq!(stored["status"]["conditions"][0]["reason"], "AutoApproved");

    let node = certified(&control, &certificate, &key).await;
    let who = myself(&node, &[]).await;
    assert_eq!(who["username"], "system:node:n9");
    assert_eq!(
        who["groups"],
        json!(["system:nodes", "system:authenticated"])
    );
    let named = |name: &str| json!({"metadata": {"name": name}});
    let nodes = "/api/v1/nodes";
    ask(&node, Method::POST, nodes, &named("n9"))
        .await
        .expect(201);
    ask(&node, Method::POST, nodes, &named("n8"))
        .await
        .refused(403, "Forbidden");

    // It renews its own certificate, and gets no other's.
    let (pem, key) = asked("system:node:n9", &["system:nodes"], &[]);
    let wanted = request("n9-again", NODE_CLIENT, "client auth", &pem);
    ask(&node, Method::POST, CSRS, &wanted).await.expect(201);
    let certificate = issued(&node, "n9-again").await;
    let again = certified(&control, &certificate, &key).await;
    assert_eq!(myself(&again, &[]).await["username"], "system:node:n9");
    let (pem, _) = asked("system:node:n8", &["system:nodes"], &[]);
    let wanted = request("n8", NODE_CLIENT, "client auth", &pem);
    let why = ask(&again, Method::POST, CSRS, &wanted).await;
    let why = why.refused(403, "Forbidden");
    assert!(
        why.ends_with("can only create a node CSR with CN=system:node:n9"),
        "{why}"
    );

    // What it shows as a server is for somebody to approve.
    let (pem, _) = asked("system:node:n9", &["system:nodes"], &["n9", "192.0.2.9"]);
    let wanted = request("n9-serving", NODE_SERVING, "server auth", &pem);
    ask(&node, Method::POST, CSRS, &wanted).await.expect(201);
    let path = format!("{CSRS}/n9-serving/approval");
    let approved = control.patch(&path, MERGE_PATCH, &approval()).await;
    let approved = approved.expect(200);
    assert_eq!(approved["status"].get("certificate"), None);
    let certificate = issued(&node, "n9-serving").await;
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).unwrap();
    let serving = pem.parse_x509().unwrap();
    let usage = serving.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth);
    let names = serving.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 2);
}

#[tokio::test]
async fn a_new_node_learns_whom_to_trust_from_what_its_token_signs() {
    let control = Control::start(&[]).await;
    let nobody = control.shown(json!({})).await;
    let info = get(&nobody, INFO).await.expect(200);
    let text = info["data"]["kubeconfig"].as_str().unwrap().to_owned();
    let authority = std::fs::read_to_string(control.dir().join("pki/ca.crt")).unwrap();
    assert!(text.contains(&BASE64_STANDARD.encode(authority)), "{text}");
    assert_eq!(info["data"].as_object().unwrap().len(), 1);
    get(
        &nobody,
        "/api/v1/namespaces/kube-public/configmaps/kube-root-ca.crt",
    )
    .await
    .refused(401, "Unauthorized");

    create(&control, SECRETS, &token("abcdef", json!({}))).await;
    let silent = json!({"usage-bootstrap-signing": "false"});
    create(&control, SECRETS, &token("silent", silent)).await;
    let signature = eventually("a signature", || async {
        let info = get(&nobody, INFO).await.expect(200);
        let signature = &info["data"]["jws-kubeconfig-abcdef"];
        signature.as_str().map(str::to_owned)
    })
    .await;
    let parts: Vec<&str> = signature.split('.').collect();
    let [header, "", signature] = parts[..] else {
        panic!("{signature}");
    };
    let payload = BASE64_URL_SAFE_NO_PAD.encode(&text);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let signed = format!("{header}.{payload}");
    aws_lc_rs::hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
    let info = get(&nobody, INFO).await.expect(200);
    assert_eq!(info["data"].as_object().unwrap().len(), 2, "{info}");

    let path = format!("{SECRETS}/bootstrap-token-abcdef");
    control.delete(&path, &Value::Null).await.expect(200);
    eventually("the signature goes with its token", || async {
        let info = get(&nobody, INFO).await.expect(200);
        (info["data"].as_object().unwrap().len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_is_good_for_what_its_secret_says_until_it_is_over() {
    let control = Control::start(&[]).await;
    for (id, changes) in [
        ("unused", json!({"usage-bootstrap-authentication": "false"})),
        ("master", json!({"auth-extra-groups": "system:masters"})),
        ("others", json!({"token-id": "abcdef"})),
    ] {
        create(&control, SECRETS, &token(id, changes)).await;
        let client = control.bearer(&format!("{id}.{SECRET}")).await;
        get(&client, "/api").await.refused(401, "Unauthorized");
    }
    create(
        &control,
        SECRETS,
        &token("plain0", json!({"auth-extra-groups": ""})),
    )
    .await;
    let guessed = control.bearer("plain0.0123456789abcdee").await;
    get(&guessed, "/api").await.refused(401, "Unauthorized");
    let plain = control.bearer(&format!("plain0.{SECRET}")).await;
    get(&plain, "/api").await.expect(200);
    // Without the group of new nodes it makes no node.
    let (pem, _) = asked("system:node:n1", &["system:nodes"], &[]);
    let wanted = request("n1", NODE_CLIENT, "client auth", &pem);
    ask(&plain, Method::POST, CSRS, &wanted)
        .await
        .refused(403, "Forbidden");

    let soon = json!({"expiration": in_seconds(2)});
    create(&control, SECRETS, &token("short0", soon)).await;
    let past = json!({"expiration": in_seconds(-5)});
    create(&control, SECRETS, &token("past00", past)).await;
    let late = control.bearer(&format!("past00.{SECRET}")).await;
    get(&late, "/api").await.refused(401, "Unauthorized");
    for id in ["short0", "past00"] {
        let path = format!("{SECRETS}/bootstrap-token-{id}");
        eventually("it is removed", || async {
            (control.get(&path).await.code == 404).then_some(())
        })
        .await;
    }
    control
        .get(&format!("{SECRETS}/bootstrap-token-plain0"))
        .await
        .expect(200);
}

#[tokio::test]
async fn tokens_let_nobody_in_where_they_are_not_wanted() {
    let control = Control::start(&["--enable-bootstrap-token-auth=false"]).await;
    create(&control, SECRETS, &token("abcdef", json!({}))).await;
    let client = control.bearer(&format!("abcdef.{SECRET}")).await;
    get(&client, "/api").await.refused(401, "Unauthorized");
}

#[tokio::test]
async fn who_approves_or_signs_needs_the_right_to_the_signer() {
    let control = Control::start(&[]).await;
    let client = "kubernetes.io/kube-apiserver-client";
    let (pem, key) = asked("jane", &["dev"], &[]);
    create(
        &control,
        CSRS,
        &request("jane", client, "client auth", &pem),
    )
    .await;
    let joe = sign(&control, "joe", "people").await;
    let rules = json!([
        {"verbs": ["get", "update", "patch"], "apiGroups": ["certificates.k8s.io"],
            "resources": ["certificatesigningrequests", "certificatesigningrequests/approval",
                "certificatesigningrequests/status"]},
        {"verbs": ["approve", "sign"], "apiGroups": ["certificates.k8s.io"],
            "resources": ["signers"], "resourceNames": ["naru.test/*"]}]);
    grant(&control, "joe", rules).await;
    let path = format!("{CSRS}/jane/approval");
    let why = ask(&joe, Method::PATCH, &path, &approval()).await;
    assert_eq!(
        why.refused(403, "Forbidden"),
        "certificatesigningrequests.certificates.k8s.io \"jane\" is forbidden: user not permitted \
         to approve requests with signerName \"kubernetes.io/kube-apiserver-client\""
    );
    let forged = json!({"status": {"certificate": BASE64_STANDARD.encode("mine")}});
    let why = ask(&joe, Method::PATCH, &format!("{CSRS}/jane/status"), &forged).await;
    let why = why.refused(403, "Forbidden");
    assert!(why.contains("not permitted to sign requests"), "{why}");

    // Of his own domain he does both, and nobody else signs there.
    create(
        &control,
        CSRS,
        &request("own", "naru.test/any", "client auth", &pem),
    )
    .await;
    let path = format!("{CSRS}/own/approval");
    ask(&joe, Method::PATCH, &path, &approval())
        .await
        .expect(200);
    let status = format!("{CSRS}/own/status");
    let signed = ask(&joe, Method::PATCH, &status, &forged).await.expect(200);
    assert_eq!(
        signed["status"]["certificate"],
        forged["status"]["certificate"]
    );

    let path = format!("{CSRS}/jane/approval");
    control
        .patch(&path, MERGE_PATCH, &approval())
        .await
        .expect(200);
    let certificate = issued(&control.client, "jane").await;
    let jane = certified(&control, &certificate, &key).await;
    assert_eq!(
        myself(&jane, &[]).await["groups"],
        json!(["dev", "system:authenticated"])
    );
    let none = json!({"status": {"conditions": []}});
    control
        .patch(&path, MERGE_PATCH, &none)
        .await
        .refused(422, "Invalid");

    let (pem, _) = asked("root", &["system:masters"], &[]);
    let root = request("root", client, "client auth", &pem);
    let why = control.post(CSRS, &root).await.refused(403, "Forbidden");
    assert!(why.contains("system:masters group is not allowed"), "{why}");
}

#[tokio::test]
async fn what_is_approved_but_not_to_be_signed_fails_with_its_reason() {
    let control = Control::start(&[]).await;
    let (pem, _) = asked("system:node:n1", &["system:nodes"], &[]);
    create(
        &control,
        CSRS,
        &request("n1", NODE_SERVING, "server auth", &pem),
    )
    .await;
    let path = format!("{CSRS}/n1/approval");
    control
        .patch(&path, MERGE_PATCH, &approval())
        .await
        .expect(200);
    let failed = eventually("it fails", || async {
        let request = control.get(&format!("{CSRS}/n1")).await.expect(200);
        let conditions = request["status"]["conditions"].as_array()?.clone();
        conditions.into_iter().find(|it| it["type"] == "Failed")
    })
    .await;
    assert_eq!(failed["reason"], "SignerValidationFailure");
    assert_eq!(failed["message"], "DNS or IP subjectAltName is required");
}
