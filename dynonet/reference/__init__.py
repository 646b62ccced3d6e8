"""The network and its gradients written a second time, plainly: what tests and benchmarks compare with."""
