use serde_json::{Value, json};

use super::place::{Place, Way, dial, to_url};
use super::*;

#[test]
fn a_url_is_https_and_says_where() {
    let way = to_url("https://hooks.example.com:8443/check?a=b").unwrap();
    assert_eq!(
        way,
        Way {
            dial: ("hooks.example.com".into(), 8443),
            host: "hooks.example.com".into(),
            path: "/check?a=b".into(),
        }
    );
    let six = to_url("https://[::1]").unwrap();
    assert_eq!(
        (six.dial.0.as_str(), six.dial.1, six.path.as_str()),
        ("::1", 443, "/")
    );
    for bad in ["http://a", "a", "https://", ""] {
        assert!(to_url(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_service_is_reached_at_its_endpoints() {
    let service = json!({"spec": {"clusterIP": "10.96.0.7", "ports": [
        {"name": "http", "port": 80}, {"name": "hook", "port": 443}]}});
    let endpoints = json!({"subsets": [{"addresses": [{"ip": "10.244.0.9"}], "ports": [
        {"name": "http", "port": 8080}, {"name": "hook", "port": 8443}]}]});
    let to = |endpoints: Option<&Value>, port| dial(&service, endpoints, port);
    assert_eq!(to(Some(&endpoints), 443), Ok(("10.244.0.9".into(), 8443)));
    assert_eq!(to(None, 443), Ok(("10.96.0.7".into(), 443)));
    assert_eq!(to(None, 444).unwrap_err(), "no service port 444 found");
    let headless = json!({"spec": {"clusterIP": "None", "ports": [{"port": 443}]}});
    assert!(
        dial(&headless, None, 443)
            .unwrap_err()
            .contains("no endpoints")
    );
    let outside = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}});
    assert_eq!(dial(&outside, None, 9), Ok(("a.b".into(), 9)));
}

#[test]
fn a_configuration_is_read_with_its_defaults() {
    let config = json!({"caBundle": "!", "service": {"namespace": "n", "name": "s"}});
    let remote = Remote::read(&config, Duration::from_secs(3), 100);
    assert!(remote.tls.is_err());
    let place = Place::Service {
        namespace: "n".into(),
        name: "s".into(),
        port: 443,
        path: String::new(),
    };
    assert_eq!(remote.place, place);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    assert!(
        authorities(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err()
    );
    assert_eq!(with_timeout("/a", 5), "/a?timeout=5s");
    assert_eq!(with_timeout("/a?b=c", 5), "/a?b=c&timeout=5s");
}
