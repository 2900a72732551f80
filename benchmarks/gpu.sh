#!/usr/bin/env bash
# Tests and measures everything that needs a GPU, in about nine minutes on one H100 or H200.
#
# Needs the repository and its dependencies, but neither a network nor a dataset. What is given on
# the command line goes to gpu.py, such as `benchmarks/gpu.sh --machine h200`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
started=$SECONDS
parallel=$("$PYTHON" -c 'import xdist' 2> /dev/null && echo "-n 4 --dist load")
grep -rl 'mark\.gpu$' --include='*.py' tests |
	timeout 200 xargs "$PYTHON" -m pytest -q -m gpu $parallel --maxfail=20
tests=$?
echo "tests that need a GPU: exit code $tests after $((SECONDS - started)) s"
left=$((540 - (SECONDS - started)))
"$PYTHON" benchmarks/gpu.py --minutes "$(awk "BEGIN { print ($left - 90) / 60 }")" "$@"
measured=$?
echo "all: $((SECONDS - started)) s"
exit $((tests > measured ? tests : measured))
