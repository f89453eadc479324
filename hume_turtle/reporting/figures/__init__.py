"""Every figure of the project, by subject: one function per figure.

Figure functions take plain arrays, the project's long table of scores (columns `dataset`, `method`,
`spaces`, `seed`, `split`, `metric`, `value`, as fractions) or a table of `reporting.tables` (in
percent), and return a matplotlib Figure. A missing value is drawn as missing.

Nothing is re-exported here: a notebook imports the modules whose figures it shows, so that the
pipeline re-runs it only if one of those changes.
"""
