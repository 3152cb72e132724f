if not config:

    configfile: "configs/digits.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/hardware.smk"
include: "workflow/rules/report.smk"


rule all:
    input:
        RESULTS / "report.html",
        RESULTS / "metrics.parquet",
        # by name, because Snakemake does not miss a result while what was made from it is there
        RESULTS / "sweep.json",
        results(*points.STAGES),
