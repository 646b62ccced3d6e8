"""The ledger of the data: who looked at which rows of test, and at sealed ones, when, for what, and how often.

It belongs to the data and not to a study's name; nothing on it is ever deleted.
"""
