"""What a trial is told: typed on our side, a dict where Ray carries it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lab.errors import ConfigError
from lab.registry import DEFAULT, configs_of_json
from lab.settings.config import Config


def shown(identity: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {str(value)[:12]}" for key, value in identity.items()) or "none said"


@dataclass(frozen=True)
class TrialSpec:
    """A stack of runs as one trial, or one at each of several origins.

    Its checkpoints are in the results, under a name that follows from the runs.
    """

    configs: tuple[str, ...]  # of its runs, as JSON; with origins as many for each, one origin's behind another's
    data_sha256: str  # identity of the series that the study's records name
    results: str = ""  # where they go
    study: str = ""
    patience: float = 0.0  # with the storage, seconds
    mark: str | None = None  # of the study's storage (see PatientStorage)
    threads: int = 1
    gpu: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)
    trial: str | None = None  # id of the proposal, in a search
    stack: int | None = None  # its number, in an ablation
    # Where it is given, every run is trained to its own end, diverged neighbours or not, and test is read for this
    # purpose once all have come to theirs.
    test_purpose: str | None = None
    command: str = ""  # what was typed where the driver runs, for the ledger of test
    most: int | None = None  # models that are trained side by side, in each stack
    model: str = DEFAULT  # whose configs they are: a name of lab.registry
    identity: Mapping[str, Any] = field(default_factory=dict)  # of that model's code, where the driver runs
    origins: tuple[str, ...] = ()  # identities of the series at each origin, where there are several
    tells: bool = False  # its reports carry every epoch of its runs, which a tracker shows

    @property
    def name(self) -> str:
        """In the study."""
        return self.trial if self.trial is not None else f"stack {self.stack}"

    def runs(self) -> list[Config]:
        """What it trains. Raises ConfigError where this machine has the model with other code than the driver's."""
        configs = configs_of_json(self.model, self.configs)
        if configs and configs[0].identity != dict(self.identity):
            raise ConfigError(
                f"model '{self.model}' is another here than where the command runs ({shown(configs[0].identity)}, "
                f"{shown(self.identity)}); its module must be the same file on every machine"
            )
        return configs

    def stacks(self) -> list[tuple[str, list[Config]]]:
        """The identity of the data of each stack, and what it trains. Raises as `runs`."""
        configs, identities = self.runs(), self.origins or (self.data_sha256,)
        size = len(configs) // len(identities)
        return [(identity, configs[at * size : (at + 1) * size]) for at, identity in enumerate(identities)]

    def ids(self) -> list[str]:
        """Of its runs, in the order of `configs`. Raises as `runs`."""
        return [config.run_id(identity) for identity, configs in self.stacks() for config in configs]

    @property
    def side_by_side(self) -> int:
        return self.most or len(self.configs) // max(1, len(self.origins))

    def halved(self) -> "TrialSpec":
        return replace(self, most=(self.side_by_side + 1) // 2)

    def to_dict(self) -> dict[str, Any]:
        """As Ray Tune's config, without what is None."""
        told = {**asdict(self), "configs": list(self.configs), "origins": list(self.origins) or None}
        return {name: value for name, value in told.items() if value is not None}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "TrialSpec":
        return cls(**{**config, "configs": tuple(config["configs"]), "origins": tuple(config.get("origins", ()))})

    @classmethod
    def of(cls, trial: Any) -> "TrialSpec":
        """Of a trial of Tune's."""
        return cls.from_dict(trial.config)
