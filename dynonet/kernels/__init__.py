"""The GRU's compiled kernels: Numba on a CPU, Triton on a GPU."""

from lab.compute.kernels import compiled


def in_use(device: str) -> str:
    """What computes the GRUs on a kind of device: `numba`, `triton`, or `torch` for plain torch operations."""
    module, name = (
        ("dynonet.kernels.gru_triton", "triton") if device == "cuda" else ("dynonet.kernels.gru_cpu", "numba")
    )
    return "torch" if compiled(module) is None else name
