"""Measurements that end in every way they can; by themselves, so that a process which imports them starts quickly."""

import os
import time

from benchmarks.gpu import isolated


def quick(report: isolated.Report, number: int) -> None:
    report({"number": number})


def failing(report: isolated.Report, number: int) -> None:
    report({"half": number // 2})
    raise ValueError(f"{number} is\nodd")


def crashing(report: isolated.Report) -> None:
    report({"begun": True})
    os._exit(9)


def endless(report: isolated.Report) -> None:
    report({"begun": True})
    time.sleep(60.0)
