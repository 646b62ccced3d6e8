"""The GRU's compiled kernels: Numba on a CPU, Triton on a GPU."""
