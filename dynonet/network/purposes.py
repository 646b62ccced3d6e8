"""What DynoNet draws for (see lab.compute.draws). The numbers are part of every result: never reuse or renumber one."""

from enum import IntEnum


class Purpose(IntEnum):
    INITIAL = 1
    WORKER_BATCHES = 2
    CONTROLLER_BATCHES = 3
    FREEZE = 4
    WORKER_DROPOUT = 5
    MIXER_DROPOUT = 6
    WORKER_DROPOUT_CONTROLLER = 7  # the controller's phase draws masks of its own
    MIXER_DROPOUT_CONTROLLER = 8


# The workers' and the mixer's masks of each phase.
MASKS = {
    "worker": (Purpose.WORKER_DROPOUT, Purpose.MIXER_DROPOUT),
    "controller": (Purpose.WORKER_DROPOUT_CONTROLLER, Purpose.MIXER_DROPOUT_CONTROLLER),
}


def places(layers: int) -> tuple[tuple[int, ...], ...]:
    """What a step draws: a purpose, or a purpose and a worker's layer; the plain ones first."""
    plain = ((Purpose.FREEZE,), (Purpose.MIXER_DROPOUT,), (Purpose.MIXER_DROPOUT_CONTROLLER,))
    masks = (Purpose.WORKER_DROPOUT, Purpose.WORKER_DROPOUT_CONTROLLER)
    return (*plain, *((mask, layer) for mask in masks for layer in range(layers)))
