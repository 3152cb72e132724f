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


rule rtl:
    """One design in RTL of our own: written, proved by Verilator, counted by Yosys."""
    output:
        RESULTS / "rtl" / "{key}.json",
    log:
        RESULTS / "logs" / "rtl" / "{key}.log",
    benchmark:
        RESULTS / "benchmarks" / "rtl" / "{key}.tsv"
    resources:
        mem_mb=2000,
        runtime=minutes(5),  # Verilator, what it made, Yosys; Yosys and nextpnr for ECP5
    params:
        arguments=job("rtl"),
        label=label("rtl"),
        folder=lambda wildcards: RESULTS / "rtl" / wildcards.key,
    message:
        "rtl {params.label} ({wildcards.key})"
    shell:
        "talon-dse rtl {params.arguments} --folder {params.folder:q} --record-failure --output {output:q} > {log:q} 2>&1"


rule synth:
    """AMD's tools on one hls4ml project, in a copy of its folder, which replaces that of an earlier run."""
    input:
        ancient(project_of),
    output:
        RESULTS / "synth" / "{key}.json",
    log:
        RESULTS / "logs" / "synth" / "{key}.log",
    benchmark:
        RESULTS / "benchmarks" / "synth" / "{key}.tsv"
    resources:
        mem_mb=16000,
        runtime=minutes(2),  # a bitfile is a second program
        vitis_licences=1,
    params:
        arguments=job("synth"),
        label=label("synth"),
        project=lambda wildcards, input: Path(input[0]).with_suffix(""),
        folder=lambda wildcards: RESULTS / "synth" / wildcards.key,
    message:
        "synth {params.label} ({wildcards.key})"
    shell:
        "rm -rf {params.folder:q} && talon-dse synth {params.project:q} {params.arguments} --workdir {params.folder:q} --record-failure --output {output:q} > {log:q} 2>&1"
