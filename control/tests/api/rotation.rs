//! Certificates that end while the server runs.

use super::*;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::sync::Arc;
use support::eventually;

/// The certificate that the server shows to whoever trusts its authority.
async fn shown(control: &Control) -> CertificateDer<'static> {
    let authority = CertificateDer::from_pem_file(control.dir().join("pki/ca.crt"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.unwrap()).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", control.port())).await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, stream.unwrap()).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn ends(certificate: &CertificateDer<'_>) -> i64 {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).unwrap();
    certificate.validity().not_after.timestamp()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_under_open_connections() {
    let control = Control::start(&["--certificate-seconds", "15"]).await;
    let first = shown(&control).await;
    let kubeconfig = control.dir().join("admin.kubeconfig");
    let credentials = std::fs::read(&kubeconfig).unwrap();
    let mut watch = control
        .watch(
            &format!("{MAPS}?watch=1&labelSelector=app"),
            "application/json",
        )
        .await;
    let second = eventually("another certificate is shown", || async {
        Some(shown(&control).await).filter(|now| *now != first)
    })
    .await;
    assert!(ends(&second) > ends(&first));
    eventually(
        "the administrator's credentials are renewed, too",
        || async { (std::fs::read(&kubeconfig).ok()? != credentials).then_some(()) },
    )
    .await;
    eventually("the first certificate has ended", || async {
        (jiff::Timestamp::now().as_second() > ends(&first)).then_some(())
    })
    .await;
    // A new connection with the new credentials is heard on the old connection.
    let client = support::client_of(&kubeconfig, control.port())
        .await
        .unwrap();
    let json = [("content-type", "application/json")];
    let body = labelled("late", "x").to_string();
    let made = support::http::send(&client, http::Method::POST, MAPS, &json, body).await;
    made.expect(201);
    assert_eq!(watch.brief().await, ("ADDED".into(), "late".into()));
}
