//! The signers of Kubernetes that this cluster has, and what each of them signs.

use crate::pki::{CertificateRequest, Purpose};

/// A signer of `kubernetes.io` whose certificates are from the cluster's authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    /// For clients of the API server.
    Client,
    /// For nodes as clients of the API server.
    NodeClient,
    /// For nodes as servers.
    NodeServing,
}

impl Signer {
    /// The signer of that name, if it is one of ours.
    pub(super) fn of(name: &str) -> Option<Signer> {
        match name {
            "kubernetes.io/kube-apiserver-client" => Some(Signer::Client),
            "kubernetes.io/kube-apiserver-client-kubelet" => Some(Signer::NodeClient),
            "kubernetes.io/kubelet-serving" => Some(Signer::NodeServing),
            _ => None,
        }
    }

    /// What the signed certificate is good for.
    ///
    /// # Errors
    /// Why it does not sign this.
    pub(super) fn purposes(
        self,
        request: &CertificateRequest,
        usages: &[String],
    ) -> Result<Vec<Purpose>, String> {
        match self {
            Signer::Client => {}
            Signer::NodeClient => {
                of_a_node(request)?;
                for (there, what) in [
                    (!request.names.is_empty(), "DNS"),
                    (!request.emails.is_empty(), "Email"),
                    (!request.addresses.is_empty(), "IP"),
                    (!request.uris.is_empty(), "URI"),
                ] {
                    if there {
                        return Err(format!("{what} subjectAltNames are not allowed"));
                    }
                }
            }
            Signer::NodeServing => {
                of_a_node(request)?;
                if request.names.is_empty() && request.addresses.is_empty() {
                    return Err("DNS or IP subjectAltName is required".to_owned());
                }
                for (there, what) in [
                    (!request.emails.is_empty(), "Email"),
                    (!request.uris.is_empty(), "URI"),
                ] {
                    if there {
                        return Err(format!("{what} subjectAltNames are not allowed"));
                    }
                }
            }
        }
        self.used_as(usages)
    }

    fn used_as(self, usages: &[String]) -> Result<Vec<Purpose>, String> {
        let (main, word) = match self {
            Signer::Client | Signer::NodeClient => (Purpose::Client, "client auth"),
            Signer::NodeServing => (Purpose::Server, "server auth"),
        };
        let mut purposes = Vec::new();
        for usage in usages {
            let purpose = match usage.as_str() {
                "digital signature" => Purpose::Signature,
                "key encipherment" => Purpose::KeyEncipherment,
                usage if usage == word => main,
                other => return Err(format!("usage {other:?} is not allowed")),
            };
            if !purposes.contains(&purpose) {
                purposes.push(purpose);
            }
        }
        let of_node = self != Signer::Client;
        for (wanted, word) in [(main, word), (Purpose::Signature, "digital signature")] {
            let needed = wanted == main || of_node;
            if needed && !purposes.contains(&wanted) {
                return Err(format!("usages did not contain {word:?}"));
            }
        }
        Ok(purposes)
    }
}

fn of_a_node(request: &CertificateRequest) -> Result<(), String> {
    if request.organizations() != ["system:nodes"] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    let node = request.common_name().strip_prefix("system:node:");
    if node.is_none_or(str::is_empty) {
        return Err("subject common name does not begin with system:node:".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::request_tests::of_node;

    fn ask(signer: Signer, pem: &str, usages: &[&str]) -> Result<Vec<Purpose>, String> {
        let request = CertificateRequest::from_pem(pem.as_bytes()).unwrap();
        let usages: Vec<String> = usages.iter().map(|it| (*it).to_owned()).collect();
        signer.purposes(&request, &usages)
    }

    #[test]
    fn a_node_is_signed_as_client_or_as_server() {
        let (client, server) = (of_node("n1", &[]), of_node("n1", &["192.0.2.1"]));
        let signature = "digital signature";
        let good = ask(Signer::NodeClient, &client, &[signature, "client auth"]);
        assert_eq!(good, Ok(vec![Purpose::Signature, Purpose::Client]));
        let usages = ["server auth", signature, "key encipherment"];
        assert_eq!(
            ask(Signer::NodeServing, &server, &usages),
            Ok(vec![
                Purpose::Server,
                Purpose::Signature,
                Purpose::KeyEncipherment
            ])
        );
        for (signer, pem, usages, why) in [
            (
                Signer::NodeClient,
                &server,
                [signature, "client auth"],
                "IP subjectAltNames are not allowed",
            ),
            (
                Signer::NodeServing,
                &client,
                [signature, "server auth"],
                "DNS or IP subjectAltName is required",
            ),
            (
                Signer::NodeClient,
                &client,
                [signature, "server auth"],
                "usage \"server auth\" is not allowed",
            ),
            (
                Signer::NodeClient,
                &client,
                [signature, signature],
                "usages did not contain \"client auth\"",
            ),
            (
                Signer::NodeServing,
                &server,
                ["server auth", "key encipherment"],
                "usages did not contain \"digital signature\"",
            ),
            (
                Signer::NodeClient,
                &of_node("", &[]),
                [signature, "client auth"],
                "subject common name does not begin with system:node:",
            ),
        ] {
            assert_eq!(ask(signer, pem, &usages), Err(why.to_owned()));
        }
    }

    #[test]
    fn other_clients_may_be_anybody_but_no_servers() {
        let pem = of_node("n1", &["any.example.org"]);
        assert!(ask(Signer::Client, &pem, &["client auth"]).is_ok());
        let why = ask(Signer::Client, &pem, &["client auth", "server auth"]).unwrap_err();
        assert_eq!(why, "usage \"server auth\" is not allowed");
        assert_eq!(Signer::of("kubernetes.io/legacy-unknown"), None);
    }
}
