"""Who answers the loop's questions: a language model, a person with a folder, or the record of an earlier run.

`model` is the seam, `choices` the table of `llm=`; whoever answers is a `voice` (`provider`, `manual`, `replay`), and
`recorded` checks, budgets and keeps every word.
"""
