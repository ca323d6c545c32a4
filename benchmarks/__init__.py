"""Measurements of speed and of learning; figures are ratios from one run, since machines differ and drift."""

from benchmarks.checkout import prepare

prepare()
