"""The fields of KubeRay 1.6's RayJob that our ready file uses, as a closed JSON schema.

Written by hand from KubeRay's API reference; its resource definition has more than a megabyte. A
field that is not listed is refused, as `kubectl create` (strict validation) does.
"""

from __future__ import annotations

from typing import Any

NUMBER = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITY = {"type": ["integer", "string"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|[KMGT]i?)?$"}


def closed(required: list[str], **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": required,
        "additionalProperties": False,
    }


def listed(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": item}


LABEL = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
STRING = {"type": "string", "minLength": 1}
AMOUNTS = {"type": "object", "additionalProperties": QUANTITY}
CONTAINER = closed(
    ["name", "image"],
    name=LABEL,
    image=STRING,
    resources=closed([], requests=AMOUNTS, limits=AMOUNTS),
    ports=listed(closed(["containerPort"], name=LABEL, containerPort=NUMBER)),
    volumeMounts=listed(closed(["name", "mountPath"], name=LABEL, mountPath=STRING)),
)
TOLERATION = closed(
    [],
    key=STRING,
    operator={"enum": ["Exists", "Equal"]},
    value=STRING,
    effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
)
VOLUME = closed(
    ["name"], name=LABEL, emptyDir=closed([], medium={"enum": ["", "Memory"]}, sizeLimit=QUANTITY)
)
POD = closed(
    ["spec"],
    spec=closed(
        ["containers"],
        serviceAccountName=LABEL,
        containers=listed(CONTAINER),
        tolerations=listed(TOLERATION),
        volumes=listed(VOLUME),
    ),
)
CLUSTER = closed(
    ["headGroupSpec", "rayVersion"],
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=closed(["mode"], mode={"enum": ["disabled", "token"]}),
    headGroupSpec=closed(["template"], rayStartParams=TEXTS, template=POD),
    workerGroupSpecs=listed(
        closed(
            ["groupName", "template"],
            groupName=LABEL,
            replicas=NUMBER,
            minReplicas=NUMBER,
            maxReplicas=NUMBER,
            rayStartParams=TEXTS,
            template=POD,
        )
    ),
)
RAY_JOB = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=closed(["name"], name=LABEL),
    spec=closed(
        ["entrypoint", "rayClusterSpec"],
        entrypoint=STRING,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        backoffLimit=NUMBER,
        submitterConfig=closed([], backoffLimit=NUMBER),
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=NUMBER,
        rayClusterSpec=CLUSTER,
    ),
)
