"""A league on its page: the table, the ranking, and what is reported beside what was measured."""
