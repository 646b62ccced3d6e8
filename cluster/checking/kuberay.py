"""RayCluster and RayJob of KubeRay: field names, versions, tokens and secrets, GPUs, spot notices, who reaches Ray.

Kubernetes drops a field that it does not know unless asked not to (`kubectl apply --validate=strict`, with a cluster at
hand), so a misspelt one would be as if it were not there. The names below are those of KubeRay's ray.io/v1 and of the
parts of a pod that our files have use for (compared with the custom resource definitions of KubeRay 1.7).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.checking.common import LOOPBACK, Pins, image, missing_files, pins, unknown_start_flags
from cluster.checking.kinds import COUNT, FLAG, QUANTITY, SOME, TEXT, VALUE, Each, Fields, tree

_RESOURCES = {"requests": Each(QUANTITY, empty=True), "limits": Each(QUANTITY, empty=True)}
_KEY = Fields({"name": TEXT, "key": TEXT, "optional": FLAG}, "name", "key")
_ENV = Fields({
    "name": TEXT, "value": VALUE,
    "valueFrom": {"secretKeyRef": _KEY, "fieldRef": None, "resourceFieldRef": None, "configMapKeyRef": _KEY},
}, "name")  # fmt: skip
_NAMED = Fields({"name": TEXT, "optional": FLAG}, "name")
_ENV_FROM = {"configMapRef": _NAMED, "secretRef": _NAMED, "prefix": TEXT}
_HOOK = {"exec": Fields({"command": [VALUE]}, "command"), "httpGet": None, "sleep": None}
_CONTAINER = Fields({
    "name": TEXT, "image": TEXT, "imagePullPolicy": ("Always", "IfNotPresent", "Never"), "command": [VALUE],
    "args": [VALUE], "env": [_ENV], "envFrom": [_ENV_FROM], "resources": _RESOURCES,
    "ports": [Fields({"containerPort": SOME, "name": TEXT, "protocol": ("TCP", "UDP")}, "containerPort")],
    "volumeMounts": [None], "workingDir": TEXT, "lifecycle": {"preStop": _HOOK, "postStart": _HOOK},
    "securityContext": None, "livenessProbe": None, "readinessProbe": None, "startupProbe": None,
}, "name", "image")  # fmt: skip
_EXPRESSION = Fields({
    "key": TEXT, "operator": ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"), "values": [TEXT],
}, "key", "operator")  # fmt: skip
_TERM = {"matchExpressions": [_EXPRESSION], "matchFields": [_EXPRESSION]}
_AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": Fields({"nodeSelectorTerms": [_TERM]}, "nodeSelectorTerms"),
        "preferredDuringSchedulingIgnoredDuringExecution": [
            Fields({"weight": SOME, "preference": _TERM}, "weight", "preference")
        ],
    },
    "podAffinity": None, "podAntiAffinity": None,
}  # fmt: skip
_LABELS = Each(VALUE)
_POD = Fields({
    "metadata": {"labels": _LABELS, "annotations": _LABELS},
    "spec": Fields({
        "containers": [_CONTAINER], "initContainers": [_CONTAINER], "volumes": [None], "affinity": _AFFINITY,
        "nodeSelector": _LABELS,
        "tolerations": [{
            "key": TEXT, "operator": ("Exists", "Equal"), "value": VALUE,
            "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"), "tolerationSeconds": COUNT,
        }],
        "serviceAccountName": TEXT, "terminationGracePeriodSeconds": COUNT, "priorityClassName": TEXT,
        "runtimeClassName": TEXT, "imagePullSecrets": [_NAMED], "securityContext": None,
        "topologySpreadConstraints": None, "restartPolicy": ("Always", "OnFailure", "Never"), "schedulerName": TEXT,
    }, "containers"),
}, "spec")  # fmt: skip
_START = Each(None, empty=True)  # what ray start takes is checked where it is known of whom
_CLUSTER = Fields({
    "rayVersion": TEXT, "authOptions": {"mode": ("token",), "secretName": TEXT}, "enableInTreeAutoscaling": FLAG,
    "autoscalerOptions": {
        "version": ("v1", "v2"), "idleTimeoutSeconds": COUNT,
        "upscalingMode": ("Default", "Aggressive", "Conservative"), "resources": _RESOURCES, "image": TEXT,
        "imagePullPolicy": TEXT, "env": [_ENV], "envFrom": [_ENV_FROM], "securityContext": None, "command": [VALUE],
        "args": [VALUE], "volumeMounts": [None],
    },
    "headGroupSpec": Fields({
        "serviceType": TEXT, "rayStartParams": _START, "template": _POD, "resources": Each(QUANTITY),
        "labels": _LABELS, "enableIngress": FLAG, "ingressOptions": None, "headService": None,
    }, "rayStartParams", "template"),
    "workerGroupSpecs": [Fields({
        "groupName": TEXT, "replicas": COUNT, "minReplicas": COUNT, "maxReplicas": SOME, "numOfHosts": SOME,
        "idleTimeoutSeconds": COUNT, "rayStartParams": _START, "template": _POD, "resources": Each(QUANTITY),
        "labels": _LABELS, "priority": None, "scaleStrategy": None, "suspend": FLAG,
    }, "groupName", "template")],
    "suspend": FLAG, "managedBy": None, "headServiceAnnotations": None, "gcsFaultToleranceOptions": None,
    "upgradeStrategy": None, "networkPolicy": None, "tlsOptions": None, "historyServerOptions": None,
}, "headGroupSpec", "workerGroupSpecs")  # fmt: skip
_JOB = Fields({
    "entrypoint": TEXT, "submissionMode": ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"),
    "shutdownAfterJobFinishes": FLAG, "deletionStrategy": None, "preRunningDeadlineSeconds": COUNT,
    "ttlSecondsAfterFinished": COUNT, "backoffLimit": COUNT, "activeDeadlineSeconds": SOME, "runtimeEnvYAML": TEXT,
    "submitterPodTemplate": _POD, "submitterConfig": None, "rayClusterSpec": _CLUSTER, "suspend": FLAG,
    "metadata": None,
    "entrypointNumCpus": None, "entrypointNumGpus": None, "entrypointResources": None, "jobId": None, "managedBy": None,
}, "entrypoint", "rayClusterSpec")  # fmt: skip
_METADATA = Fields({"name": TEXT, "namespace": TEXT, "labels": _LABELS, "annotations": _LABELS}, "name")
_SELECTOR = Fields({"matchLabels": _LABELS, "matchExpressions": [_EXPRESSION]}, empty=True)
_POLICY = Fields({
    "podSelector": _SELECTOR, "policyTypes": [("Ingress", "Egress")], "egress": None,
    "ingress": [Fields({
        "from": [{"podSelector": _SELECTOR, "namespaceSelector": _SELECTOR, "ipBlock": None}],
        "ports": [{"protocol": ("TCP", "UDP", "SCTP"), "port": SOME, "endPort": SOME}],
    }, empty=True)],
}, "podSelector", "ingress")  # fmt: skip
_SPECS = {
    "RayCluster": ("ray.io/v1", _CLUSTER), "RayJob": ("ray.io/v1", _JOB),
    "NetworkPolicy": ("networking.k8s.io/v1", _POLICY),
}  # fmt: skip
_WHOLE = ("apiVersion", "kind", "metadata", "spec")


def check_kuberay(documents: Sequence[Mapping[str, Any]], root: Path) -> list[str]:
    """What is wrong with the documents of one file: one line each."""
    problems = [f"document {n}: no 'kind'" for n, each in enumerate(documents, 1) if not _kind(each)]
    for document in documents:
        if (kind := _kind(document)) in _SPECS:
            version, spec = _SPECS[kind]
            known = Fields({"apiVersion": (version,), "kind": None, "metadata": _METADATA, "spec": spec}, *_WHOLE)
            problems += tree(document, known, kind)
    if problems:
        return problems  # the rest reads what is of its kind
    policies = [each for each in documents if _kind(each) == "NetworkPolicy"]
    for document in documents:
        if (kind := _kind(document)) not in ("RayCluster", "RayJob"):
            continue
        spec = document["spec"]
        cluster = spec if kind == "RayCluster" else spec["rayClusterSpec"]
        problems += _cluster(cluster, pins(root), root, in_job=kind == "RayJob")
        problems += _reached_by(policies, cluster)
        if kind == "RayJob":
            problems += missing_files(spec["entrypoint"], "entrypoint", root)
            submitter = spec.get("submitterPodTemplate", {}).get("spec", {})
            problems += list(_containers(submitter, "submitter", pins(root), root, gpu=False))
    return problems


def _kind(document: Mapping[str, Any]) -> str:
    kind = document.get("kind")
    return kind if isinstance(kind, str) else ""


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
    groups = cluster["workerGroupSpecs"]
    if not cluster.get("enableInTreeAutoscaling") and not any(group.get("replicas") for group in groups):
        problems.append("enableInTreeAutoscaling: not true, and replicas are 0: no worker would ever start")
    for group in groups:
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
    flags = {f"--{key}": str(value) for key, value in group.get("rayStartParams", {}).items()}
    yield from unknown_start_flags(flags, f"{place}.rayStartParams")
    yield from _expressions(group["template"]["spec"].get("affinity", {}), f"{place}.affinity")
    yield from _containers(group["template"]["spec"], place, wanted, root, gpu)


def _expressions(value: Any, place: str) -> Iterator[str]:
    """Every `In` and `NotIn` says in what."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _expressions(each, f"{place}[{index}]")
    elif isinstance(value, dict):
        if value.get("operator") in ("In", "NotIn") and "values" not in value:
            yield f"{place}: no 'values', which operator {value['operator']} needs"
        for key, each in value.items():
            yield from _expressions(each, f"{place}.{key}")


def _containers(pod: Mapping[str, Any], place: str, wanted: Pins, root: Path, gpu: bool) -> Iterator[str]:
    for container in pod.get("containers", []):
        where = f"{place}, container '{container.get('name')}'"
        yield from image(container.get("image", ""), where, wanted, gpu)
        for variable in container.get("env", []):
            if len({"value", "valueFrom"} & set(variable)) != 1:
                yield f"{where}: {variable['name']} needs 'value' or 'valueFrom'"
            if variable.get("name") == "RAY_AUTH_MODE" and variable.get("value") != "token":
                yield f"{where}: RAY_AUTH_MODE is '{variable.get('value')}', allowed: token"
            if (
                re.search(r"(?i)(token|secret|password|(api|access|private)_?key)", variable.get("name", ""))
                and "value" in variable
            ):
                yield f"{where}: {variable['name']} has its value in the file; allowed: valueFrom.secretKeyRef"
            if re.match(r"RAY_\w+_(ms|threshold)$", name := variable["name"]) and not re.fullmatch(
                r"\d+", variable.get("value", "0")
            ):
                yield f"{where}: {name} is '{variable['value']}', a number is needed"
        yield from _quantities(container, where)
        hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {})
        yield from missing_files(" ".join(map(str, hook.get("command", []))), f"{where}, preStop", root)


def _quantities(container: Mapping[str, Any], where: str) -> Iterator[str]:
    """Kubernetes refuses a container that asks for more than it may have."""
    resources = container.get("resources", {})
    for name, most in resources.get("limits", {}).items():
        asked = resources.get("requests", {}).get(name, most)
        if _number(asked) > _number(most):
            yield f"{where}: requests {asked} of {name}, and its limit is {most}"


def _number(quantity: Any) -> float:
    found = re.fullmatch(r"([\d.]+)(\D*)", str(quantity))
    assert found is not None, "its kind was looked at"
    unit = found[2]
    power = "kMGTPE".find(unit[:1] if unit[:1] != "K" else "k") + 1 if unit and unit != "m" else 0
    return float(found[1]) * (1e-3 if unit == "m" else (1024 if unit.endswith("i") else 1000) ** power)


def _notice(place: str, pod: Mapping[str, Any]) -> list[str]:
    """A worker that is to go is drained first, and has the time for it."""
    command = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    text, grace = " ".join(map(str, command)), pod.get("terminationGracePeriodSeconds", 30)
    if not re.search(r"\bpython3? \S*spot\.py drain --seconds[= ]\d+", text):
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
        if "Ingress" in p["spec"].get("policyTypes", ["Ingress"])
        and (chosen := p["spec"]["podSelector"].get("matchLabels"))
        and all(chosen.items() <= own.items() for own in labels)
    ]
    if not covering:
        return ["no NetworkPolicy whose podSelector covers head and workers: every pod of the cluster would reach Ray"]
    problems = []
    peers = [peer for policy in covering for rule in policy["spec"]["ingress"] for peer in rule.get("from", [])]
    inside = [p.get("podSelector", {}).get("matchLabels", {}) for p in peers if "namespaceSelector" not in p]
    if not any(chosen and all(chosen.items() <= own.items() for own in labels) for chosen in inside):
        problems.append("NetworkPolicy: no rule admits head and workers themselves: they could not reach each other")
    for rule in [rule for policy in covering for rule in policy["spec"].get("ingress", [])]:
        if not rule.get("from") or any("podSelector" not in peer or not peer["podSelector"] for peer in rule["from"]):
            problems.append(
                "NetworkPolicy: a rule admits more than pods that it names; allowed: from: [podSelector: ...]"
            )
    return problems


def _amount(container: Mapping[str, Any], kind: str) -> Any:
    return container.get("resources", {}).get(kind, {}).get("nvidia.com/gpu")
