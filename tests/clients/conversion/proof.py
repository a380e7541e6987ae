"""An operator's custom kind in two versions with a conversion webhook between them."""

import json
import uuid
from os import path
from tempfile import mkdtemp

from claims import claim, equal, eventually, main
from kubernetes import client, config, watch
from kubernetes.dynamic import DynamicClient
from webhook import Webhook

config.load_kube_config()
CORE = client.CoreV1Api()
CUSTOM = client.CustomObjectsApi()
DEFINITIONS = client.ApiextensionsV1Api()
HOOK = Webhook()
GROUP = "conversion.test"
MERGE = "application/merge-patch+json"


def version(name, storage, **own):
    """A version with fields of its own beside those that all have."""
    fields = {"colour": {"type": "string"}, **own}
    spec = {"type": "object", "properties": fields}
    schema = {"type": "object", "properties": {"spec": spec}}
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": schema},
    }


SEATS = {"type": "integer", "minimum": 1}
CREW = {"type": "object", "properties": {"size": SEATS}}


def conversion():
    """Where the webhook is."""
    where = {"url": HOOK.url, "caBundle": HOOK.bundle}
    return {
        "strategy": "Webhook",
        "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": where},
    }


def define(plural, kind):
    """Makes the custom kind and waits until it is served."""
    name = f"{plural}.{GROUP}"
    DEFINITIONS.create_custom_resource_definition({
        "metadata": {"name": name},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [version("v1", True, seats=SEATS), version("v2", False, crew=CREW)],
            "conversion": conversion(),
        },
    })

    def served():
        read = DEFINITIONS.read_custom_resource_definition(name)
        found = {it.type: it.status for it in read.status.conditions or []}
        return found.get("Established") == "True"

    eventually(f"{plural} are served", served)


define("boats", "Boat")


def namespace():
    """A new namespace."""
    name = f"n-{uuid.uuid4().hex[:8]}"
    CORE.create_namespace({"metadata": {"name": name}})
    return name


def boat(number, name, spec, kind="Boat"):
    """A Boat in a version."""
    api = f"{GROUP}/v{number}"
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


def specs(listed):
    """What a list says."""
    return {it["metadata"]["name"]: it["spec"] for it in listed["items"]}


def refused(call, *args):
    """The Status of a call that must fail."""
    try:
        call(*args)
    except client.ApiException as error:
        return json.loads(error.body)
    raise AssertionError("it was not refused")


@claim
def objects_are_written_and_read_in_both_versions():
    where = namespace()
    boats = lambda number: (GROUP, f"v{number}", where, "boats")
    CUSTOM.create_namespaced_custom_object(*boats(1), boat(1, "one", {"seats": 2}))
    CUSTOM.create_namespaced_custom_object(*boats(2), boat(2, "two", {"crew": {"size": 3}}))
    listed = lambda number: specs(CUSTOM.list_namespaced_custom_object(*boats(number)))
    equal(listed(1), {"one": {"seats": 2}, "two": {"seats": 3}})
    equal(listed(2), {"one": {"crew": {"size": 2}}, "two": {"crew": {"size": 3}}})
    body = {"spec": {"crew": {"size": 5}}}
    CUSTOM.patch_namespaced_custom_object(*boats(2), "one", body, _content_type=MERGE)
    read = CUSTOM.get_namespaced_custom_object(*boats(1), "one")
    equal((read["apiVersion"], read["spec"]), (f"{GROUP}/v1", {"seats": 5}))
    invalid = boat(2, "three", {"crew": {"size": 0}})
    status = refused(CUSTOM.create_namespaced_custom_object, *boats(2), invalid)
    equal((status["code"], status["details"]["causes"][0]["field"]), (422, "spec.crew.size"))


@claim
def a_watch_tells_in_the_version_in_which_it_was_asked():
    where = namespace()
    boats = lambda number: (GROUP, f"v{number}", where, "boats")
    since = CUSTOM.list_namespaced_custom_object(*boats(2))["metadata"]["resourceVersion"]
    CUSTOM.create_namespaced_custom_object(*boats(1), boat(1, "a", {"seats": 2}))
    CUSTOM.delete_namespaced_custom_object(*boats(1), "a")
    seen, stream = [], watch.Watch()
    for event in stream.stream(
        CUSTOM.list_namespaced_custom_object, *boats(2), resource_version=since
    ):
        seen.append((event["type"], event["object"]["apiVersion"], event["object"]["spec"]))
        if event["type"] == "DELETED":
            stream.stop()
    crew = (f"{GROUP}/v2", {"crew": {"size": 2}})
    equal(seen, [("ADDED", *crew), ("DELETED", *crew)])


@claim
def appliers_in_both_versions_keep_what_is_theirs_and_meet_each_other():
    where = namespace()
    access = DynamicClient(client.ApiClient(), cache_file=path.join(mkdtemp(), "cache"))

    def apply(number, manager, spec):
        boats = access.resources.get(api_version=f"{GROUP}/v{number}", kind="Boat")
        body = boat(number, "a", spec)
        return boats.server_side_apply(body, namespace=where, field_manager=manager)

    apply(1, "one", {"seats": 2})
    both = apply(2, "two", {"colour": "red"})
    equal(both.spec.to_dict(), {"colour": "red", "crew": {"size": 2}})
    status = refused(apply, 2, "two", {"colour": "red", "crew": {"size": 4}})
    equal(status["code"], 409)
    assert 'conflict with "one"' in status["message"], status["message"]
    left = apply(1, "one", {})
    equal(left.spec.to_dict(), {"colour": "red"})


@claim
def storage_moves_to_the_new_version():
    define("ships", "Ship")
    where, name = namespace(), f"ships.{GROUP}"
    ships = lambda number: (GROUP, f"v{number}", where, "ships")
    for number in range(3):
        ship = boat(1, f"s{number}", {"seats": number + 1}, "Ship")
        CUSTOM.create_namespaced_custom_object(*ships(1), ship)
    read = lambda: DEFINITIONS.read_custom_resource_definition(name)
    old, new = version("v1", False, seats=SEATS), version("v2", True, crew=CREW)
    patch = lambda body: DEFINITIONS.patch_custom_resource_definition(
        name, body, _content_type=MERGE
    )
    patch({"spec": {"versions": [old, new]}})
    eventually("both are known", lambda: read().status.stored_versions == ["v1", "v2"])
    for ship in CUSTOM.list_namespaced_custom_object(*ships(2))["items"]:
        CUSTOM.replace_namespaced_custom_object(*ships(2), ship["metadata"]["name"], ship)
    DEFINITIONS.patch_custom_resource_definition_status(
        name, {"status": {"storedVersions": ["v2"]}}, _content_type=MERGE
    )
    # Nothing is kept as v1 any more, so nobody has to convert it.
    patch({"spec": {"versions": [new], "conversion": {"strategy": "None", "webhook": None}}})
    eventually("v1 is no longer served", lambda: not is_served(ships(1)))
    listed = specs(CUSTOM.list_namespaced_custom_object(*ships(2)))
    equal([it["crew"]["size"] for it in listed.values()], [1, 2, 3])


def is_served(place):
    """Whether there is such a list."""
    try:
        return CUSTOM.list_namespaced_custom_object(*place)
    except client.ApiException as error:
        equal(error.status, 404)
        return False


@claim
def a_webhook_that_fails_is_named_with_its_reason():
    where = namespace()
    boats = lambda number: (GROUP, f"v{number}", where, "boats")
    CUSTOM.create_namespaced_custom_object(*boats(1), boat(1, "a", {"seats": 2}))
    HOOK.refuse = "the harbour is closed"
    try:
        status = refused(CUSTOM.get_namespaced_custom_object, *boats(2), "a")
        equal(status["code"], 500)
        said = f"conversion webhook for {GROUP}/v1, Kind=Boat failed: the harbour is closed"
        equal(status["message"], said)
        kept = CUSTOM.get_namespaced_custom_object(*boats(1), "a")
        equal(kept["spec"], {"seats": 2})
    finally:
        HOOK.refuse = None
    equal(CUSTOM.get_namespaced_custom_object(*boats(2), "a")["spec"], {"crew": {"size": 2}})


main()
