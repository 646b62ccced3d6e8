"""What the lab asks of DynoNet, a question a file: how large, with whom in a stack, what is inert, what it tells."""
