"""The cluster simulation and what it is measured from."""
