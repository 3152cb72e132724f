#!/bin/sh
# The state of PBS job $1 in one word, as Snakemake wants it: running, success or failed.
# A job that PBS does not know has failed: it is submitted again, and its result is the same if it ran after all.
found=$(qstat -x -f "$1" 2>/dev/null)
if ! echo "$found" | grep -q "job_state ="; then
  echo failed
elif ! echo "$found" | grep -q "job_state = F"; then
  echo running
elif echo "$found" | grep -q "Exit_status = 0$"; then
  echo success
else
  echo failed
fi
