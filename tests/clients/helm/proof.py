"""Helm: releases with all that a chart may have, upgraded, rolled back, adopted and taken away."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

from claims import claim, equal, eventually, main
from kubernetes import client, config

config.load_kube_config()
CORE = client.CoreV1Api()
APPS = client.AppsV1Api()
CUSTOM = client.CustomObjectsApi()
CHART = Path(__file__).with_name("chart")
PROGRAM = Path(sys.executable).with_name("helm")


def run(where, *words, **env):
    """Runs Helm in a namespace; whether it succeeded, what it printed, and what it complained of."""
    command = [PROGRAM, "--namespace", where, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | env, check=False, timeout=120
    )
    return done.returncode == 0, done.stdout, done.stderr


def helm(where, *words, **env):
    """Runs Helm, which has to succeed; what it printed."""
    good, said, wrong = run(where, *words, **env)
    assert good, f"helm {' '.join(map(str, words))}: {wrong}"
    return said


def refused(where, *words):
    """Runs Helm, which has to fail; what it complained of."""
    good, said, wrong = run(where, *words)
    assert not good, f"helm {' '.join(map(str, words))} succeeded: {said}"
    return wrong


def namespace():
    """A new namespace."""
    name = f"n-{uuid.uuid4().hex[:8]}"
    CORE.create_namespace({"metadata": {"name": name}})
    return name


def releases(where, *words, **env):
    """Name, revision and status of each release."""
    listed = json.loads(helm(where, "list", "--all", "--output", "json", *words, **env))
    return [(it["name"], it["revision"], it["status"]) for it in listed]


def names(where):
    """The ConfigMaps of releases in a namespace."""
    listed = CORE.list_namespaced_config_map(where).items
    return {it.metadata.name for it in listed} - {"kube-root-ca.crt"}


def gone(read, *where):
    """Whether an object is not there."""
    try:
        read(*where)
    except client.ApiException as error:
        equal(error.status, 404)
        return True
    return False


@claim
def a_release_is_installed_listed_read_and_taken_away():
    """Everything of a chart is made, owned by the release, and goes with it; what is to be kept stays."""
    where = namespace()
    said = helm(where, "install", "one", CHART, "--set", "colour=red", "--wait")
    assert "STATUS: deployed" in said, said
    equal(releases(where), [("one", "1", "deployed")])
    equal(releases(where, "--filter", "^two$"), [])
    found = APPS.read_namespaced_deployment("one", where)
    owner = found.metadata.annotations
    equal(owner["meta.helm.sh/release-name"], "one")
    equal(owner["meta.helm.sh/release-namespace"], where)
    equal(found.metadata.labels["app.kubernetes.io/managed-by"], "Helm")
    secret = CORE.list_namespaced_secret(where, label_selector="owner=helm").items
    equal([it.type for it in secret], ["helm.sh/release.v1"])
    values = json.loads(helm(where, "get", "values", "one", "--output", "json"))
    equal(values, {"colour": "red"})
    assert "kind: Deployment" in helm(where, "get", "manifest", "one")
    status = json.loads(helm(where, "status", "one", "--show-resources", "--output", "json"))
    kinds = set(status["info"]["resources"])
    assert {"v1/Service", "v1/Deployment"} <= kinds, kinds
    said = helm(where, "uninstall", "one", "--wait")
    assert "kept due to the resource policy" in said, said
    equal(releases(where), [])
    equal(names(where), {"one-kept"})
    assert gone(APPS.read_namespaced_deployment, "one", where)
    equal(CORE.list_namespaced_secret(where, label_selector="owner=helm").items, [])


@claim
def an_upgrade_changes_what_the_chart_changes_and_leaves_what_others_did():
    """What both charts say is merged with what lives: others' fields stay, the chart's own go."""
    where = namespace()
    helm(where, "install", "one", CHART)
    other = {
        "metadata": {"annotations": {"by": "hand"}},
        "spec": {
            "template": {
                "spec": {"containers": [{"name": "main", "env": [{"name": "HAND", "value": "x"}]}]}
            }
        },
    }
    APPS.patch_namespaced_deployment("one", where, other)
    CORE.patch_namespaced_config_map("one", where, {"data": {"hand": "x"}})
    before = APPS.read_namespaced_deployment("one", where).metadata.uid
    helm(where, "upgrade", "one", CHART, "--set", "colour=green,paint=false")
    found = APPS.read_namespaced_deployment("one", where)
    equal(found.metadata.uid, before)
    equal(found.metadata.annotations["by"], "hand")
    env = {it.name: it.value for it in found.spec.template.spec.containers[0].env}
    equal(env, {"COLOUR": "green", "HAND": "x"})
    equal(CORE.read_namespaced_config_map("one", where).data, {"colour": "green", "hand": "x"})
    equal(releases(where), [("one", "2", "deployed")])
    said = helm(where, "upgrade", "--install", "two", CHART)
    assert "does not exist. Installing it now" in said, said


@claim
def a_rollback_brings_back_what_was_there():
    """Revisions are kept, and an earlier one becomes the newest."""
    where = namespace()
    helm(where, "install", "one", CHART)
    helm(where, "upgrade", "one", CHART, "--set", "colour=green")
    helm(where, "rollback", "one", "1", "--wait")
    equal(CORE.read_namespaced_config_map("one", where).data["colour"], "blue")
    history = json.loads(helm(where, "history", "one", "--output", "json"))
    equal([it["status"] for it in history], ["superseded", "superseded", "deployed"])
    equal(history[-1]["description"], "Rollback to 1")
    helm(where, "uninstall", "one", "--keep-history")
    equal(releases(where), [("one", "3", "uninstalled")])
    helm(where, "rollback", "one", "2")
    equal(CORE.read_namespaced_config_map("one", where).data["colour"], "green")


@claim
def a_chart_sees_what_the_server_can_and_has():
    """Capabilities and lookups, rendered with the server's help; nothing is made."""
    where = namespace()
    said = helm(where, "install", "one", CHART, "--dry-run=server", "--output", "json")
    manifest = json.loads(said)["manifest"]
    uid = CORE.read_namespace(where).metadata.uid
    version = client.VersionApi().get_code().git_version
    wanted = [
        f"version: {version}",
        'ingress: "true"',
        'beta: "false"',
        f'namespace: "{uid}"',
        'services: "1"',
        'nobody: "true"',
    ]
    for line in wanted:
        assert line in manifest, f"{line} is not in {manifest}"
    equal((names(where), releases(where)), (set(), []))


@claim
def a_field_that_no_schema_knows_is_left_out_with_a_warning():
    """Helm leaves fields to the server since that can check them, and shows what it warns of."""
    where = namespace()
    good, _, said = run(where, "install", "one", CHART, "--set", "wrong=true")
    assert good, said
    assert 'unknown field "spec.template.spec.containres"' in said, said
    found = APPS.read_namespaced_deployment("one", where)
    assert "containres" not in str(found.to_dict()), found


@claim
def a_kind_of_the_chart_is_there_before_its_objects():
    """Definitions come first, are served, and stay; a rule of theirs refuses in the server's words."""
    where = namespace()
    helm(where, "install", "one", CHART, "--set", "boat=3")
    found = CUSTOM.get_namespaced_custom_object("helm.test", "v1", where, "boats", "one")
    equal(found["spec"], {"seats": 3})
    said = refused(where, "upgrade", "one", CHART, "--set", "boat=-1")
    assert "spec.seats" in said and "greater than or equal to 1" in said, said
    equal(releases(where), [("one", "2", "failed")])
    helm(where, "upgrade", "one", CHART, "--set", "boat=4")
    found = CUSTOM.get_namespaced_custom_object("helm.test", "v1", where, "boats", "one")
    equal(found["spec"], {"seats": 4})
    helm(where, "uninstall", "one")
    definitions = client.ApiextensionsV1Api()
    equal(definitions.read_custom_resource_definition("boats.helm.test").spec.group, "helm.test")


@claim
def what_is_somebody_elses_is_taken_only_if_that_is_asked():
    """An object that is there already stands in the way, until Helm is told to own it."""
    where = namespace()
    CORE.create_namespaced_config_map(where, {"metadata": {"name": "one"}, "data": {"hand": "x"}})
    said = refused(where, "install", "one", CHART)
    assert "invalid ownership metadata" in said, said
    equal(CORE.read_namespaced_config_map("one", where).data, {"hand": "x"})
    helm(where, "upgrade", "--install", "one", CHART, "--take-ownership")
    found = CORE.read_namespaced_config_map("one", where)
    equal(found.metadata.annotations["meta.helm.sh/release-name"], "one")
    equal(found.data["colour"], "blue")


@claim
def hooks_come_in_their_order_and_go_as_they_say():
    """One that goes when it has succeeded, and one that goes before it comes again."""
    where = namespace()
    helm(where, "install", "one", CHART, "--set", "hooks=true")
    equal({it for it in names(where) if "first" in it or "second" in it}, {"one-second"})
    before = CORE.read_namespaced_config_map("one-second", where).metadata.uid
    helm(where, "upgrade", "one", CHART, "--set", "hooks=true")
    after = CORE.read_namespaced_config_map("one-second", where).metadata.uid
    assert before != after, "the hook was not made anew"


@claim
def an_upgrade_that_never_becomes_ready_is_taken_back():
    """No node is there for the pods, so Helm waits in vain, and rolls back what it did."""
    where = namespace()
    helm(where, "install", "one", CHART, "--wait")
    words = ["--set", "replicas=1,colour=red", "--atomic", "--timeout", "3s"]
    said = refused(where, "upgrade", "one", CHART, *words)
    assert "rolled back due to atomic being set" in said, said
    found = APPS.read_namespaced_deployment("one", where)
    equal(found.spec.replicas, 0)
    equal(found.spec.template.spec.containers[0].env[0].value, "blue")
    statuses = [it["status"] for it in json.loads(helm(where, "history", "one", "-o", "json"))]
    equal(statuses, ["superseded", "failed", "deployed"])

    def no_pods():
        return not CORE.list_namespaced_pod(where).items

    eventually("the pods are gone", no_pods)


@claim
def releases_may_be_kept_in_config_maps():
    """The other place in which Helm keeps releases, which Secrets know nothing of."""
    where = namespace()
    there = {"HELM_DRIVER": "configmap"}
    helm(where, "install", "one", CHART, **there)
    equal(releases(where, **there), [("one", "1", "deployed")])
    equal(releases(where), [])
    kept = CORE.list_namespaced_config_map(where, label_selector="owner=helm,status=deployed")
    equal([it.metadata.name for it in kept.items], ["sh.helm.release.v1.one.v1"])
    helm(where, "uninstall", "one", **there)


@claim
def who_may_not_is_told_so_and_leaves_nothing():
    """Helm shows the server's refusal of somebody without rights."""
    where = namespace()
    said = refused(where, "install", "one", CHART, "--kube-as-user", "nobody")
    assert 'User "nobody" cannot' in said and "forbidden" in said, said
    equal((names(where), releases(where)), (set(), []))


@claim
def releases_of_all_namespaces_are_listed_and_selected():
    """One list over namespaces, and one by labels of releases."""
    spaces = [namespace(), namespace()]
    mark = uuid.uuid4().hex[:8]
    for where in spaces:
        helm(where, "install", f"r-{mark}", CHART, "--labels", f"mark={mark}")
    listed = releases("default", "--all-namespaces", "--selector", f"mark={mark}")
    equal(len(listed), 2)
    equal(releases("default", "--all-namespaces", "--selector", "mark=other"), [])


if __name__ == "__main__":
    main()
