"""kopf: an operator with handlers, finalizers, timers, daemons, peering and a life after a restart."""

import os
import signal
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

from claims import claim, equal, eventually, main
from kubernetes import client, config

config.load_kube_config()
CORE = client.CoreV1Api()
CUSTOM = client.CustomObjectsApi()
MERGE = "application/merge-patch+json"
FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


def define(group, plural, kind, scope, **schema):
    """Makes a custom kind and waits until it is served."""
    names = {"plural": plural, "singular": kind.lower(), "kind": kind}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", **schema}},
    }
    definition = {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": scope, "names": names, "versions": [version]},
    }
    definitions = client.ApiextensionsV1Api()
    definitions.create_custom_resource_definition(definition)

    def served():
        read = definitions.read_custom_resource_definition(f"{plural}.{group}")
        found = {it.type: it.status for it in read.status.conditions or []}
        return found.get("Established") == "True"

    eventually(f"{plural} are served", served)


OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
define("kopf.test", "boats", "Boat", "Namespaced", properties={"spec": OPEN, "status": OPEN})
define(
    "kopf.dev",
    "kopfpeerings",
    "KopfPeering",
    "Namespaced",
    **{"x-kubernetes-preserve-unknown-fields": True},
)


def namespace():
    """A new namespace."""
    name = f"n-{uuid.uuid4().hex[:8]}"
    CORE.create_namespace({"metadata": {"name": name}})
    return name


@contextmanager
def operator(where, *options):
    """The operator of one namespace, which ends in good order."""
    command = [sys.executable, "-m", "kopf", "run", "--namespace", where]
    command += options or ["--standalone"]
    script = Path(__file__).with_name("boats.py")
    process = subprocess.Popen(command + [script], stdout=sys.stderr, env=os.environ)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def boat(where, name, seats=2, **labels):
    """Makes a Boat."""
    body = {
        "apiVersion": "kopf.test/v1",
        "kind": "Boat",
        "metadata": {"name": name, "labels": labels},
        "spec": {"seats": seats},
    }
    CUSTOM.create_namespaced_custom_object("kopf.test", "v1", where, "boats", body)


def read(where, name):
    """A Boat, or nothing."""
    try:
        return CUSTOM.get_namespaced_custom_object("kopf.test", "v1", where, "boats", name)
    except client.ApiException as error:
        equal(error.status, 404)
        return None


def status(where, name):
    """What the operator wrote."""
    return (read(where, name) or {}).get("status", {})


def patch(where, name, body):
    """Changes a Boat."""
    CUSTOM.patch_namespaced_custom_object(
        "kopf.test", "v1", where, "boats", name, body, _content_type=MERGE
    )


def remove(where, name):
    """Deletes a Boat."""
    CUSTOM.delete_namespaced_custom_object("kopf.test", "v1", where, "boats", name)


def records(where):
    """Names of the ConfigMaps."""
    return [it.metadata.name for it in CORE.list_namespaced_config_map(where).items]


@claim
def a_boat_is_created_changed_and_deleted_by_its_handlers():
    where = namespace()
    with operator(where):
        boat(where, "a")
        eventually("it was handled", lambda: status(where, "a").get("created") == 1)
        made = read(where, "a")
        equal(made["metadata"]["finalizers"], [FINALIZER])
        equal(made["status"]["launch"], {"crew": "a"})
        crew = CORE.read_namespaced_config_map("a", where)
        equal(crew.metadata.owner_references[0].uid, made["metadata"]["uid"])
        patch(where, "a", {"spec": {"seats": 3}})
        eventually("a change was handled", lambda: status(where, "a").get("diff") == [2, 3])
        equal(CORE.read_namespaced_config_map("a", where).data, {"seats": "3"})
        remove(where, "a")
        eventually("it is gone", lambda: read(where, "a") is None)
        assert "a-was-here" in records(where)
        eventually("its crew goes along", lambda: "a" not in records(where))


@claim
def a_handler_that_fails_is_tried_again_and_says_so_in_events():
    where = namespace()
    with operator(where):
        boat(where, "a", weather="bad")
        eventually("the third try succeeds", lambda: status(where, "a").get("tries") == 3)
        events = lambda: CORE.list_namespaced_event(where).items
        said = lambda: {it.message for it in events() if it.reason == "BadWeather"}
        eventually("both failures are told", lambda: said() == {"try 0", "try 1"})
        equal({it.involved_object.name for it in events()}, {"a"})


@claim
def timers_and_daemons_live_as_long_as_their_boat():
    where = namespace()
    with operator(where):
        boat(where, "a", clock="on")
        eventually("the timer goes on", lambda: status(where, "a").get("ticks", 0) >= 3)
        eventually("the daemon is there", lambda: "a-sails" in records(where))
        remove(where, "a")
        eventually("it is gone", lambda: read(where, "a") is None)
        assert "a-came-home" in records(where)


@claim
def an_operator_that_comes_back_goes_on_where_it_was():
    where = namespace()
    with operator(where):
        for name in ("same", "changed", "deleted"):
            boat(where, name)
        for name in ("same", "changed", "deleted"):
            eventually("it was handled", lambda: status(where, name).get("created") == 1)
    patch(where, "changed", {"spec": {"seats": 5}})
    remove(where, "deleted")
    boat(where, "new")
    assert read(where, "deleted"), "its finalizer holds it"
    with operator(where):
        eventually("what is new was handled", lambda: status(where, "new").get("created") == 1)
        eventually("the change was", lambda: status(where, "changed").get("diff") == [2, 5])
        eventually("the deletion was", lambda: read(where, "deleted") is None)
        eventually("all were met again", lambda: status(where, "same").get("resumed") == 1)
        equal([status(where, it)["created"] for it in ("same", "changed")], [1, 1])
        assert "updated" not in status(where, "same")


@claim
def the_operator_of_lower_priority_stands_back():
    where = namespace()
    peerings = ("kopf.dev", "v1", where, "kopfpeerings")
    crew = {"apiVersion": "kopf.dev/v1", "kind": "KopfPeering", "metadata": {"name": "crew"}}
    CUSTOM.create_namespaced_custom_object(*peerings, crew)
    peers = lambda: CUSTOM.get_namespaced_custom_object(*peerings, "crew").get("status", {})
    known = lambda: sorted(it["priority"] for it in peers().values())
    first = ("--peering", "crew", "--priority", "1")
    second = ("--peering", "crew", "--priority", "2")
    with operator(where, *first):
        eventually("the first is there", lambda: known() == [1])
        with operator(where, *second):
            eventually("both are", lambda: known() == [1, 2])
            boat(where, "a")
            eventually("it was handled", lambda: status(where, "a").get("created"))
        eventually("the second has left", lambda: known() == [1])
        boat(where, "b")
        eventually("the first goes on", lambda: status(where, "b").get("created"))
    equal([status(where, it)["created"] for it in ("a", "b")], [1, 1])


main()
