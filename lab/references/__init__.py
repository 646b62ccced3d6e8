"""Bars beside what was trained: put on record (`runs`), networks before their first step (`starts`), how the trained
stand against them (`standing`), and that in words (`wording`). What a bar is stands in lab.series.bars."""
