"""The record of truth: Parquet tables of runs, histories, studies and readings, and what is kept beside them."""
