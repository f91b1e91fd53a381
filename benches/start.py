#!/usr/bin/env python3
"""Measures starts: a process from nothing to its first token with a compiled plan, and compiling; beside llama.cpp.

    python3 benches/start.py [--rounds 7] [--threads 2] [--lathe target/release/lathe] [--json FILE] [MODEL …]

MODEL is a name of the local store or a path to a GGUF file; without one, smollm2-135m and qwen2.5-coder-1.5b. Lathe is
timed as users see it: the process of `lathe run MODEL -p Hi -n 1`, from its start until its text is read, and until it is
gone.
llama.cpp (the Python package llama-cpp-python; left out where it is not installed) is timed inside its process, without
starting Python and reading the library: loading the model, and one token. Both read files that are in the page cache, in
turns; medians of all rounds. Memory is the most resident of the process (what it maps of files included), less what
Python has before llama.cpp loads. Contexts: Lathe's default, and 512 positions for llama.cpp.

Compiling is timed with caches of its own, as the whole process of `lathe compile`. Python 3.9, Linux.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = ["smollm2-135m", "qwen2.5-coder-1.5b"]
COMPILES = 3

LLAMA = """
import json, sys, time
import llama_cpp
def peak():
    return next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM')) * 1024
before = peak()
start = time.perf_counter()
llm = llama_cpp.Llama(sys.argv[1], n_ctx=512, n_threads=int(sys.argv[2]), n_threads_batch=int(sys.argv[2]), verbose=False)
loaded = time.perf_counter()
text = llm('Hi', max_tokens=1, temperature=0)
end = time.perf_counter()
print(json.dumps({'load': loaded - start, 'first': end - start, 'peak': peak() - before}))
"""


def lathe_start(args, model, environment):
    """Seconds to the first text and to the end of the process, and its peak of resident bytes."""
    command = [args.lathe, "run", model, "-p", "Hi", "-n", "1", "-q", "-t", str(args.threads)]
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    first = child.stdout.read(1)
    seen = time.perf_counter() - start
    child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    end = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0 or not first:
        sys.exit(f"{' '.join(command)} failed")
    return {"first": seen, "end": end, "peak": usage.ru_maxrss * 1024}


def llama_start(args, path):
    """What one token takes in llama.cpp; None where it is not installed."""
    out = subprocess.run([sys.executable, "-c", LLAMA, path, str(args.threads)], capture_output=True, text=True)
    if "No module named" in out.stderr:
        return None
    if out.returncode != 0:
        sys.exit(out.stderr)
    return json.loads(out.stdout.splitlines()[-1])


def compile_once(args, path):
    """A compile into an empty cache: seconds, kernels, stages."""
    with tempfile.TemporaryDirectory(dir=args.folder) as cache:
        command = [args.lathe, "compile", path, "--json", "-t", str(args.threads)]
        start = time.perf_counter()
        out = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, LATHE_CACHE=cache))
        seconds = time.perf_counter() - start
    if out.returncode != 0:
        sys.exit(out.stderr)
    return dict(json.loads(out.stdout), seconds=seconds)


def model_path(args, model):
    """The model's file."""
    if os.path.exists(model):
        return model
    subprocess.run([args.lathe, "pull", model], check=True, stdout=subprocess.DEVNULL)
    shown = subprocess.run([args.lathe, "show", model, "--json"], check=True, capture_output=True, text=True)
    return json.loads(shown.stdout)["file"]


def medians(rounds):
    return {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}


def measure(args, model):
    path = model_path(args, model)
    compiles = [compile_once(args, path) for _ in range(COMPILES)]
    lathe, llama = [], []
    for number in range(args.rounds + 1):
        results = lathe_start(args, model, os.environ), llama_start(args, path)
        # The first round compiles the plan where there is none, and brings the files into the page cache.
        if number > 0:
            lathe.append(results[0])
            llama.append(results[1])
    compiled = min(compiles, key=lambda c: c["seconds"])
    compiled["seconds"] = statistics.median(c["seconds"] for c in compiles)
    return {
        "model": model,
        "file_bytes": os.path.getsize(path),
        "compile": compiled,
        "lathe": medians(lathe),
        "llama.cpp": medians(llama) if llama[0] else None,
    }


def row(result):
    lathe, llama = result["lathe"], result["llama.cpp"]
    cells = [result["model"], f"{lathe['first'] * 1e3:.0f}", f"{lathe['end'] * 1e3:.0f}"]
    if llama:
        cells += [f"{llama['first'] * 1e3:.0f}", f"{llama['first'] / lathe['first']:.1f}"]
    else:
        cells += ["–", "–"]
    cells.append(f"{lathe['peak'] / 1e6:.0f}")
    cells += [f"{llama['peak'] / 1e6:.0f}", f"{lathe['peak'] / llama['peak']:.0%}"] if llama else ["–", "–"]
    compiled = result["compile"]
    cells += [f"{compiled['seconds']:.2f}", str(compiled["kernels"])]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lathe", default=str(ROOT / "target/release/lathe"))
    parser.add_argument("--folder", help="where caches of compiles lie for a while [default: the system's]")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    results = [measure(args, model) for model in args.models]
    print("| model | first text, ms | whole process, ms | llama.cpp, ms | times faster "
          "| resident, MB | llama.cpp, MB | share | compile, s | kernels |")
    print("| --- " * 10 + "|")
    for result in results:
        print(row(result))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
