"""Findings as pages, tables, figures and sentences. Nothing here computes a number that decides."""
