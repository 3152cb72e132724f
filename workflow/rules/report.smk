rule collect:
    """One row for every point."""
    input:
        plan=RESULTS / "sweep.json",
        results=results(*points.STAGES),
    output:
        RESULTS / "metrics.parquet",
    log:
        RESULTS / "logs" / "collect.log",
    shell:
        "talon-dse collect {input.plan:q} --output {output:q} > {log:q} 2>&1"


rule report:
    """The table as plots and provenance, in one HTML file."""
    input:
        metrics=RESULTS / "metrics.parquet",
        plan=RESULTS / "sweep.json",
    output:
        report(RESULTS / "report.html", caption="../report/sweep.rst", category="Sweep"),
    log:
        RESULTS / "logs" / "report.log",
    shell:
        "talon-dse report {input.metrics:q} --output {output:q} > {log:q} 2>&1"
