"""Measurements of speed; figures are ratios from one run, since machines differ and drift."""
