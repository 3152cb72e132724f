rule simulate:
    """Accuracy, activity and memory of networks at precisions."""
    output:
        RESULTS / "run" / "simulate" / "{chunk}.done",
    log:
        RESULTS / "logs" / "simulate" / "{chunk}.log",
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=minutes("simulate"),
    params:
        chunk=lambda wildcards: RESULTS / "run" / "simulate" / f"{wildcards.chunk}.json",
        jobs=lambda wildcards: TODO["chunks"]["simulate"][wildcards.chunk]["jobs"],
    message:
        "simulate: {params.jobs} (chunk {wildcards.chunk})"
    shell:
        "talon-dse run {params.chunk:q} > {log:q} 2>&1"


rule project:
    """The hls4ml projects of designs."""
    output:
        RESULTS / "run" / "project" / "{chunk}.done",
    log:
        RESULTS / "logs" / "project" / "{chunk}.log",
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=minutes("project"),
    params:
        chunk=lambda wildcards: RESULTS / "run" / "project" / f"{wildcards.chunk}.json",
        jobs=lambda wildcards: TODO["chunks"]["project"][wildcards.chunk]["jobs"],
    message:
        "project: {params.jobs} (chunk {wildcards.chunk})"
    shell:
        "talon-dse run {params.chunk:q} > {log:q} 2>&1"


rule csim:
    """C simulation of networks at precisions against ours; each serves all reuse factors."""
    output:
        RESULTS / "run" / "csim" / "{chunk}.done",
    log:
        RESULTS / "logs" / "csim" / "{chunk}.log",
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=minutes("csim", programs=2),
    params:
        chunk=lambda wildcards: RESULTS / "run" / "csim" / f"{wildcards.chunk}.json",
        jobs=lambda wildcards: TODO["chunks"]["csim"][wildcards.chunk]["jobs"],
    message:
        "csim: {params.jobs} (chunk {wildcards.chunk})"
    shell:
        "talon-dse run {params.chunk:q} > {log:q} 2>&1"


rule rtl:
    """Designs in RTL of our own: written, proved by Verilator, counted by Yosys."""
    output:
        RESULTS / "run" / "rtl" / "{chunk}.done",
    log:
        RESULTS / "logs" / "rtl" / "{chunk}.log",
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=minutes("rtl", programs=6),  # Verilator, what it made, Yosys; Yosys and nextpnr for ECP5
    params:
        chunk=lambda wildcards: RESULTS / "run" / "rtl" / f"{wildcards.chunk}.json",
        jobs=lambda wildcards: TODO["chunks"]["rtl"][wildcards.chunk]["jobs"],
    message:
        "rtl: {params.jobs} (chunk {wildcards.chunk})"
    shell:
        "talon-dse run {params.chunk:q} > {log:q} 2>&1"


rule synth:
    """AMD's tools on hls4ml projects, in copies of their folders."""
    input:
        ancient(projects),
    output:
        RESULTS / "run" / "synth" / "{chunk}.done",
    log:
        RESULTS / "logs" / "synth" / "{chunk}.log",
    resources:
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=minutes("synth", programs=2),  # a bitfile is a second program
        vitis_licences=1,
    params:
        chunk=lambda wildcards: RESULTS / "run" / "synth" / f"{wildcards.chunk}.json",
        jobs=lambda wildcards: TODO["chunks"]["synth"][wildcards.chunk]["jobs"],
    message:
        "synth: {params.jobs} (chunk {wildcards.chunk})"
    shell:
        "talon-dse run {params.chunk:q} > {log:q} 2>&1"
