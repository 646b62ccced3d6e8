"""`python -m tune.results unseal STUDY`: the rows that a study's series have set aside, read once, when it is judged.

`settled` says whether it is, `plan` what is to be read, `reading` reads it, `records` says what was found.
"""
