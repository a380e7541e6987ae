//! The claims. A mark stands above each, by which the test program of the repository finds it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event as Told;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event as Tale, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{Event as Step, finalizer};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{Controller, WatchStreamExt, reflector};
use kube::{Client, Error, Resource, ResourceExt};
use serde_json::json;

use crate::boat::{Boat, boat};
use crate::{Claim, PATIENCE, eventually};

macro_rules! claims {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), |client, namespace| Box::pin($name(client, namespace)))),*]
    };
}

/// All of them, in the order in which they run.
pub(crate) const CLAIMS: &[Claim] = claims![
    rules_of_a_derived_kind_hold,
    a_selectable_field_selects,
    a_streamed_list_and_what_follows_reach_the_watcher,
    a_list_in_pages_reaches_the_watcher_whole,
    a_reflector_holds_what_the_server_holds,
    metadata_alone_can_be_watched,
    an_apply_meets_conflicts_and_force_takes_the_field,
    a_controller_keeps_what_its_objects_own,
    a_finalizer_cleans_up_before_the_object_goes,
    a_recorder_tells_events_in_series,
];

fn create() -> PostParams {
    PostParams::default()
}

fn merge() -> PatchParams {
    PatchParams::default()
}

/// What the server said about a request that must fail.
fn refused<T>(answer: kube::Result<T>) -> Result<kube::core::Status> {
    match answer {
        Err(Error::Api(status)) => Ok(*status),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("it was not refused"),
    }
}

/// A ConfigMap.
fn map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

// @claim
async fn rules_of_a_derived_kind_hold(client: Client, namespace: String) -> Result<()> {
    let boats: Api<Boat> = Api::namespaced(client, &namespace);
    boats.create(&create(), &boat("a")).await?;
    let mut full = boat("b");
    full.spec.crew = 3;
    let status = refused(boats.create(&create(), &full).await)?;
    ensure!(status.code == 422, "{status:?}");
    ensure!(
        status.message.contains("somebody has no seat"),
        "{status:?}"
    );
    let long = boat("a-name-of-twenty-one");
    let status = refused(boats.create(&create(), &long).await)?;
    ensure!(
        status.message.contains("that name is too long"),
        "{status:?}"
    );
    let moved = json!({"spec": {"harbour": "south"}});
    let status = refused(boats.patch("a", &merge(), &Patch::Merge(moved)).await)?;
    ensure!(
        status.message.contains("a boat keeps its harbour"),
        "{status:?}"
    );
    let larger = json!({"spec": {"seats": 9, "crew": 9}});
    boats.patch("a", &merge(), &Patch::Merge(larger)).await?;
    Ok(())
}

// @claim
async fn a_selectable_field_selects(client: Client, namespace: String) -> Result<()> {
    let boats: Api<Boat> = Api::namespaced(client, &namespace);
    boats.create(&create(), &boat("a")).await?;
    let mut southern = boat("b");
    southern.spec.harbour = "south".to_owned();
    boats.create(&create(), &southern).await?;
    let south = ListParams::default().fields("spec.harbour=south");
    let found = boats.list(&south).await?.items;
    let names: Vec<_> = found.iter().map(ResourceExt::name_any).collect();
    ensure!(names == ["b"], "{names:?}");
    Ok(())
}

/// The next event of a watcher.
async fn next<K>(
    events: &mut (impl StreamExt<Item = Result<Event<K>, watcher::Error>> + Unpin),
) -> Result<Event<K>> {
    let event = tokio::time::timeout(PATIENCE, events.next()).await;
    Ok(event.context("no event")?.context("the stream ended")??)
}

// @claim
async fn a_streamed_list_and_what_follows_reach_the_watcher(
    client: Client,
    namespace: String,
) -> Result<()> {
    let boats: Api<Boat> = Api::namespaced(client, &namespace);
    boats.create(&create(), &boat("a")).await?;
    let config = watcher::Config::default().streaming_lists();
    let mut events = Box::pin(watcher(boats.clone(), config));
    ensure!(matches!(next(&mut events).await?, Event::Init));
    ensure!(matches!(next(&mut events).await?, Event::InitApply(it) if it.name_any() == "a"));
    ensure!(matches!(next(&mut events).await?, Event::InitDone));
    boats.create(&create(), &boat("b")).await?;
    ensure!(matches!(next(&mut events).await?, Event::Apply(it) if it.name_any() == "b"));
    boats.delete("a", &DeleteParams::default()).await?;
    ensure!(matches!(next(&mut events).await?, Event::Delete(it) if it.name_any() == "a"));
    Ok(())
}

// @claim
async fn a_list_in_pages_reaches_the_watcher_whole(
    client: Client,
    namespace: String,
) -> Result<()> {
    let boats: Api<Boat> = Api::namespaced(client, &namespace);
    for number in 0..12 {
        boats
            .create(&create(), &boat(&format!("b{number:02}")))
            .await?;
    }
    let config = watcher::Config::default().page_size(5);
    let mut events = Box::pin(watcher(boats, config));
    let mut seen = Vec::new();
    loop {
        match next(&mut events).await? {
            Event::InitApply(boat) => seen.push(boat.name_any()),
            Event::InitDone => break,
            _ => {}
        }
    }
    let wanted: Vec<_> = (0..12).map(|number| format!("b{number:02}")).collect();
    ensure!(seen == wanted, "{seen:?}");
    Ok(())
}

// @claim
async fn a_reflector_holds_what_the_server_holds(client: Client, namespace: String) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let (store, writer) = reflector::store();
    let events = watcher(maps.clone(), watcher::Config::default().streaming_lists());
    let follow = reflector(writer, events)
        .default_backoff()
        .touched_objects();
    let task = tokio::spawn(follow.for_each(|_| async {}));
    store.wait_until_ready().await?;
    for name in ["a", "b", "c"] {
        maps.create(&create(), &map(name)).await?;
    }
    let body = json!({"data": {"x": "1"}});
    maps.patch("b", &merge(), &Patch::Merge(body)).await?;
    maps.delete("c", &DeleteParams::default()).await?;
    let held = || -> BTreeSet<_> {
        let all = store.state().into_iter();
        all.map(|it| (it.name_any(), it.resource_version()))
            .collect()
    };
    let listed = maps.list(&ListParams::default()).await?.items;
    let there: BTreeSet<_> = listed
        .iter()
        .map(|it| (it.name_any(), it.resource_version()))
        .collect();
    eventually("both are the same", || async {
        Ok((held() == there).then_some(()))
    })
    .await?;
    task.abort();
    Ok(())
}

// @claim
async fn metadata_alone_can_be_watched(client: Client, namespace: String) -> Result<()> {
    let boats: Api<Boat> = Api::namespaced(client.clone(), &namespace);
    let made = boats.create(&create(), &boat("a")).await?;
    let bare: Api<PartialObjectMeta<Boat>> = Api::namespaced(client, &namespace);
    let mut events = Box::pin(watcher(bare, watcher::Config::default()));
    ensure!(matches!(next(&mut events).await?, Event::Init));
    let Event::InitApply(seen) = next(&mut events).await? else {
        bail!("the Boat is not told");
    };
    ensure!(seen.uid() == made.uid(), "{seen:?}");
    Ok(())
}

// @claim
async fn an_apply_meets_conflicts_and_force_takes_the_field(
    client: Client,
    namespace: String,
) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let apply = async |manager: PatchParams, data: serde_json::Value| {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a"}, "data": data});
        maps.patch("a", &manager, &Patch::Apply(body)).await
    };
    apply(PatchParams::apply("one"), json!({"x": "1", "y": "1"})).await?;
    let other = json!({"x": "2"});
    let status = refused(apply(PatchParams::apply("two"), other.clone()).await)?;
    ensure!(status.reason == "Conflict", "{status:?}");
    apply(PatchParams::apply("two").force(), other).await?;
    let left = apply(PatchParams::apply("one"), json!({})).await?;
    let data = left.data.unwrap_or_default();
    ensure!(data.len() == 1 && data["x"] == "2", "{data:?}");
    Ok(())
}

/// Gives every Boat a ConfigMap of its own with its seats.
async fn outfit(boat: Arc<Boat>, client: Arc<Client>) -> kube::Result<Action> {
    let namespace = boat.namespace().unwrap_or_default();
    let maps: Api<ConfigMap> = Api::namespaced(client.as_ref().clone(), &namespace);
    let boats: Api<Boat> = Api::namespaced(client.as_ref().clone(), &namespace);
    let name = boat.name_any();
    let outfit = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata":
        {"name": name, "ownerReferences": [boat.controller_owner_ref(&())]},
        "data": {"seats": boat.spec.seats.to_string()}});
    let apply = PatchParams::apply("outfitter").force();
    maps.patch(&name, &apply, &Patch::Apply(outfit)).await?;
    let status = json!({"apiVersion": "kube.test/v1", "kind": "Boat",
        "status": {"seen": boat.spec.seats}});
    boats
        .patch_status(&name, &apply, &Patch::Apply(status))
        .await?;
    Ok(Action::await_change())
}

// @claim
async fn a_controller_keeps_what_its_objects_own(client: Client, namespace: String) -> Result<()> {
    let boats: Api<Boat> = Api::namespaced(client.clone(), &namespace);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let again =
        |_: Arc<Boat>, _: &Error, _: Arc<Client>| Action::requeue(Duration::from_millis(50));
    let controller = Controller::new(boats.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(outfit, again, Arc::new(client));
    let task = tokio::spawn(controller.for_each(|_| async {}));
    let seats = async || -> Result<Option<String>> {
        let map = maps.get_opt("a").await?;
        Ok(map.and_then(|it| it.data?.remove("seats")))
    };
    let has = async |wanted: &str| {
        let claim = format!("the outfit has {wanted} seats");
        let check = || async { Ok(seats().await?.filter(|it| it == wanted)) };
        eventually(&claim, check).await
    };
    boats.create(&create(), &boat("a")).await?;
    has("2").await?;
    let larger = Patch::Merge(json!({"spec": {"seats": 3}}));
    boats.patch("a", &merge(), &larger).await?;
    has("3").await?;
    maps.delete("a", &DeleteParams::default()).await?;
    has("3").await?;
    let seen = || async {
        let boat = boats.get("a").await?;
        Ok(boat.status.filter(|it| it.seen == 3))
    };
    eventually("the status tells", seen).await?;
    task.abort();
    boats.delete("a", &DeleteParams::default()).await?;
    let gone = || async { Ok(maps.get_opt("a").await?.is_none().then_some(())) };
    eventually("the outfit goes along", gone).await
}

// @claim
async fn a_finalizer_cleans_up_before_the_object_goes(
    client: Client,
    namespace: String,
) -> Result<()> {
    let boats: Api<Boat> = Api::namespaced(client.clone(), &namespace);
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    boats.create(&create(), &boat("a")).await?;
    let step = async || -> Result<()> {
        let boat = Arc::new(boats.get("a").await?);
        let maps = &maps;
        let handle = async move |step| {
            let record = match step {
                Step::Apply(_) => "launched",
                Step::Cleanup(_) => "scrapped",
            };
            maps.create(&create(), &map(record)).await?;
            Ok::<_, Error>(Action::await_change())
        };
        finalizer(&boats, "kube.test/scrap", boat, handle).await?;
        Ok(())
    };
    step().await?;
    let held = boats.get("a").await?;
    ensure!(held.finalizers() == ["kube.test/scrap"], "{held:?}");
    step().await?;
    maps.get("launched").await?;
    boats.delete("a", &DeleteParams::default()).await?;
    ensure!(boats.get("a").await?.meta().deletion_timestamp.is_some());
    step().await?;
    maps.get("scrapped").await?;
    ensure!(boats.get_opt("a").await?.is_none(), "it is still there");
    Ok(())
}

// @claim
async fn a_recorder_tells_events_in_series(client: Client, namespace: String) -> Result<()> {
    let boats: Api<Boat> = Api::namespaced(client.clone(), &namespace);
    let events: Api<Told> = Api::namespaced(client.clone(), &namespace);
    let boat = boats.create(&create(), &boat("a")).await?;
    let recorder = Recorder::new(client, Reporter::from("proof"));
    let tale = Tale {
        type_: EventType::Normal,
        reason: "Launched".to_owned(),
        note: Some("it swims".to_owned()),
        action: "Launch".to_owned(),
        secondary: None,
    };
    for _ in 0..3 {
        recorder.publish(&tale, &boat.object_ref(&())).await?;
    }
    let about = ListParams::default().fields("regarding.name=a");
    let told = events.list(&about).await?.items;
    ensure!(told.len() == 1, "{told:?}");
    let series = told[0].series.as_ref().context("there is no series")?;
    ensure!(series.count == 3, "{series:?}");
    Ok(())
}
