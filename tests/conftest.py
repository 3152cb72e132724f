import os

from hypothesis import settings

# no deadline: shared machines stall; no example database: a run leaves nothing behind but its result
settings.register_profile("talon", deadline=None, max_examples=100, database=None, derandomize="CI" in os.environ)
settings.load_profile("talon")


def pytest_addoption(parser):
    fuzz = parser.getgroup("fuzz", "random graphs against C simulation (tests/fuzz), or in RTL (tests/rtl)")
    fuzz.addoption("--graphs", type=int, metavar="N", help="how many graphs are drawn")
    fuzz.addoption("--first-seed", type=int, metavar="SEED", help="the seed of the first; the others follow it")


def pytest_terminal_summary(terminalreporter):
    """How much the fuzz compared, over all workers."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    called = [report for report in reports if getattr(report, "when", None) == "call"]
    for fuzz, what in (("fuzz", "graphs in C simulation"), ("fuzz-rtl", "networks in RTL")):
        found = [value for report in called for name, value in report.user_properties if name == fuzz]
        if found:
            total = {key: sum(counts[key] for counts in found) for key in found[0]}
            terminalreporter.write_line(
                f"{fuzz}: {len(found)} {what}, {total['equal']} equal; "
                f"{total['values']:,} values compared, {total['spikes']:,} spikes"
            )
