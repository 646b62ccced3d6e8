"""The small W&B server of the tests, with what reports need besides: artifacts, and reports that are kept."""

from typing import Any

from tests.wandb_server import ENTITY, WandbServer

BORN = "2026-01-02T03:04:05"


class ReportServer(WandbServer):
    """Attributes: `views`: reports by id, as upsertView got them; `artifacts`: what CreateArtifact got, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.artifacts: list[dict[str, Any]] = []

    def answer(self, operation: str, query: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        known = super().answer(operation, query, variables)
        if known is not None:
            return known
        match operation:
            case "ArtifactType":
                return {"project": {"artifact": None}}
            case "CreateArtifact":
                self.artifacts.append(variables["input"])
                found = {
                    "id": f"a{len(self.artifacts)}",
                    "state": "PENDING",
                    "artifactSequence": {"latestArtifact": None},
                }
                found["artifactSequence"] = {"latestArtifact": None}
                return {"createArtifact": {"artifact": found}}
            case "CreateArtifactManifest":
                manifest = {"id": variables["artifactID"], "file": self._file("manifest", variables["artifactID"])}
                return {"createArtifactManifest": {"artifactManifest": manifest}}
            case "CreateArtifactFiles":
                edges = [{"node": self._artifact_file(spec)} for spec in variables["input"]["artifactFiles"]]
                return {"createArtifactFiles": {"files": {"edges": edges}}}
            case "CommitArtifact":
                return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": "x"}}}
            case "ArtifactByID":
                return {"artifact": self._artifact(int(variables["id"].removeprefix("a")))}
            case "GetProjects":
                node = {"__typename": "Project", "id": "p1", "name": "dynonet", "entityName": ENTITY, "createdAt": BORN}
                page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
                edges = [{"node": {**node, "isBenchmark": False, "user": None}}]
                return {"models": {"pageInfo": page, "edges": edges}}
            case "upsertView":
                return {"upsertView": {"view": self._view(variables), "inserted": variables["id"] is None}}
        return None

    def _file(self, kind: str, name: str) -> dict[str, Any]:
        url = f"{self.url}/uploads/{kind}/{name}"
        return {"id": name, "name": name, "displayName": name, "uploadUrl": url, "uploadHeaders": []}

    def _artifact_file(self, spec: dict[str, Any]) -> dict[str, Any]:
        file = self._file(f"artifact/{spec['artifactID']}", spec["name"])
        return file | {"artifact": {"id": spec["artifactID"]}, "storagePath": spec["name"], "uploadMultipartUrls": None}

    def _artifact(self, number: int) -> dict[str, Any]:
        given = self.artifacts[number - 1]
        project = {"id": "p1", "internalId": "1", "name": "dynonet", "entity": {"name": ENTITY}}
        sequence = {"__typename": "ArtifactSequence", "name": given["artifactCollectionName"], "project": project}
        found = dict.fromkeys(("description", "metadata", "historyStep"))
        return {
            **found, "__typename": "Artifact", "id": f"a{number}", "artifactSequence": sequence, "versionIndex": 0,
            "artifactType": {"name": given["artifactTypeName"]}, "tags": [], "state": "COMMITTED", "size": 1,
            "digest": given["digest"], "digestAlgorithm": "MANIFEST_MD5", "commitHash": "c", "fileCount": 1,
            "createdAt": BORN, "updatedAt": BORN, "aliases": [], "ttlIsInherited": False, "ttlDurationSeconds": -1,
        }  # fmt: skip

    def _view(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["id"] or f"view{len(self.views) + 1}"
        self.views[name] = variables
        user = {"id": "u1", "name": ENTITY, "username": ENTITY, "photoUrl": "", "admin": False, "email": ""}
        return {
            "id": name, "name": variables["name"], "displayName": variables["displayName"], "type": "runs",
            "description": variables["description"], "spec": variables["spec"], "createdAt": BORN, "updatedAt": BORN,
            "project": {"name": variables["projectName"], "entityName": variables["entityName"], "id": "p1"},
            "user": user, "viewCount": 1,
        }  # fmt: skip
