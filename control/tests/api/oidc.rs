//! ID tokens of an OpenID Connect issuer.

use super::identity::myself;
use super::rights::get;
use super::*;
use support::eventually;
use support::issuer::{Issuer, Key};

/// A server that believes the issuer of which `authority` is.
async fn believing(issuer: &Issuer, authority: &std::path::Path, more: &[&str]) -> Control {
    let (url, authority) = (issuer.url(), authority.display().to_string());
    let mut args = vec![
        "--oidc-issuer-url",
        &url,
        "--oidc-client-id",
        "naru",
        "--oidc-ca-file",
        &authority,
    ];
    args.extend(more);
    Control::start(&args).await
}

async fn code(control: &Control, token: &str) -> u16 {
    get(&control.bearer(token).await, "/api").await.code
}

async fn accepted(control: &Control, token: &str) {
    eventually("the token is believed", || async {
        (code(control, token).await == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_of_the_issuer_says_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.crt");
    let (rsa, elliptic) = (Key::rsa("one"), Key::elliptic("two"));
    let issuer = Issuer::start(&authority, &[&rsa, &elliptic]).await;
    let more = [
        "--oidc-signing-algs=RS256,ES256",
        "--oidc-username-prefix=oidc:",
        "--oidc-groups-claim=groups",
        "--oidc-groups-prefix=oidc:",
        "--oidc-required-claim=hd=example.org",
    ];
    let control = believing(&issuer, &authority, &more).await;
    let good = issuer.claims(json!({"hd": "example.org", "jti": "7"}));
    for key in [&rsa, &elliptic] {
        let token = key.sign(&good);
        accepted(&control, &token).await;
        assert_eq!(
            myself(&control.bearer(&token).await, &[]).await,
            json!({"username": "oidc:jane", "groups": ["oidc:dev", "system:authenticated"],
                "extra": {"authentication.kubernetes.io/credential-id": ["JTI=7"]}})
        );
        let review = json!({"spec": {"token": token}});
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let review = control.post(path, &review).await.expect(201);
        assert_eq!(review["status"]["user"]["username"], "oidc:jane");
    }
    let now = jiff::Timestamp::now().as_second();
    let with = |changes: Value| {
        let mut all = json!({"hd": "example.org"});
        let changes = changes.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(changes);
        issuer.claims(all)
    };
    for bad in [
        with(json!({"aud": "other"})),
        with(json!({"exp": now - 1})),
        with(json!({"exp": null})),
        with(json!({"nbf": now + 3600})),
        with(json!({"iss": "https://127.0.0.1"})),
        with(json!({"hd": "example.com"})),
        with(json!({"hd": null})),
        with(json!({"sub": null})),
        with(json!({"groups": 7})),
    ] {
        assert_eq!(code(&control, &rsa.sign(&bad)).await, 401, "{bad}");
    }
    // The same id does not make it the issuer's key, nor does the right claim make it signed.
    let forged = Key::rsa("one").sign(&good);
    assert_eq!(code(&control, &forged).await, 401);
    let token = rsa.sign(&good);
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(code(&control, &format!("{signed}.")).await, 401);
    let (_, rest) = signed.split_once('.').unwrap();
    // {"alg":"none"}
    assert_eq!(
        code(&control, &format!("eyJhbGciOiJub25lIn0.{rest}.")).await,
        401
    );
}

#[tokio::test]
async fn an_algorithm_that_is_not_wanted_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.crt");
    let (rsa, elliptic) = (Key::rsa("one"), Key::elliptic("two"));
    let issuer = Issuer::start(&authority, &[&rsa, &elliptic]).await;
    let more = ["--oidc-username-claim=email"];
    let control = believing(&issuer, &authority, &more).await;
    let claims = issuer.claims(json!({"email": "j@example.org", "email_verified": true}));
    accepted(&control, &rsa.sign(&claims)).await;
    let who = myself(&control.bearer(&rsa.sign(&claims)).await, &[]).await;
    assert_eq!(who["username"], "j@example.org");
    assert_eq!(code(&control, &elliptic.sign(&claims)).await, 401);
    let unsure = issuer.claims(json!({"email": "j@example.org", "email_verified": false}));
    assert_eq!(code(&control, &rsa.sign(&unsure)).await, 401);
}

#[tokio::test]
async fn new_keys_are_fetched_when_they_are_used_but_not_for_every_guess() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.crt");
    let (old, new) = (Key::rsa("old"), Key::rsa("new"));
    let issuer = Issuer::start(&authority, &[&old]).await;
    let control = believing(&issuer, &authority, &[]).await;
    let claims = issuer.claims(json!({}));
    accepted(&control, &old.sign(&claims)).await;
    assert_eq!(issuer.fetches(), 1);
    issuer.publish(&[&new]);
    // Believed at once, without another wait.
    assert_eq!(code(&control, &new.sign(&claims)).await, 200);
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(code(&control, &new.sign(&claims)).await, 200);
    for guess in 0..20 {
        let guess = old.called(&format!("guess{guess}"));
        assert_eq!(code(&control, &guess.sign(&claims)).await, 401);
        let guess = old.called("new");
        assert_eq!(code(&control, &guess.sign(&claims)).await, 401);
    }
    assert_eq!(code(&control, &old.sign(&claims)).await, 401);
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_away_stops_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, file) = (folder.path().join("ca.crt"), folder.path().join("tokens"));
    std::fs::write(&file, "abc,joe,1\n").unwrap();
    let key = Key::rsa("one");
    let mut issuer = Issuer::away(&authority);
    let more = ["--token-file", file.to_str().unwrap()];
    let control = believing(&issuer, &authority, &more).await;
    let token = key.sign(&issuer.claims(json!({})));
    assert_eq!(code(&control, &token).await, 401);
    assert_eq!(code(&control, "abc").await, 200);
    control.get("/api").await.expect(200);
    eventually("it is told", || async {
        control
            .log()
            .contains("the OIDC issuer is away")
            .then_some(())
    })
    .await;
    issuer.publish(&[&key]);
    issuer.come().await;
    accepted(&control, &token).await;
    let who = myself(&control.bearer(&token).await, &[]).await;
    assert_eq!(
        who["username"],
        format!("{}#jane", issuer.url()),
        "names of other claims than emails are told by their issuer"
    );
}

/// What the server says when it does not start.
fn refused(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_naru-control"))
        .args(["serve", "--listen", "127.0.0.1:0", "--advertise-address"])
        .args(["192.0.2.1", "--data-dir"])
        .arg(folder.path())
        .args(args)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_issuer_without_sense_is_one_error() {
    let url = "--oidc-issuer-url=http://issuer.example.org";
    let said = refused(&[url, "--oidc-client-id=naru"]);
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.contains("OIDC issuer \"http://issuer.example.org\": must begin with https://"),
        "{said}"
    );
    let said = refused(&[url]);
    assert!(said.contains("--oidc-client-id"), "{said}");
    let said = refused(&[url, "--oidc-client-id=naru", "--oidc-signing-algs=HS256"]);
    assert!(said.contains("must be one of RS256"), "{said}");
}
