"""An operator of Boats: what its handlers were called for, it writes into the Boats' status."""

import asyncio
import logging

import kopf
from kubernetes import client, config
from kubernetes.dynamic import DynamicClient

BOATS = ("kopf.test", "v1", "boats")


@kopf.on.startup()
def prepare(settings, **_):
    settings.posting.level = logging.WARNING
    config.load_kube_config()


def maps():
    """The ConfigMaps; what makes typed ones takes seconds to load."""
    return DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="ConfigMap")


def record(name, namespace):
    """Leaves a trace."""
    maps().create({"metadata": {"name": name}}, namespace=namespace)


def counted(status, name):
    return status.get(name, 0) + 1


@kopf.on.create(*BOATS)
def launch(name, namespace, spec, status, patch, **_):
    crew = {"metadata": {"name": name}, "data": {"seats": str(spec["seats"])}}
    kopf.adopt(crew)
    maps().create(crew, namespace=namespace)
    patch.status["created"] = counted(status, "created")
    return {"crew": name}


@kopf.on.update(*BOATS, field="spec.seats")
def refit(name, namespace, old, new, status, patch, **_):
    maps().patch({"data": {"seats": str(new)}}, name=name, namespace=namespace)
    patch.status["updated"] = counted(status, "updated")
    patch.status["diff"] = [old, new]


@kopf.on.resume(*BOATS)
def resume(status, patch, **_):
    patch.status["resumed"] = counted(status, "resumed")


@kopf.on.delete(*BOATS)
def scrap(name, namespace, **_):
    record(f"{name}-was-here", namespace)


@kopf.on.create(*BOATS, labels={"weather": "bad"})
def wait_for_better_weather(body, retry, patch, **_):
    if retry < 2:
        kopf.warn(body, reason="BadWeather", message=f"try {retry}")
        raise kopf.TemporaryError("the weather is bad", delay=0.2)
    patch.status["tries"] = retry + 1


@kopf.timer(*BOATS, interval=0.2, labels={"clock": kopf.PRESENT})
def tick(status, patch, **_):
    patch.status["ticks"] = counted(status, "ticks")


@kopf.daemon(*BOATS, labels={"clock": kopf.PRESENT}, cancellation_timeout=5)
async def sail(name, namespace, stopped, **_):
    record(f"{name}-sails", namespace)
    while not stopped:
        try:
            await stopped.wait()
        except asyncio.CancelledError:
            break
    record(f"{name}-came-home", namespace)
