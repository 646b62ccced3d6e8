"""Devices, draws, compiled kernels and CUDA graphs."""
