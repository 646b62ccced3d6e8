"""Studies on record as wholes: one is copied, taken off the records, or goes on under another name.

The latter two are begun by a mark, `upkeep/STUDY.json`, and ended by its removal: a kill at any moment leaves them to
be finished by the same command, and until then no driver works on the study.
"""
