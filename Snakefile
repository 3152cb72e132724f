if not config:

    configfile: "configs/digits.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/stages.smk"
include: "workflow/rules/report.smk"


rule all:
    input:
        RESULTS / "report.html",
        RESULTS / "metrics.parquet",
