#!/usr/bin/env python3
"""Generates JSON under real schemas at temperature 1 and validates it with the `jsonschema` package.

    python3 benches/constrained.py SCHEMAS [--generations 200] [--schemas 10] [--lathe target/release/lathe] [MODEL]

SCHEMAS is a folder of JSON files `{"schema": …}`; MODEL a name of the local store or a path (smollm2-135m). The schemas are
spread over the folder: those that Lathe refuses are left out. Answers that are cut off by their length are counted apart,
and others made in their place.
Python 3.9 with `jsonschema`.
"""

import argparse
import collections
import concurrent.futures
import json
import pathlib
import subprocess
import urllib.error
import urllib.request

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parent.parent


def ask(url, schema, seed):
    body = {"messages": [{"role": "user", "content": "Give an example as JSON: " + schema.get("title", "something")}],
            "temperature": 1, "seed": seed, "max_tokens": 600,
            "response_format": {"type": "json_schema", "json_schema": {"name": "example", "schema": schema}}}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        choice = json.load(answer)["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


def verdict(text, finish, schema):
    if finish != "stop":
        return "cut off by its length"
    try:
        validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        validator(schema, format_checker=validator.FORMAT_CHECKER).validate(json.loads(text))
        return "valid"
    except (ValueError, jsonschema.ValidationError) as error:
        return f"INVALID: {str(error).splitlines()[0]}"


def accepted(url, schema):
    try:
        ask(url, schema, 0)
        return True
    except urllib.error.HTTPError:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("schemas", type=pathlib.Path, metavar="SCHEMAS")
    parser.add_argument("model", nargs="?", default="smollm2-135m", metavar="MODEL")
    parser.add_argument("--generations", type=int, default=200)
    parser.add_argument("--schemas", type=int, default=10, dest="count")
    parser.add_argument("--lathe", default=str(ROOT / "target/release/lathe"))
    args = parser.parse_args()
    files = sorted(args.schemas.glob("*.json"))
    server = subprocess.Popen([args.lathe, "serve", args.model, "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        url = next(line.split()[-1] for line in server.stderr if "http://" in line)
        names = []
        for path in files[:: max(1, len(files) // (2 * args.count))]:
            schema = json.loads(path.read_text())["schema"]
            if len(names) < args.count and isinstance(schema, dict) and accepted(url, schema):
                names.append((path.stem, schema))
        counts, seed = collections.Counter(), 0
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            while counts["valid"] + counts["INVALID"] < args.generations:
                left = args.generations - counts["valid"] - counts["INVALID"]
                jobs = [(names[i % len(names)], i) for i in range(seed, seed + left)]
                seed += left
                answers = pool.map(lambda job: ask(url, job[0][1], job[1]), jobs)
                for ((name, schema), _), (text, finish) in zip(jobs, answers):
                    said = verdict(text, finish, schema)
                    counts[said.split(":")[0]] += 1
                    if said.startswith("INVALID"):
                        print(f"{name}: {said}: {text}")
        print(f"{args.generations} whole generations of {args.model} under {len(names)} schemas: {dict(counts)}")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
