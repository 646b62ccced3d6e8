"""What `scripts.bench.gpu` measures, a file for each kind of thing."""
