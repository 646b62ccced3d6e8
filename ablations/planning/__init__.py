"""What is to be trained, in which stacks, at what cost, and which arms are alive."""
