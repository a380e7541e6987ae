"""The official Python client: typed and dynamic, lists, watches, applies, elections, errors."""

import json
import threading
import uuid
from os import path
from tempfile import mkdtemp

import yaml
from claims import claim, equal, eventually, main
from kubernetes import client, config, utils, watch
from kubernetes.client import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, DynamicApiError, ResourceNotFoundError
from kubernetes.informer import SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.utils.retry import Backoff, retry_on_conflict

config.load_kube_config()
CORE = client.CoreV1Api()
APPS = client.AppsV1Api()

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"


def namespace():
    """A new namespace."""
    name = f"n-{uuid.uuid4().hex[:8]}"
    CORE.create_namespace({"metadata": {"name": name}})
    return name


def config_map(name, data=None, **meta):
    """A ConfigMap in its typed form."""
    return client.V1ConfigMap(
        metadata=client.V1ObjectMeta(name=name, **meta), data=data or {"a": "1"}
    )


def deployment(name, replicas=0):
    """A Deployment of two containers."""
    labels = {"app": name}
    containers = [client.V1Container(name=it, image=f"{it}:1") for it in ("one", "two")]
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels),
        spec=client.V1PodSpec(containers=containers),
    )
    spec = client.V1DeploymentSpec(
        replicas=replicas,
        selector=client.V1LabelSelector(match_labels=labels),
        template=template,
    )
    return client.V1Deployment(metadata=client.V1ObjectMeta(name=name), spec=spec)


def refused(call, *args, **kwargs):
    """The Status of a call that must fail."""
    try:
        call(*args, **kwargs)
    except (ApiException, DynamicApiError) as error:
        status = json.loads(error.body)
        equal(status["kind"], "Status")
        equal(status["code"], error.status)
        return status
    raise AssertionError("it was not refused")


def names(listed):
    """Names of the items, without what every namespace is born with."""
    found = [it.metadata.name for it in listed.items]
    return [name for name in found if name != "kube-root-ca.crt"]


@claim
def typed_objects_live_from_create_to_delete():
    where = namespace()
    made = CORE.create_namespaced_config_map(where, config_map("a", labels={"k": "v"}))
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo
    read = CORE.read_namespaced_config_map("a", where)
    equal(read, made)
    read.data["b"] = "2"
    replaced = CORE.replace_namespaced_config_map("a", where, read)
    equal(replaced.data, {"a": "1", "b": "2"})
    assert int(replaced.metadata.resource_version) > int(made.metadata.resource_version)
    CORE.delete_namespaced_config_map("a", where)
    equal(refused(CORE.read_namespaced_config_map, "a", where)["reason"], "NotFound")


@claim
def every_default_of_a_pod_fits_the_models_of_the_client():
    where = namespace()
    made = APPS.create_namespaced_deployment(where, deployment("d"))
    pod = made.spec.template.spec
    equal(made.spec.strategy.rolling_update.max_surge, "25%")
    equal((pod.restart_policy, pod.dns_policy), ("Always", "ClusterFirst"))
    equal(pod.containers[0].termination_message_path, "/dev/termination-log")
    service = client.V1Service(
        metadata={"name": "s"},
        spec={"selector": {"app": "d"}, "ports": [{"port": 80, "targetPort": "http"}]},
    )
    made = CORE.create_namespaced_service(where, service)
    equal((made.spec.type, made.spec.ports[0].target_port), ("ClusterIP", "http"))
    secret = CORE.create_namespaced_secret(
        where, {"metadata": {"name": "s"}, "stringData": {"a": "b"}}
    )
    equal((secret.type, secret.data), ("Opaque", {"a": "Yg=="}))


@claim
def each_form_of_patch_does_what_it_says():
    where = namespace()
    APPS.create_namespaced_deployment(where, deployment("d"))

    def patched(body, form):
        done = APPS.patch_namespaced_deployment("d", where, body, _content_type=form)
        return [(it.name, it.image) for it in done.spec.template.spec.containers]

    two = {"spec": {"template": {"spec": {"containers": [{"name": "two", "image": "two:2"}]}}}}
    equal(patched(two, STRATEGIC), [("one", "one:1"), ("two", "two:2")])
    place = "/spec/template/spec/containers/0"
    swap = [
        {"op": "test", "path": f"{place}/name", "value": "one"},
        {"op": "replace", "path": f"{place}/image", "value": "one:3"},
    ]
    equal(patched(swap, JSON), [("one", "one:3"), ("two", "two:2")])
    equal(patched(two, MERGE), [("two", "two:2")])
    stale = [{"op": "test", "path": "/spec/replicas", "value": 7}]
    equal(refused(patched, stale, JSON)["code"], 422)


@claim
def subresources_are_written_apart_from_their_object():
    where = namespace()
    APPS.create_namespaced_deployment(where, deployment("d"))
    scaled = APPS.patch_namespaced_deployment_scale(
        "d", where, {"spec": {"replicas": 2}}, _content_type=MERGE
    )
    equal((scaled.kind, scaled.spec.replicas, scaled.status.selector), ("Scale", 2, "app=d"))
    body = {"spec": {"replicas": 9}, "status": {"collisionCount": 3}}
    APPS.patch_namespaced_deployment_status("d", where, body, _content_type=MERGE)
    read = APPS.read_namespaced_deployment_status("d", where)
    equal((read.spec.replicas, read.status.collision_count), (2, 3))


@claim
def a_list_in_pages_is_one_snapshot():
    where = namespace()
    for number in range(25):
        CORE.create_namespaced_config_map(where, config_map(f"c{number:02}"))
    listed = lambda **more: CORE.list_namespaced_config_map(where, limit=10, **more)
    page = listed()
    first, seen = page.metadata.resource_version, names(page)
    equal(page.metadata.remaining_item_count, 16)
    CORE.delete_namespaced_config_map("c24", where)
    CORE.create_namespaced_config_map(where, config_map("c99"))
    while page.metadata._continue:
        page = listed(_continue=page.metadata._continue)
        equal(page.metadata.resource_version, first)
        seen += names(page)
    equal(seen, [f"c{number:02}" for number in range(25)])
    status = refused(listed, _continue="nonsense")
    equal((status["code"], status["reason"]), (400, "BadRequest"))


@claim
def selectors_choose_by_labels_and_fields():
    where = namespace()
    for name, labels in [("a", {"x": "1"}), ("b", {"x": "2", "y": ""}), ("c", None)]:
        CORE.create_namespaced_config_map(where, config_map(name, labels=labels))
    chosen = lambda **how: names(CORE.list_namespaced_config_map(where, **how))
    equal(chosen(label_selector="x=1"), ["a"])
    equal(chosen(label_selector="x in (1,2),!y"), ["a"])
    equal(chosen(label_selector="x notin (1)"), ["b", "c"])
    equal(chosen(field_selector="metadata.name!=b", label_selector="x"), ["a"])
    status = refused(chosen, field_selector="data.a=1")
    equal(status["code"], 400)
    assert "field label not supported: data.a" in status["message"], status


@claim
def a_watch_tells_what_happened_after_a_version():
    where = namespace()
    since = CORE.list_namespaced_config_map(where).metadata.resource_version
    CORE.create_namespaced_config_map(where, config_map("a", labels={"x": "1"}))
    body = {"data": {"a": "2"}}
    CORE.patch_namespaced_config_map("a", where, body, _content_type=MERGE)
    CORE.delete_namespaced_config_map("a", where)
    seen, stream = [], watch.Watch()
    for event in stream.stream(
        CORE.list_namespaced_config_map, where, resource_version=since, label_selector="x"
    ):
        seen.append((event["type"], event["object"].data["a"]))
        if event["type"] == "DELETED":
            stream.stop()
    equal(seen, [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")])


@claim
def bookmarks_move_a_quiet_watch_forward():
    where = namespace()
    since = CORE.list_namespaced_config_map(where).metadata.resource_version
    CORE.create_namespaced_config_map("default", config_map(where))
    stream = watch.Watch()
    events = stream.stream(
        CORE.list_namespaced_config_map,
        where,
        resource_version=since,
        allow_watch_bookmarks=True,
        timeout_seconds=3,
    )
    types = [event["type"] for event in events if event["type"] != "ADDED"]
    equal(set(types), {"BOOKMARK"})
    assert int(stream.resource_version) > int(since)


@claim
def a_streamed_list_ends_with_its_bookmark():
    where = namespace()
    CORE.create_namespaced_config_map(where, config_map("a"))
    stream, seen = watch.Watch(), []
    for event in stream.stream(
        CORE.list_namespaced_config_map,
        where,
        send_initial_events=True,
        resource_version_match="NotOlderThan",
        allow_watch_bookmarks=True,
        field_selector="metadata.name=a",
    ):
        seen.append(event["type"])
        if event["type"] == "BOOKMARK":
            notes = event["raw_object"]["metadata"]["annotations"]
            equal(notes["k8s.io/initial-events-end"], "true")
            stream.stop()
    equal(seen, ["ADDED", "BOOKMARK"])


@claim
def what_is_forgotten_is_gone_with_410():
    where = namespace()
    since = CORE.list_namespaced_secret(where).metadata.resource_version
    CORE.create_namespaced_secret(where, {"metadata": {"name": "s"}})
    for number in range(160):
        body = {"stringData": {"a": f"{number:08}" * 8192}}
        CORE.patch_namespaced_secret("s", where, body, _content_type=MERGE)
    events = watch.Watch().stream(
        CORE.list_namespaced_secret, where, resource_version=since, timeout_seconds=5
    )
    try:
        raise AssertionError(f"still known: {next(events)['type']}")
    except ApiException as error:
        equal(error.status, 410)
        assert error.reason.startswith("Expired: too old resource version"), error.reason


@claim
def an_informer_keeps_up_with_the_server():
    where = namespace()
    CORE.create_namespaced_config_map(where, config_map("before"))
    informer = SharedInformer(CORE.list_namespaced_config_map, namespace=where)
    gone = threading.Event()
    informer.add_event_handler("DELETED", lambda _: gone.set())
    informer.start()
    known = lambda name: informer.cache.get_by_key(f"{where}/{name}")
    eventually("what was there is known", lambda: known("before"))
    CORE.create_namespaced_config_map(where, config_map("after"))
    eventually("what came later is known", lambda: known("after"))
    body = {"data": {"a": "2"}}
    CORE.patch_namespaced_config_map("after", where, body, _content_type=MERGE)
    eventually("a change is known", lambda: known("after").data["a"] == "2")
    CORE.delete_namespaced_config_map("before", where)
    eventually("a deletion is known", lambda: gone.is_set() and not known("before"))
    informer.stop()


def dynamic():
    """A dynamic client with a cache of its own."""
    return DynamicClient(client.ApiClient(), cache_file=path.join(mkdtemp(), "cache"))


@claim
def discovery_is_read_once_and_then_from_its_cache():
    cache = path.join(mkdtemp(), "cache")
    first = DynamicClient(client.ApiClient(), cache_file=cache)
    kinds = {it.kind for found in first.resources for it in found}
    assert {"Pod", "Deployment", "CustomResourceDefinition", "PodList"} <= kinds, kinds
    assert first.version["kubernetes"]["gitVersion"].startswith("v1."), first.version
    second = DynamicClient(client.ApiClient(), cache_file=cache)
    pods = second.resources.get(api_version="v1", kind="Pod")
    equal((pods.name, pods.namespaced, pods.short_names), ("pods", True, ["po"]))
    assert {"create", "patch", "watch"} <= set(pods.verbs), pods.verbs
    assert {"status", "log", "eviction"} <= set(pods.subresources), pods.subresources
    try:
        second.resources.get(api_version="v1", kind="Unicorn")
        raise AssertionError("a unicorn was found")
    except ResourceNotFoundError:
        pass


@claim
def the_dynamic_client_does_what_the_typed_one_does():
    where = namespace()
    maps = dynamic().resources.get(api_version="v1", kind="ConfigMap")
    made = maps.create({"metadata": {"name": "a"}, "data": {"a": "1"}}, namespace=where)
    equal(made.to_dict(), maps.get("a", where).to_dict())
    patched = maps.patch({"data": {"b": "2"}}, name="a", namespace=where)
    equal(patched.data.to_dict(), {"a": "1", "b": "2"})
    seen = maps.watch(namespace=where, name="a", timeout=2)
    equal(next(seen)["object"].metadata.name, "a")
    equal(len(maps.get(namespace=where, label_selector="no=such").items), 0)
    equal(maps.delete("a", where).status, "Success")


@claim
def an_apply_meets_conflicts_and_force_takes_the_field():
    where = namespace()
    maps = dynamic().resources.get(api_version="v1", kind="ConfigMap")

    def apply(manager, data, **more):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}
        return maps.server_side_apply(body, namespace=where, field_manager=manager, **more)

    apply("one", {"x": "1", "y": "1"})
    try:
        apply("two", {"x": "2"})
        raise AssertionError("there is no conflict")
    except ConflictError as error:
        status = json.loads(error.body)
        equal(status["details"]["causes"][0]["reason"], "FieldManagerConflict")
        assert 'conflict with "one": .data.x' in status["message"], status["message"]
    apply("two", {"x": "2"}, force_conflicts=True)
    left = apply("one", {})
    equal(left.data.to_dict(), {"x": "2"})
    owners = [(it.manager, it.operation) for it in left.metadata.managedFields]
    assert ("two", "Apply") in owners, owners


BOATS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "boats.python.test"},
    "spec": {
        "group": "python.test",
        "scope": "Namespaced",
        "names": {"plural": "boats", "kind": "Boat"},
        "versions": [{
            "name": "v1",
            "served": True,
            "storage": True,
            "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "required": ["seats"], "properties": {
                    "seats": {"type": "integer", "minimum": 1},
                    "colour": {"type": "string", "default": "red"}}},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}},
        }],
    },
}


def is_established(name):
    """Whether a definition is served."""
    definition = client.ApiextensionsV1Api().read_custom_resource_definition(name)
    found = {it.type: it.status for it in definition.status.conditions or []}
    return found.get("Established") == "True"


@claim
def a_custom_kind_can_be_used_as_soon_as_it_is_established():
    where, access = namespace(), dynamic()
    client.ApiextensionsV1Api().create_custom_resource_definition(BOATS)
    eventually("it is established", lambda: is_established("boats.python.test"))
    boats = access.resources.get(api_version="python.test/v1", kind="Boat")
    boat = {"apiVersion": "python.test/v1", "kind": "Boat", "metadata": {"name": "a"}}
    made = boats.create({**boat, "spec": {"seats": 2}}, namespace=where)
    equal(made.spec.to_dict(), {"seats": 2, "colour": "red"})
    boats.status.patch({"status": {"x": 1}}, name="a", namespace=where, content_type=MERGE)
    custom = client.CustomObjectsApi()
    read = custom.get_namespaced_custom_object("python.test", "v1", where, "boats", "a")
    equal((read["status"], read["metadata"]["generation"]), ({"x": 1}, 1))
    body = {**boat, "spec": {"seats": 0}}
    status = refused(
        custom.create_namespaced_custom_object, "python.test", "v1", where, "boats", body
    )
    equal(status["details"]["causes"][0]["field"], "spec.seats")


@claim
def an_election_has_one_leader_and_then_its_successor():
    where, leaders = namespace(), []
    leave, done = threading.Event(), threading.Event()

    def candidate(name, lead):
        settings = electionconfig.Config(
            LeaseLock("lock", where, name),
            lease_duration=3,
            renew_deadline=2,
            retry_period=1,
            onstarted_leading=lambda: (leaders.append(name), lead()),
            onstopped_leading=lambda: None,
        )
        run = leaderelection.LeaderElection(settings).run
        threading.Thread(target=run, daemon=True).start()

    def resign():
        leave.wait()
        raise RuntimeError("the work is over")

    holder = lambda: client.CoordinationV1Api().read_namespaced_lease("lock", where).spec
    candidate("one", resign)
    eventually("somebody leads", lambda: leaders == ["one"])
    candidate("two", done.wait)
    renewed = holder().renew_time
    eventually("the lease is renewed", lambda: holder().renew_time > renewed)
    equal((leaders, holder().holder_identity), (["one"], "one"))
    leave.set()
    eventually("there is a successor", lambda: leaders == ["one", "two"])
    equal(holder().holder_identity, "two")
    done.set()


MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMapList
items:
- {metadata: {name: one}, data: {a: "1"}}
- {metadata: {name: two}, data: {a: "2"}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}}
"""


@claim
def a_file_of_manifests_is_created_and_applied():
    where = namespace()
    documents = lambda: list(yaml.safe_load_all(MANIFEST))
    made = utils.create_from_yaml(
        client.ApiClient(), yaml_objects=documents(), namespace=where
    )
    equal([it.metadata.name for group in made for it in group], ["web", "one", "two", "deny"])
    try:
        utils.create_from_yaml(client.ApiClient(), yaml_objects=documents(), namespace=where)
        raise AssertionError("it was created twice")
    except utils.FailToCreateError as error:
        equal([it.status for it in error.api_exceptions], [409] * 4)
    again = utils.create_from_yaml(
        client.ApiClient(),
        yaml_objects=[documents()[0]],
        namespace=where,
        apply=True,
        force_conflicts=True,
    )
    equal(again[0][0].spec.ports[0].port, 80)


@claim
def a_requested_token_is_its_service_account():
    where = namespace()
    CORE.create_namespaced_service_account(where, {"metadata": {"name": "robot"}})
    ask = {"spec": {"audiences": [], "expirationSeconds": 600}}
    given = CORE.create_namespaced_service_account_token("robot", where, ask)
    settings = client.Configuration.get_default_copy()
    settings.api_key = {"authorization": f"Bearer {given.status.token}"}
    settings.api_key_prefix = {}
    settings.cert_file = settings.key_file = None
    robot = client.ApiClient(settings)
    review = client.AuthenticationV1Api(robot).create_self_subject_review({})
    name = f"system:serviceaccount:{where}:robot"
    equal(review.status.user_info.username, name)
    secrets = client.CoreV1Api(robot).list_namespaced_secret
    status = refused(secrets, where)
    equal((status["code"], status["reason"]), (403, "Forbidden"))
    said = f'User "{name}" cannot list resource "secrets" in API group "" in the namespace'
    assert said in status["message"], status["message"]
    rights = client.RbacAuthorizationV1Api()
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]
    rights.create_namespaced_role(where, {"metadata": {"name": "reader"}, "rules": rules})
    rights.create_namespaced_role_binding(where, {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": where}],
    })
    equal(secrets(where).items, [])
    settings.api_key = {"authorization": "Bearer nonsense"}
    status = refused(client.CoreV1Api(client.ApiClient(settings)).list_namespace)
    equal((status["code"], status["reason"]), (401, "Unauthorized"))


@claim
def errors_carry_code_reason_and_what_is_wrong():
    where = namespace()
    create = lambda name, **more: CORE.create_namespaced_config_map(
        where, {"metadata": {"name": name}, **more}
    )
    create("a")
    status = refused(create, "a")
    equal((status["code"], status["reason"]), (409, "AlreadyExists"))
    equal(status["message"], 'configmaps "a" already exists')
    status = refused(create, "A_b")
    equal((status["code"], status["reason"]), (422, "Invalid"))
    equal(status["details"]["causes"][0]["field"], "metadata.name")
    # The typed client finds this out by itself.
    maps = dynamic().resources.get(api_version="v1", kind="ConfigMap")
    body = {"metadata": {"name": "b"}, "data": {"x": 1}}
    status = refused(maps.create, body, namespace=where)
    equal((status["code"], status["reason"]), (400, "BadRequest"))
    status = refused(CORE.read_namespaced_config_map, "no", where)
    equal(status["details"], {"name": "no", "kind": "configmaps"})


@claim
def writers_of_the_same_object_retry_on_conflict():
    where = namespace()
    CORE.create_namespaced_config_map(where, config_map("a", {"n": "0"}))

    def increment():
        read = CORE.read_namespaced_config_map("a", where)
        read.data["n"] = str(int(read.data["n"]) + 1)
        CORE.replace_namespaced_config_map("a", where, read)

    def count():
        for _ in range(10):
            retry_on_conflict(increment, Backoff(steps=1000, duration=0.001, factor=1.0))

    writers = [threading.Thread(target=count) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    equal(CORE.read_namespaced_config_map("a", where).data["n"], "40")


@claim
def deletion_waits_for_finalizers_and_takes_dependents_along():
    where = namespace()
    owner = CORE.create_namespaced_config_map(
        where, config_map("owner", finalizers=["python.test/hold"])
    )
    reference = client.V1OwnerReference(
        api_version="v1", kind="ConfigMap", name="owner", uid=owner.metadata.uid
    )
    CORE.create_namespaced_config_map(
        where, config_map("dependent", owner_references=[reference])
    )
    CORE.delete_namespaced_config_map("owner", where, propagation_policy="Background")
    assert CORE.read_namespaced_config_map("owner", where).metadata.deletion_timestamp
    body = {"metadata": {"finalizers": None}}
    CORE.patch_namespaced_config_map("owner", where, body, _content_type=MERGE)
    left = lambda: names(CORE.list_namespaced_config_map(where))
    eventually("both are gone", lambda: left() == [])
    CORE.create_namespaced_config_map(where, config_map("a", labels={"x": "1"}))
    CORE.create_namespaced_config_map(where, config_map("b"))
    done = CORE.delete_collection_namespaced_config_map(where, label_selector="x=1")
    equal((done.status, left()), ("Success", ["b"]))


@claim
def deletions_answer_as_the_models_of_the_client_expect():
    where = namespace()
    spec = {"containers": [{"name": "c", "image": "i"}]}
    CORE.create_namespaced_pod(where, {"metadata": {"name": "p"}, "spec": spec})
    pod = CORE.delete_namespaced_pod("p", where)
    equal(pod.spec.containers[0].image, "i")
    CORE.create_namespaced_service_account(where, {"metadata": {"name": "robot"}})
    equal(CORE.delete_namespaced_service_account("robot", where).metadata.name, "robot")
    CORE.create_namespaced_service(where, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}})
    equal(CORE.delete_namespaced_service("s", where).spec.ports[0].port, 1)


main()
