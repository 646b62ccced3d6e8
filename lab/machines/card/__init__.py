"""How trials share a machine's cards: what each takes, what is ready before the first, who computes beside whom."""
