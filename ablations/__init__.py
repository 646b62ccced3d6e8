"""Studies of parts: what each is worth, with evidence."""

import lab.machines  # noqa: F401  (sets Ray's switches before anything here imports Ray)
