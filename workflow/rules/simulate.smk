rule simulate:
    """Accuracy, activity and memory of one network at one precision."""
    output:
        RESULTS / "simulate" / "{key}.json",
    log:
        RESULTS / "logs" / "simulate" / "{key}.log",
    benchmark:
        RESULTS / "benchmarks" / "simulate" / "{key}.tsv"
    params:
        arguments=job("simulate"),
        label=label("simulate"),
    message:
        "simulate {params.label} ({wildcards.key})"
    shell:
        "talon-dse simulate {params.arguments} --record-failure --output {output:q} > {log:q} 2>&1"
