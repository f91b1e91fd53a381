#!/usr/bin/env python3
"""Measures a draft model: speed with it and without, in turns, and whether the texts are the same.

    python3 benches/drafts.py [--prompts 50] [--tokens 128] [--temp 0] [--lathe target/release/lathe] [MODEL DRAFT]

MODEL and DRAFT are names of the local store or paths (qwen2.5-coder-1.5b and qwen2.5-coder-0.5b). Prompts ask for small
programs, each once with the draft model and once without. Python 3.9.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
TASKS = [
    "parses an ISO date and returns the weekday", "checks whether a string is a palindrome", "merges two sorted lists",
    "computes the n-th Fibonacci number", "counts the words of a text file", "finds the primes below n with a sieve",
    "reverses a linked list", "validates an e-mail address", "flattens a nested list", "sorts a list with quicksort",
]
LANGUAGES = ["Python", "Rust", "JavaScript", "C", "Go"]


def run(args, prompt, draft):
    command = [args.lathe, "run", args.model, "--chat", "-p", prompt, "-n", str(args.tokens), "--json"]
    command += ["--temp", str(args.temp), "-t", str(args.threads)] + (["--draft", args.draft] if draft else [])
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="qwen2.5-coder-1.5b", metavar="MODEL")
    parser.add_argument("draft", nargs="?", default="qwen2.5-coder-0.5b", metavar="DRAFT")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--temp", type=float, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lathe", default=str(ROOT / "target/release/lathe"))
    args = parser.parse_args()
    prompts = [f"Write a function in {language} that {task}." for task in TASKS for language in LANGUAGES][: args.prompts]
    ratios, same, drafts, right, tokens = [], 0, 0, 0, 0
    for prompt in prompts:
        plain, drafted = run(args, prompt, False), run(args, prompt, True)
        ratios.append(drafted["decode_tps"] / plain["decode_tps"])
        same += plain["tokens"] == drafted["tokens"]
        drafts, right, tokens = drafts + drafted["guesses"], right + drafted["right_guesses"], tokens + len(drafted["tokens"])
    steps = tokens - right
    print(f"{len(prompts)} prompts, {tokens} tokens: {same} texts the same; {right} of {drafts} drafts right "
          f"({right / max(drafts, 1):.0%}), {tokens / max(steps, 1):.2f} tokens a step; "
          f"{statistics.median(ratios):.2f} times as fast (median; {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
