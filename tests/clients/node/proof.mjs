// The official JavaScript client: watches, informers, patches, applies, any kind, leases, errors.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import * as k8s from "@kubernetes/client-node";

import { claim, eventually, main } from "./claims.mjs";

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);

const as = (strategy) => k8s.setHeaderOptions("Content-Type", strategy);
const { JsonPatch, MergePatch, ServerSideApply, StrategicMergePatch } = k8s.PatchStrategy;

/** A new namespace. */
async function namespaced() {
  const name = `n-${randomUUID().slice(0, 8)}`;
  await core.createNamespace({ body: { metadata: { name } } });
  return name;
}

const map = (name, data = { a: "1" }, labels = undefined) => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, labels },
  data,
});

/** What the server said about a request that must fail. */
async function refused(request) {
  try {
    await request;
  } catch (error) {
    const status = typeof error.body === "string" ? JSON.parse(error.body) : error.body;
    assert.equal(status.kind, "Status");
    assert.equal(status.code, error.code);
    return status;
  }
  throw new Error("it was not refused");
}

claim(async function a_watch_tells_what_happened_after_a_version() {
  const namespace = await namespaced();
  const listed = await core.listNamespacedConfigMap({ namespace });
  const since = listed.metadata.resourceVersion;
  await core.createNamespacedConfigMap({ namespace, body: map("a", { a: "1" }, { x: "1" }) });
  const body = { data: { a: "2" } };
  await core.patchNamespacedConfigMap({ name: "a", namespace, body }, as(MergePatch));
  await core.deleteNamespacedConfigMap({ name: "a", namespace });
  const seen = [];
  const path = `/api/v1/namespaces/${namespace}/configmaps`;
  const options = { resourceVersion: since, labelSelector: "x" };
  const see = (type, object) => seen.push([type, object.data.a]);
  const watch = await new k8s.Watch(config).watch(path, options, see, () => {});
  await eventually("three events", () => seen.length === 3);
  watch.abort();
  assert.deepEqual(seen, [["ADDED", "1"], ["MODIFIED", "2"], ["DELETED", "2"]]);
});

claim(async function an_informer_keeps_up_with_the_server() {
  const namespace = await namespaced();
  await core.createNamespacedConfigMap({ namespace, body: map("before") });
  const path = `/api/v1/namespaces/${namespace}/configmaps`;
  const list = () => core.listNamespacedConfigMap({ namespace });
  const informer = k8s.makeInformer(config, path, list);
  const deleted = [];
  informer.on("delete", (object) => deleted.push(object.metadata.name));
  await informer.start();
  const known = (name) => informer.get(name, namespace);
  await eventually("what was there is known", () => known("before"));
  await core.createNamespacedConfigMap({ namespace, body: map("after") });
  await eventually("what came later is known", () => known("after"));
  const body = { data: { a: "2" } };
  await core.patchNamespacedConfigMap({ name: "after", namespace, body }, as(MergePatch));
  await eventually("a change is known", () => known("after").data.a === "2");
  await core.deleteNamespacedConfigMap({ name: "before", namespace });
  await eventually("a deletion is known", () => deleted.includes("before") && !known("before"));
  await informer.stop();
});

claim(async function each_form_of_patch_does_what_it_says() {
  const namespace = await namespaced();
  const labels = { app: "d" };
  const containers = ["one", "two"].map((name) => ({ name, image: `${name}:1` }));
  const template = { metadata: { labels }, spec: { containers } };
  const spec = { replicas: 0, selector: { matchLabels: labels }, template };
  await apps.createNamespacedDeployment({ namespace, body: { metadata: { name: "d" }, spec } });
  const patched = async (body, strategy) => {
    const request = { name: "d", namespace, body };
    const done = await apps.patchNamespacedDeployment(request, as(strategy));
    return done.spec.template.spec.containers.map((it) => it.image);
  };
  const two = { name: "two", image: "two:2" };
  const merge = { spec: { template: { spec: { containers: [two] } } } };
  assert.deepEqual(await patched(merge, StrategicMergePatch), ["one:1", "two:2"]);
  const place = "/spec/template/spec/containers/0/image";
  const replace = [{ op: "replace", path: place, value: "one:3" }];
  assert.deepEqual(await patched(replace, JsonPatch), ["one:3", "two:2"]);
  assert.deepEqual(await patched(merge, MergePatch), ["two:2"]);
});

claim(async function an_apply_meets_conflicts_and_force_takes_the_field() {
  const namespace = await namespaced();
  const apply = (fieldManager, data, force) => {
    const body = map("a", data);
    const request = { name: "a", namespace, body, fieldManager, force };
    return core.patchNamespacedConfigMap(request, as(ServerSideApply));
  };
  await apply("one", { x: "1", y: "1" });
  const status = await refused(apply("two", { x: "2" }));
  assert.equal(status.code, 409);
  assert.match(status.message, /conflict with "one": \.data\.x/);
  await apply("two", { x: "2" }, true);
  const left = await apply("one", {});
  assert.deepEqual(left.data, { x: "2" });
});

claim(async function objects_of_any_kind_live_from_create_to_delete() {
  const namespace = await namespaced();
  const open = { type: "object", x_kubernetes_preserve_unknown_fields: true };
  const schema = { openAPIV3Schema: { type: "object", properties: { spec: open } } };
  await objects.create({
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: "boats.node.test" },
    spec: {
      group: "node.test",
      scope: "Namespaced",
      names: { plural: "boats", kind: "Boat" },
      versions: [{ name: "v1", served: true, storage: true, schema }],
    },
  });
  const definition = {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: "boats.node.test" },
  };
  await eventually("it is established", async () => {
    const { status } = await objects.read(definition);
    return status.conditions?.some((it) => it.type === "Established" && it.status === "True");
  });
  const boat = { apiVersion: "node.test/v1", kind: "Boat", metadata: { name: "a", namespace } };
  await objects.create({ ...boat, spec: { seats: 2 } });
  const changed = { ...boat, spec: { colour: "red" } };
  await objects.patch(changed, undefined, undefined, undefined, undefined, MergePatch);
  const list = await objects.list("node.test/v1", "Boat", namespace);
  assert.deepEqual(list.items.map((it) => it.spec), [{ seats: 2, colour: "red" }]);
  const read = await objects.read(boat);
  await objects.replace({ ...read, spec: { seats: 3 } });
  const status = await refused(objects.replace({ ...read, spec: { seats: 4 } }));
  assert.equal(status.reason, "Conflict");
  await objects.delete(boat);
  assert.equal((await refused(objects.read(boat))).reason, "NotFound");
});

claim(async function a_lease_has_one_holder_at_a_time() {
  const namespace = await namespaced();
  const leases = config.makeApiClient(k8s.CoordinationV1Api);
  const held = (holderIdentity) => ({
    holderIdentity,
    leaseDurationSeconds: 15,
    renewTime: new k8s.V1MicroTime(),
  });
  const body = { metadata: { name: "lock" }, spec: held("one") };
  const made = await leases.createNamespacedLease({ namespace, body });
  const rival = leases.createNamespacedLease({ namespace, body });
  assert.equal((await refused(rival)).reason, "AlreadyExists");
  const take = (seen, holder) => {
    const body = { ...seen, spec: held(holder) };
    return leases.replaceNamespacedLease({ name: "lock", namespace, body });
  };
  const takers = await Promise.allSettled(["two", "three", "four"].map((it) => take(made, it)));
  const winners = takers.filter((it) => it.status === "fulfilled");
  assert.equal(winners.length, 1);
  const now = await leases.readNamespacedLease({ name: "lock", namespace });
  assert.equal(now.spec.holderIdentity, winners[0].value.spec.holderIdentity);
  assert.ok(Date.now() - new Date(now.spec.renewTime) < 60_000);
});

claim(async function deletions_answer_as_the_client_expects() {
  const namespace = await namespaced();
  const spec = { containers: [{ name: "c", image: "i" }] };
  await core.createNamespacedPod({ namespace, body: { metadata: { name: "p" }, spec } });
  const pod = await core.deleteNamespacedPod({ name: "p", namespace });
  assert.equal(pod.spec.containers[0].image, "i");
  await core.createNamespacedConfigMap({ namespace, body: map("a") });
  const status = await core.deleteNamespacedConfigMap({ name: "a", namespace });
  assert.equal(status.status, "Success");
});

claim(async function errors_carry_code_reason_and_what_is_wrong() {
  const namespace = await namespaced();
  const missing = await refused(core.readNamespacedConfigMap({ name: "no", namespace }));
  assert.equal(missing.message, 'configmaps "no" not found');
  const invalid = await refused(core.createNamespacedConfigMap({ namespace, body: map("A_b") }));
  assert.equal(invalid.details.causes[0].field, "metadata.name");
  const gone = "/api/v1/namespaces/no-such/configmaps";
  let ended;
  await new k8s.Watch(config).watch(gone, { resourceVersion: "nonsense" }, () => {}, (error) => {
    ended = error;
  });
  await eventually("the watch is refused", () => ended);
});

await main();
