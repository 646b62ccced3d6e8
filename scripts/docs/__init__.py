"""The docs: what of them is made from the code, the notebook, and the site (`make docs`)."""
