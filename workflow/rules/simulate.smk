rule simulate:
    """Accuracy, activity and memory of one network at one precision."""
    input:
        files("simulate"),
    output:
        RESULTS / "simulate" / "{key}.json",
    log:
        RESULTS / "logs" / "simulate" / "{key}.log",
    benchmark:
        RESULTS / "benchmarks" / "simulate" / "{key}.tsv"
    params:
        arguments=job("simulate"),
    shell:
        "talon-dse simulate {params.arguments} --record-failure --output {output} > {log} 2>&1"
