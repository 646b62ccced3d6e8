"""Racing over seeds: a proposal gets more seeds as long as it can still be better than the best so far."""
