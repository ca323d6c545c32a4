"""`refine_report.html`: the page of a refinement, rewritten after every event of the loop."""
