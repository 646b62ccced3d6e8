"""Why an arm of DynoNet changes nothing, and why a signal that the controller sets never moves."""

from dynonet.config import Config
from dynonet.parts import SIGNALS
from dynonet.traits.trained import trained_groups
from lab.arms import difference

# What only the workers feel.
_THROUGH_WORKERS = ("model.film", "model.context", "model.decomposition", "model.worker_cell", "model.worker_scope")


def why_inert(base: Config, config: Config) -> str | None:
    """Why what differs between two configs changes nothing, or None if the reason is not known."""
    reasons = []
    learned = trained_groups(base)["controller"] | trained_groups(config)["controller"]
    for key, values in difference(base, config).items():
        section, name = key.split(".")[0], key.rsplit(".", 1)[-1]
        if section == "signals" and "adaptive" in values and name not in learned:
            held = next(value for value in values if value != "adaptive")
            if held != SIGNALS[name].neutral:
                return None
            reasons.append(f"{name} {_why_unlearned(name, base)}, so that it stays at its start, {held:g}")
        elif key in _THROUGH_WORKERS and not (config.model.workers or base.model.workers):
            reasons.append(f"{key} acts through the workers, which are off")
        else:
            return None
    return "; ".join(reasons) or None


def why_still(name: str, config: Config) -> str:
    """A sentence on why an adaptive signal cannot leave its start, where that is known."""
    acts_on = SIGNALS[name].acts_on
    if acts_on == "forward" or config.training.mode == "unrolled":
        return ""
    return f"It weighs only the workers' {acts_on}, through which no gradient reaches the controller."


def _why_unlearned(name: str, config: Config) -> str:
    signal, mode = SIGNALS[name], config.training.mode
    if signal.acts_on != "forward" and mode != "unrolled":
        weighs = (
            f"weighs only the workers' {signal.acts_on}, and in mode {mode} no gradient of what the controller learns "
            "from passes through that"
        )
        return signal.unfelt(config) or weighs
    return signal.unfelt(config) or "acts through the workers, which are off"
