import json


rule plan:
    """Write the resolved configuration, all points and jobs, versions and fingerprints."""
    output:
        RESULTS / "sweep.json",
    log:
        RESULTS / "logs" / "plan.log",
    params:
        plan=PLAN.id,
        # a function, or Snakemake would look for wildcards in it
        configuration=lambda wildcards: json.dumps(PLAN.spec.model_dump(mode="json")),
    shell:
        "printf '%s' {params.configuration:q} | talon-dse plan - --key {params.plan} --output {output:q} > {log:q} 2>&1"
