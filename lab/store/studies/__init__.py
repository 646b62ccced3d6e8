"""Studies on record as wholes: one is taken off the records, or goes on under another name.

Either is begun by a mark, `upkeep/STUDY.json`, and ended by its removal: a kill at any moment leaves it to be finished
by the same command, and until then no driver works on the study. Copies are made by lab.store.copying.
"""
