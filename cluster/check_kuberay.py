"""RayCluster and RayJob of KubeRay: field names, versions, tokens and secrets, GPUs, spot notices, who reaches Ray.

Kubernetes drops a field that it does not know unless asked not to (`kubectl apply --validate=strict`, with a cluster at
hand), so a misspelt one would be as if it were not there. The names below are those of KubeRay's ray.io/v1 and of the
parts of a pod that our files have use for (compared with the custom resource definitions of KubeRay 1.7).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.check_parts import LOOPBACK, Pins, image, missing_files, pins, tree, unknown_start_flags

_RESOURCES = {"requests": None, "limits": None}
_ENV = {
    "name": None, "value": None,
    "valueFrom": {
        "secretKeyRef": {"name": None, "key": None, "optional": None}, "fieldRef": None, "resourceFieldRef": None,
        "configMapKeyRef": {"name": None, "key": None, "optional": None},
    },
}  # fmt: skip
_HOOK = {"exec": {"command": None}, "httpGet": None, "sleep": None}
_CONTAINER = {
    "name": None, "image": None, "imagePullPolicy": ("Always", "IfNotPresent", "Never"), "command": None, "args": None,
    "env": _ENV, "envFrom": {"configMapRef": None, "secretRef": None, "prefix": None}, "resources": _RESOURCES,
    "ports": {"containerPort": None, "name": None, "protocol": None}, "volumeMounts": None, "workingDir": None,
    "lifecycle": {"preStop": _HOOK, "postStart": _HOOK}, "securityContext": None, "livenessProbe": None,
    "readinessProbe": None, "startupProbe": None,
}  # fmt: skip
_POD = {
    "metadata": {"labels": None, "annotations": None},
    "spec": {
        "containers": _CONTAINER, "initContainers": _CONTAINER, "volumes": None, "affinity": None, "nodeSelector": None,
        "tolerations": {
            "key": None, "operator": ("Exists", "Equal"), "value": None, "effect": None, "tolerationSeconds": None,
        },
        "serviceAccountName": None, "terminationGracePeriodSeconds": None, "priorityClassName": None,
        "runtimeClassName": None, "imagePullSecrets": None, "securityContext": None, "topologySpreadConstraints": None,
        "restartPolicy": None, "schedulerName": None,
    },
}  # fmt: skip
_CLUSTER = {
    "rayVersion": None, "authOptions": {"mode": ("token",), "secretName": None}, "enableInTreeAutoscaling": None,
    "autoscalerOptions": {
        "version": ("v1", "v2"), "idleTimeoutSeconds": None, "upscalingMode": ("Default", "Aggressive", "Conservative"),
        "resources": _RESOURCES, "image": None, "imagePullPolicy": None, "env": _ENV, "envFrom": None,
        "securityContext": None, "command": None, "args": None, "volumeMounts": None,
    },
    "headGroupSpec": {
        "serviceType": None, "rayStartParams": None, "template": _POD, "resources": None, "labels": None,
        "enableIngress": None, "ingressOptions": None, "headService": None,
    },
    "workerGroupSpecs": {
        "groupName": None, "replicas": None, "minReplicas": None, "maxReplicas": None, "numOfHosts": None,
        "idleTimeoutSeconds": None, "rayStartParams": None, "template": _POD, "resources": None, "labels": None,
        "priority": None, "scaleStrategy": None, "suspend": None,
    },
    "suspend": None, "managedBy": None, "headServiceAnnotations": None, "gcsFaultToleranceOptions": None,
    "upgradeStrategy": None, "networkPolicy": None, "tlsOptions": None, "historyServerOptions": None,
}  # fmt: skip
_JOB = {
    "entrypoint": None, "submissionMode": ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"),
    "shutdownAfterJobFinishes": None, "deletionStrategy": None, "preRunningDeadlineSeconds": None,
    "ttlSecondsAfterFinished": None, "backoffLimit": None, "activeDeadlineSeconds": None, "runtimeEnvYAML": None,
    "submitterPodTemplate": _POD, "submitterConfig": None, "rayClusterSpec": _CLUSTER, "suspend": None,
    "metadata": None,
    "entrypointNumCpus": None, "entrypointNumGpus": None, "entrypointResources": None, "jobId": None, "managedBy": None,
}  # fmt: skip
_FIELDS = {
    "apiVersion": ("ray.io/v1",),
    "kind": None,
    "metadata": {"name": None, "namespace": None, "labels": None, "annotations": None},
}


def check_kuberay(documents: list[Mapping[str, Any]], root: Path) -> list[str]:
    """What is wrong with the documents of one file: one line each."""
    problems: list[str] = []
    policies = [each for each in documents if each.get("kind") == "NetworkPolicy"]
    for document in documents:
        kind = document.get("kind")
        if kind not in ("RayCluster", "RayJob"):
            continue
        known = {**_FIELDS, "spec": _CLUSTER if kind == "RayCluster" else _JOB}
        if wrong := list(tree(document, known, str(kind))):
            problems += wrong
            continue
        spec = document["spec"]
        cluster = spec if kind == "RayCluster" else spec.get("rayClusterSpec", {})
        try:
            problems += _cluster(cluster, pins(root), root, in_job=kind == "RayJob")
            problems += _reached_by(policies, cluster)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            problems.append(f"{kind}: a part is missing or not of its kind: {type(error).__name__}: {error}")
        if kind == "RayJob":
            problems += missing_files(spec.get("entrypoint", ""), "entrypoint", root)
            submitter = spec.get("submitterPodTemplate", {}).get("spec", {})
            problems += list(_containers(submitter, "submitter", pins(root), root, gpu=False))
    return problems


def _cluster(cluster: Mapping[str, Any], wanted: Pins, root: Path, in_job: bool) -> list[str]:
    problems = []
    if cluster.get("rayVersion") != wanted.ray:
        problems.append(f"rayVersion: got '{cluster.get('rayVersion')}', constraints.txt has {wanted.ray}")
    if cluster.get("authOptions", {}).get("mode") != "token":
        problems.append("authOptions.mode: not set, allowed: token (else whoever reaches Ray can run anything)")
    head = cluster["headGroupSpec"]
    parameters = head["rayStartParams"]
    if head.get("serviceType", "ClusterIP") != "ClusterIP":
        problems.append(
            f"headGroupSpec.serviceType: got '{head['serviceType']}', allowed: ClusterIP and kubectl port-forward"
        )
    if head.get("enableIngress"):
        problems.append("headGroupSpec.enableIngress: got true; the dashboard is reached by kubectl port-forward")
    host = parameters.get("dashboard-host")
    if in_job and host in LOOPBACK:
        problems.append(f"headGroupSpec.rayStartParams: dashboard-host is {host}, where KubeRay cannot follow the job")
    if not in_job and host not in LOOPBACK:
        problems.append(
            f"headGroupSpec.rayStartParams: the dashboard listens on {host or '0.0.0.0 (KubeRay sets it)'}; "
            "allowed: dashboard-host: 127.0.0.1 and kubectl port-forward"
        )
    problems += list(_group("headGroupSpec", head, wanted, root, gpu=False))
    for group in cluster["workerGroupSpecs"]:
        place = f"workerGroupSpecs[{group.get('groupName')}]"
        low, now, high = (group.get(key, 0) for key in ("minReplicas", "replicas", "maxReplicas"))
        if not low <= now <= high:
            problems.append(f"{place}: replicas {now} is not between minReplicas {low} and maxReplicas {high}")
        container = group["template"]["spec"]["containers"][0]
        gpu = bool(_amount(container, "limits"))
        if not gpu and re.search(r"-(?:gpu|cu\d+)\b", container.get("image", "")):
            problems.append(
                f"{place}: no nvidia.com/gpu in the limits of '{container.get('name')}': Ray would see no GPU"
            )
        elif _amount(container, "requests") not in (None, _amount(container, "limits")):
            problems.append(f"{place}: requests and limits of nvidia.com/gpu differ; Kubernetes refuses that")
        problems += list(_group(place, group, wanted, root, gpu)) + _notice(place, group["template"]["spec"])
    return problems


def _group(place: str, group: Mapping[str, Any], wanted: Pins, root: Path, gpu: bool) -> Iterator[str]:
    for key, value in group.get("rayStartParams", {}).items():
        if not isinstance(value, str):
            yield f'{place}.rayStartParams.{key}: got {value!r}, KubeRay takes texts: "{value}"'
    yield from unknown_start_flags([f"--{key}" for key in group.get("rayStartParams", {})], f"{place}.rayStartParams")
    yield from _containers(group["template"]["spec"], place, wanted, root, gpu)


def _containers(pod: Mapping[str, Any], place: str, wanted: Pins, root: Path, gpu: bool) -> Iterator[str]:
    for container in pod.get("containers", []):
        where = f"{place}, container '{container.get('name')}'"
        yield from image(container.get("image", ""), where, wanted, gpu)
        for variable in container.get("env", []):
            if variable.get("name") == "RAY_AUTH_MODE" and variable.get("value") != "token":
                yield f"{where}: RAY_AUTH_MODE is '{variable.get('value')}', allowed: token"
            if (
                re.search(r"(?i)(token|secret|password|(api|access|private)_?key)", variable.get("name", ""))
                and "value" in variable
            ):
                yield f"{where}: {variable['name']} has its value in the file; allowed: valueFrom.secretKeyRef"
        hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {})
        yield from missing_files(" ".join(map(str, hook.get("command", []))), f"{where}, preStop", root)


def _notice(place: str, pod: Mapping[str, Any]) -> list[str]:
    """A worker that is to go is drained first, and has the time for it."""
    command = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    text, grace = " ".join(map(str, command)), pod.get("terminationGracePeriodSeconds", 30)
    if "drain" not in text:
        return [f"{place}: no lifecycle.preStop that drains the node (cluster/spot.py drain --seconds N)"]
    seconds = re.search(r"--seconds[= ](\d+)", text)
    if seconds and int(seconds[1]) >= grace:
        return [f"{place}: preStop takes {seconds[1]} s, terminationGracePeriodSeconds is {grace}; it must be longer"]
    return []


def _reached_by(policies: list[Mapping[str, Any]], cluster: Mapping[str, Any]) -> list[str]:
    """One network policy covers head and workers, and admits named pods alone."""
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    labels = [group["template"].get("metadata", {}).get("labels", {}) for group in groups]
    covering = [
        p
        for p in policies
        if (chosen := p["spec"]["podSelector"].get("matchLabels"))
        and all(chosen.items() <= own.items() for own in labels)
    ]
    if not covering:
        return ["no NetworkPolicy whose podSelector covers head and workers: every pod of the cluster would reach Ray"]
    problems = []
    for rule in [rule for policy in covering for rule in policy["spec"].get("ingress", [])]:
        if not rule.get("from") or any("podSelector" not in peer or not peer["podSelector"] for peer in rule["from"]):
            problems.append(
                "NetworkPolicy: a rule admits more than pods that it names; allowed: from: [podSelector: ...]"
            )
    return problems


def _amount(container: Mapping[str, Any], kind: str) -> Any:
    return container.get("resources", {}).get(kind, {}).get("nvidia.com/gpu")
