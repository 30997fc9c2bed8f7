"""What deploy/ holds is valid, and every command in it is one that the program takes."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from places import ROOT
from ray.autoscaler._private.docker import docker_start_cmds
from ray.autoscaler._private.util import prepare_config

from jobs import curate, models
from pipeline.engines.auto import CHOICES
from pipeline.engines.engines_config import engines_preset
from pipeline.engines.registry import needs_of
from pipeline.engines.weights import registry
from trainer import train
from trainer.distributed.launch import Processes

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def read(path: Path) -> dict[str, Any]:
    return documents(path)[-1]


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def pod_templates(node: Any) -> list[dict[str, Any]]:
    """Return every `template` that holds a pod, however deep."""
    if isinstance(node, list):
        return [pod for part in node for pod in pod_templates(part)]
    if not isinstance(node, dict):
        return []
    found = [node] if "containers" in node.get("spec", {}) else []
    return found + [pod for part in node.values() for pod in pod_templates(part)]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_pods_are_valid(path):
    pods = pod_templates(read(path))
    assert pods
    for pod in pods:
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **pod}
        kubernetes_validate.validate(whole, kubernetes_validate.latest_version(), strict=True)


def test_what_kubernetes_itself_defines_is_valid():
    documented = [whole for path in MANIFESTS for whole in documents(path)]
    own = [whole for whole in documented if "." not in whole["apiVersion"].split("/")[0]]
    assert {whole["kind"] for whole in own} == {"Job", "PersistentVolumeClaim"}
    for whole in own:
        kubernetes_validate.validate(whole, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", ["rayjob", "raycluster"])
def test_every_node_reads_the_weights_that_the_job_fetches_and_may_use_the_store(name):
    [claim, job] = documents(DEPLOY / "kubernetes/models.yaml")
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    fetched = models.parse(command[2:])
    assert {registry()[weights].name for weights in fetched.names} == set(fetched.names)
    pods = pod_templates(read(DEPLOY / "kubernetes" / f"{name}.yaml"))
    assert len(pods) == 2
    for pod in pods:
        [container] = pod["spec"]["containers"]
        [volume] = pod["spec"]["volumes"]
        claimed = volume["persistentVolumeClaim"]["claimName"]
        assert claimed == claim["metadata"]["name"]
        [mounted] = container["volumeMounts"]
        assert (mounted["name"], mounted["mountPath"]) == (volume["name"], str(fetched.folder))
        assert container["envFrom"] == [{"secretRef": {"name": "contextanyone-store"}}]


@pytest.mark.parametrize("preset", ["auto", "production"])
def test_the_weights_on_the_volume_are_all_that_the_presets_read(preset):
    """But for dlib's, which are a package, and OSNet's: rayjob.yaml does without."""
    [_, job] = documents(DEPLOY / "kubernetes/models.yaml")
    fetched = models.parse(job["spec"]["template"]["spec"]["containers"][0]["command"][2:]).names
    there = {(registry()[name].engine, registry()[name].task) for name in fetched}
    if preset == "auto":
        best = {task: choices[0].name for task, choices in CHOICES.items()}
        named = best | {"recogniser": "sface_appearance"}
    else:
        named = {**asdict(engines_preset(preset).observing), "recogniser": "arcface"}
    tasks = [(task, engine) for task, engine in named.items() if isinstance(engine, str)]
    read_by = {reads for task, engine in tasks for reads in needs_of(task, engine).weights}
    assert read_by
    assert read_by <= there


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_ray_is_of_the_version_in_the_image(path):
    named = set(re.findall(r'rayVersion: "([^"]+)"', path.read_text()))
    pinned = re.findall(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert named <= set(pinned)


def test_the_cluster_of_virtual_machines_has_rays_own_schema():
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(read(DEPLOY / "ray-up/cluster.yaml"), schema)


@pytest.fixture(scope="module")
def virtual_machines() -> dict[str, Any]:
    """Return the settings of `ray up` with those that Ray adds, which asks no cloud for them."""
    return prepare_config(read(DEPLOY / "ray-up/cluster.yaml"))


def test_machines_share_a_token_and_weights_and_install_nothing(virtual_machines):
    mounts, docker = virtual_machines["file_mounts"], virtual_machines["docker"]
    started = docker_start_cmds(
        *("ubuntu", docker["image"], mounts, docker["container_name"], docker["run_options"]),
        *("contextanyone", image_settings()["HOME"], "docker"),
    )
    assert "--env=RAY_AUTH_MODE=token" in started
    assert f":{image_settings()['HOME']}/.ray/auth_token " in started
    assert f"models:{image_settings()['CONTEXTANYONE_MODELS']} " in started
    for when in ("setup_commands", "head_setup_commands", "worker_setup_commands"):
        assert virtual_machines[when] == []


def image_lines() -> str:
    """Return the last stage of the Dockerfile, an instruction a line."""
    text = (DEPLOY / "docker/Dockerfile").read_text().replace("\\\n", "")
    return text.rpartition("\nFROM ")[2]


def image_settings() -> dict[str, str]:
    [words] = re.findall(r"^ENV (.*)$", image_lines(), re.MULTILINE)
    return dict(word.split("=", 1) for word in words.split())


def test_the_image_starts_the_shells_of_ray_and_has_what_they_call():
    """Ray says `docker run IMAGE bash`, then `bash --login`, rsync and ssh inside."""
    assert not re.search(r"^ENTRYPOINT", image_lines(), re.MULTILINE)
    [installed] = re.findall(r"apt-get install (.*?)&&", image_lines())
    assert {"rsync", "openssh-client"} <= set(installed.split())
    [line] = re.findall(r'echo "(PATH=[^"]*)" > /etc/profile\.d/\w+\.sh', image_lines())
    shell = ["bash", "-c", f"{line.replace(chr(92), '')}; echo $PATH"]
    done = subprocess.run(
        shell, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    folder = image_settings()["PATH"].partition(":")[0]
    assert done.stdout.strip() == f"{folder}:/usr/bin:/bin"


def test_the_job_on_ray_gives_curate_what_it_takes():
    program, command, *arguments = shlex.split(
        read(DEPLOY / "kubernetes/rayjob.yaml")["spec"]["entrypoint"]
    )
    assert (program, command) == ("contextanyone", "curate")
    assert curate.parse(arguments).output == "s3://bucket/dataset"


def test_the_job_on_kubernetes_gives_train_what_it_takes():
    [pod] = pod_templates(read(DEPLOY / "kubernetes/train.yaml"))
    command = pod["spec"]["containers"][0]["command"]
    assert command[:2] == ["contextanyone", "train"]
    parsed = train.parse(command[2:])
    assert str(parsed.output) == "/data/runs/wan-14b"
    node = parsed.node.replace("$(NODE_RANK)", "1")
    assert Processes.of_flags(parsed.processes, node, parsed.master).nodes == 2


@pytest.mark.parametrize(
    ("checker", "paths"),
    [
        ("hadolint", [DEPLOY / "docker/Dockerfile"]),
        ("shellcheck", sorted((DEPLOY / "slurm").glob("*.sbatch"))),
    ],
)
def test_scripts_have_no_findings(checker, paths):
    program = Path(sys.executable).with_name(checker)
    done = subprocess.run([program, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
