"""The network: layers, controller, workers, and the flat parameters of N models."""
