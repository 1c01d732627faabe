#!/usr/bin/env bash
# What the last commit changes against BASE, for reviewers: metrics and parameters as Markdown on standard output, plots
# of both as a page in the folder PLOTS. To be run in the virtual environment: bash .github/report.sh BASE PLOTS
set -euo pipefail
unset $(env -i PATH="$PATH" git rev-parse --local-env-vars) # those of a hook, from which this may be called
if [ $# -ne 2 ]; then
  echo "ERROR: expected a branch or commit and a folder. Got $# arguments. Run bash .github/report.sh origin/main plots." >&2
  exit 1
fi
base=$1 plots=$2

section() { # TITLE COMMAND
  local table
  table=$(dvc "$2" diff --md "$base" HEAD)
  printf '### %s\n\n' "$1"
  # The first two lines are the head of the table.
  if [ "$(grep -c '^|' <<<"$table")" -gt 2 ]; then printf '%s\n\n' "$table"; else printf 'No change.\n\n'; fi
}

section Metrics metrics
section Parameters params
dvc plots diff "$base" HEAD --out "$plots" >/dev/null
printf 'Plots of both, one upon the other: `%s/index.html`, among the artifacts of this run.\n' "$plots"
