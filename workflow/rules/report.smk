rule measured:
    """All chunks have ended."""
    input:
        ended(),
    output:
        touch(RESULTS / "run" / "measured.done"),
    localrule: True


rule rows:
    """The rows of one part of the points."""
    input:
        measured,
        plan=RESULTS / "sweep.json",
    output:
        temp(RESULTS / "parts" / "{part}.parquet"),
    log:
        RESULTS / "logs" / "rows" / "{part}.log",
    resources:
        mem_mb=2000,
    shell:
        "talon-dse rows {input.plan:q} --part {wildcards.part} --output {output:q} > {log:q} 2>&1"


rule collect:
    """One table with a row for every point; a folder of Parquet files where it is large."""
    input:
        measured,
        parts(),
        plan=RESULTS / "sweep.json",
    output:
        collected(),
    log:
        RESULTS / "logs" / "collect.log",
    localrule: True
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
    localrule: True
    shell:
        "talon-dse report {input.metrics:q} --output {output:q} > {log:q} 2>&1"
