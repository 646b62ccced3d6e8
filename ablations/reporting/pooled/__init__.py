"""What the page of a pooled study shows: each effect over its series and origins; the cells are descriptive."""
