rule project:
    """The hls4ml project of one design."""
    output:
        RESULTS / "project" / "{key}.json",
    log:
        RESULTS / "logs" / "project" / "{key}.log",
    benchmark:
        RESULTS / "benchmarks" / "project" / "{key}.tsv"
    params:
        arguments=job("project"),
        label=label("project"),
        folder=lambda wildcards: RESULTS / "project" / wildcards.key,
    message:
        "project {params.label} ({wildcards.key})"
    shell:
        "talon-dse project {params.arguments} --folder {params.folder:q} --record-failure --output {output:q} > {log:q} 2>&1"


rule csim:
    """C simulation of one network at one precision against ours; serves all reuse factors."""
    output:
        RESULTS / "csim" / "{key}.json",
    log:
        RESULTS / "logs" / "csim" / "{key}.log",
    benchmark:
        RESULTS / "benchmarks" / "csim" / "{key}.tsv"
    params:
        arguments=job("csim"),
        label=label("csim"),
    message:
        "csim {params.label} ({wildcards.key})"
    shell:
        "talon-dse csim {params.arguments} --record-failure --output {output:q} > {log:q} 2>&1"
