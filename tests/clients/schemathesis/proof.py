"""schemathesis: requests made from the server's own OpenAPI documents, and answers held against them.

What is made up is the same in every run. No request may end in an answer of 500 or above, and what
is answered has to be what the document says. Refusals have codes that no document of Kubernetes
lists, so codes are not held against it. One worker, because Python 3.11 has an error of its own when
several walk deep schemas at once.
"""

import base64
import os
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import yaml
from claims import claim, main

CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance"
HOME = Path(mkdtemp())
CONFIG = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
SERVER = CONFIG["clusters"][0]["cluster"]["server"]


def unpacked(part, key):
    """A part of the kubeconfig as a file."""
    path = HOME / key
    path.write_bytes(base64.b64decode(part[f"{key}-data"]))
    return str(path)


AUTHORITY = unpacked(CONFIG["clusters"][0]["cluster"], "certificate-authority")
CERTIFICATE = unpacked(CONFIG["users"][0]["user"], "client-certificate")
KEY = unpacked(CONFIG["users"][0]["user"], "client-key")
# A namespace that there is, so that requests come further than to its absence, and no streams,
# which don't end.
SETTINGS = HOME / "schemathesis.toml"
SETTINGS.write_text(
    '[parameters]\n"path.namespace" = "default"\n"query.watch" = "false"\n'
    '"query.timeoutSeconds" = 1\n'
)


def holds(group, *plurals, phases="fuzzing"):
    """Runs schemathesis on some kinds of a group."""
    paths = f"/({'|'.join(plurals)})(/{{name}})?(/status)?$"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(SETTINGS)]
    command += ["run", f"{SERVER}/openapi/v3/{group}", "--url", SERVER]
    command += ["--include-path-regex", paths, "--checks", CHECKS]
    command += ["--phases", phases, "--mode", "all", "--max-examples", "8"]
    command += ["--generation-deterministic", "--no-shrink"]
    command += ["--seed", "1", "--workers", "1", "--continue-on-failure", "--no-color"]
    command += ["--suppress-health-check", "all", "--warnings", "off"]
    command += ["--request-timeout", "10", "--tls-verify", AUTHORITY]
    command += ["--request-cert", CERTIFICATE, "--request-cert-key", KEY]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, file=sys.stderr)
    said = done.stdout.split("FAILURES")[-1]
    assert done.returncode == 0, f"{done.returncode}\n{said}\n{done.stderr}"


@claim
def answers_about_configuration_fit_their_schemas():
    holds("api/v1", "configmaps", "secrets", "serviceaccounts")


@claim
def answers_about_services_fit_their_schemas():
    holds("api/v1", "services")


@claim
def answers_about_leases_fit_their_schemas():
    # The only ones for which every boundary is tried: that is two thousand requests.
    holds("apis/coordination.k8s.io/v1", "leases", phases="coverage,fuzzing")


@claim
def answers_about_rights_fit_their_schemas():
    holds("apis/rbac.authorization.k8s.io/v1", "roles")


main()
