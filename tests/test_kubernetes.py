"""examples/kubernetes: a cluster accepts the manifest, and this project's code understands its workers."""

import copy
from typing import Any

import pytest
import yaml

from digits.apps.workers import train_command
from exactkeras.tf_config import read_cluster
from tests.support.project import ROOT

MANIFEST = ROOT / "examples" / "kubernetes" / "workers.yaml"


def objects() -> dict[str, Any]:
    """Return the objects of the manifest, by kind."""
    return {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.30", "1.36"])
@pytest.mark.parametrize("kind", ["Service", "Job", "NetworkPolicy"])
def test_each_object_keeps_the_schema(kind: str, version: str) -> None:
    import kubernetes_validate  # takes seconds

    good = objects()[kind]
    kubernetes_validate.validate(good, version, strict=True)
    bad = copy.deepcopy(good)
    bad["spec"]["podSelektor"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="podSelektor"):
        kubernetes_validate.validate(bad, version, strict=True)


def test_each_pod_runs_the_graphs_command_and_knows_the_others() -> None:
    job, service = objects()["Job"], objects()["Service"]
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == train_command(ROOT / "dvc.yaml")
    assert service["spec"]["clusterIP"] == "None"
    text = {variable["name"]: variable.get("value") for variable in container["env"]}["TF_CONFIG"]
    assert spec["completions"] == spec["parallelism"]
    for index in range(spec["completions"]):
        cluster = read_cluster({"TF_CONFIG": text.replace("$(INDEX)", str(index))})
        assert cluster is not None
        # The names that Kubernetes gives the pods of an Indexed Job, in the domain of the service.
        names = [f"{job['metadata']['name']}-{k}.{service['metadata']['name']}" for k in range(spec["completions"])]
        assert cluster.addresses == tuple(f"{name}:{service['spec']['ports'][0]['port']}" for name in names)
        assert cluster.number == index
    assert pod["subdomain"] == service["metadata"]["name"]


def test_only_the_workers_reach_the_workers() -> None:
    labels = objects()["Job"]["spec"]["template"]["metadata"]["labels"]
    policy = objects()["NetworkPolicy"]["spec"]
    assert objects()["Service"]["spec"]["selector"] == labels == policy["podSelector"]["matchLabels"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    ports = [{"port": objects()["Service"]["spec"]["ports"][0]["port"]}]
    workers = [{"podSelector": {"matchLabels": labels}}]
    assert policy["ingress"] == [{"from": workers, "ports": ports}]
    assert policy["egress"][0] == {"to": workers, "ports": ports}
