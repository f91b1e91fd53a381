#!/usr/bin/env python3
"""Measures sequences side by side, and the second turn of a conversation; beside llama.cpp.

    python3 benches/batch.py [--rounds 5] [--threads 2] [--sequences 1,2,4,8,16] [--edit MODEL]
        [--lathe target/release/lathe] [MODEL]

MODEL is a name of the local store or a path to a GGUF file; qwen2.5-coder-0.5b where there is none.

**Throughput**: prompts of 128 tokens, then 64 tokens each, greedily; tokens a second of all sequences together, in decoding.
Lathe: `lathe bench -p 128 -n 64 -b B` (the engine: scheduler, sampling and all). llama.cpp: the batch API of the Python
package llama-cpp-python with the largest logit picked by numpy; left out where it is not installed. In turns, medians.

**Second turn**: `lathe serve`, a chat about a text of about 1500 tokens, then a second question in the same chat; seconds
until the first word of the answer comes.

**Prompt lookup**: a model (`--edit MODEL`) is asked to write a few lines of this script again with one name changed;
`lathe run --lookup 10` and without it, in turns, medians, and whether the texts are equal. Python 3.9.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPT, DECODE = 128, 64

LLAMA = """
import sys, time
import numpy as np
import llama_cpp as L
path, threads, count, prompt, decode = sys.argv[1], *map(int, sys.argv[2:])
L.llama_backend_init()
silent = L.llama_log_callback(lambda *_: None)
L.llama_log_set(silent, None)
model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
params = L.llama_context_default_params()
params.n_ctx = count * (prompt + decode + 32)
params.n_batch = params.n_ubatch = 512
params.n_seq_max = count
params.n_threads = params.n_threads_batch = threads
context = L.llama_init_from_model(model, params)
vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
batch = L.llama_batch_init(512, 0, 1)

def run(rows):
    batch.n_tokens = len(rows)
    for i, (token, position, sequence, wanted) in enumerate(rows):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
        batch.seq_id[i][0] = sequence
    assert L.llama_decode(context, batch) == 0

def pick(row):
    return int(np.ctypeslib.as_array(L.llama_get_logits_ith(context, row), shape=(vocab,)).argmax())

last = []
for s in range(count):
    run([((i * 7919 + s) % (vocab - 10), i, s, i == prompt - 1) for i in range(prompt)])
    last.append(pick(prompt - 1))
start = time.perf_counter()
for step in range(decode):
    run([(last[s], prompt + step, s, True) for s in range(count)])
    last = [pick(s) for s in range(count)]
print(count * decode / (time.perf_counter() - start))
"""


def model_path(args):
    if os.path.exists(args.model):
        return args.model
    shown = subprocess.run([args.lathe, "show", args.model, "--json"], check=True, capture_output=True, text=True)
    return json.loads(shown.stdout)["file"]


def lathe_rate(args, count):
    command = [args.lathe, "bench", args.model, "-p", str(PROMPT), "-n", str(DECODE), "-b", str(count)]
    command += ["-t", str(args.threads), "--json"]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["tg_tps"]


def llama_rate(args, path, count):
    numbers = [args.threads, count, PROMPT, DECODE]
    command = [sys.executable, "-c", LLAMA, path, *map(str, numbers)]
    out = subprocess.run(command, capture_output=True, text=True)
    if "No module named" in out.stderr:
        return None
    if out.returncode != 0:
        sys.exit(f"llama.cpp ended with {out.returncode}: {out.stderr}")
    return float(out.stdout.split()[-1])


def throughput(args):
    path = model_path(args)
    counts = [int(n) for n in args.sequences.split(",")]
    rounds = [[(lathe_rate(args, n), llama_rate(args, path, n)) for n in counts] for _ in range(args.rounds)]
    print("| sequences | lathe tok/s | of one | llama.cpp tok/s | ratio |\n| --- | --- | --- | --- | --- |")
    for i, count in enumerate(counts):
        lathe = statistics.median(r[i][0] for r in rounds)
        of_one = statistics.median(r[i][0] / r[0][0] for r in rounds)
        cells = [str(count), f"{lathe:.0f}", f"{of_one:.2f}", "–", "–"]
        if rounds[0][i][1] is not None:
            cells[3] = f"{statistics.median(r[i][1] for r in rounds):.0f}"
            cells[4] = f"{statistics.median(r[i][0] / r[i][1] for r in rounds):.2f}"
        print("| " + " | ".join(cells) + " |")


def first_word(url, messages):
    """Seconds until text comes, the answer, and how many tokens of the prompt were there already."""
    body = {"messages": messages, "stream": True, "max_tokens": 16, "temperature": 0,
            "stream_options": {"include_usage": True}}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    start, first, answer, usage = time.perf_counter(), None, "", None
    with urllib.request.urlopen(request) as response:
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            usage = chunk.get("usage") or usage
            text = "".join(c["delta"].get("content") or "" for c in chunk["choices"])
            if text and first is None:
                first = time.perf_counter() - start
            answer += text
    return first, answer, usage


def second_turn(args):
    command = [args.lathe, "serve", args.model, "--port", "0", "-t", str(args.threads)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        found = None
        while found is None:
            line = server.stderr.readline() or sys.exit("the server did not start")
            found = re.search(r"http://\S+", line)
        print("\n| turn | prompt tokens | cached | first word after, ms | share of the first turn |\n| --- | --- | --- | --- | --- |")
        shares = []
        for number in range(args.rounds):
            words = " ".join(f"Line {i}: item {i * 37 % 101} is {'red' if i % 3 else 'blue'}." for i in range(105))
            messages = [{"role": "user", "content": f"Round {number}. {words} What is the third item?"}]
            first = first_word(found[0], messages)
            messages += [{"role": "assistant", "content": first[1]}, {"role": "user", "content": "And the fourth?"}]
            second = first_word(found[0], messages)
            shares.append((second[0] / first[0], first, second))
        share, first, second = sorted(shares, key=lambda s: s[0])[len(shares) // 2]
        for name, turn, part in [("first", first, 1.0), ("second", second, share)]:
            cached = turn[2]["prompt_tokens_details"]["cached_tokens"]
            print(f"| {name} | {turn[2]['prompt_tokens']} | {cached} | {turn[0] * 1e3:.0f} | {part:.3f} |")
    finally:
        server.terminate()
        server.wait()


def edit(args):
    lines = pathlib.Path(__file__).read_text().splitlines()
    start = lines.index("def model_path(args):")
    code = "\n".join(lines[start : start + 36])
    prompt = f"Here is a part of a program:\n```python\n{code}\n```\nWrite all of it again with the function "
    prompt += "`model_path` renamed to `find_model` and nothing else changed. Answer with the code alone."
    runs = {0: [], 10: []}
    for _ in range(args.rounds):
        for guesses, results in runs.items():
            command = [args.lathe, "run", args.edit, "--chat", "-p", prompt, "-n", "600", "--json"]
            command += ["--lookup", str(guesses), "-t", str(args.threads)]
            out = subprocess.run(command, check=True, capture_output=True, text=True)
            results.append(json.loads(out.stdout))
    same = len({r["text"] for results in runs.values() for r in results}) == 1
    plain, guessed = (statistics.median(r["decode_tps"] for r in results) for results in runs.values())
    ratio = statistics.median(b["decode_tps"] / a["decode_tps"] for a, b in zip(*runs.values()))
    last = runs[10][-1]
    print(f"\nprompt lookup: {len(last['tokens'])} tokens, {plain:.1f} tok/s without, {guessed:.1f} with, {ratio:.2f} times; "
          f"{last['right_guesses']} of {last['guesses']} guesses right; texts {'equal' if same else 'DIFFER'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="qwen2.5-coder-0.5b", metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sequences", default="1,2,4,8,16")
    parser.add_argument("--edit", default="qwen2.5-coder-1.5b", metavar="MODEL")
    parser.add_argument("--lathe", default=str(ROOT / "target/release/lathe"))
    args = parser.parse_args()
    throughput(args)
    second_turn(args)
    edit(args)


if __name__ == "__main__":
    main()
