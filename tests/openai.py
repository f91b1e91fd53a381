"""Chats with a running server through OpenAI's own client, streamed and whole. Usage: openai.py BASE_URL MODEL"""

import concurrent.futures
import json
import re
import sys

# The script's own folder must not shadow the package of the same name.
sys.path = [p for p in sys.path if not p.endswith("tests")]
import openai

base_url, model = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)

assert [m.id for m in client.models.list()] == [model]

messages = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]},
]
ask = dict(model=model, messages=messages, temperature=0, max_tokens=24, seed=1)

whole = client.chat.completions.create(**ask)
text = whole.choices[0].message.content
assert "Paris" in text, text
assert whole.choices[0].finish_reason in ("stop", "length")
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
assert chunks[0].choices[0].delta.role == "assistant"
streamed = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
assert streamed == text, (streamed, text)
assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) > 3, "the text came in one piece"
assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason

stopped = client.chat.completions.create(**ask, stop=["Paris"])
assert stopped.choices[0].message.content == text.split("Paris")[0]
assert stopped.choices[0].finish_reason == "stop"

completion = client.completions.create(model=model, prompt="The capital of France is", max_tokens=8, temperature=0)
pieces = client.completions.create(model=model, prompt="The capital of France is", max_tokens=8, temperature=0, stream=True)
assert "".join(p.choices[0].text for p in pieces) == completion.choices[0].text
sampled = [client.completions.create(model=model, prompt="Once", max_tokens=12, seed=s).choices[0].text for s in (5, 5, 6)]
assert sampled[0] == sampled[1] != sampled[2], sampled

# Choices are those of the seeds that follow, and come side by side in a stream.
once = dict(model=model, prompt="Once", max_tokens=12, seed=5)
choices = client.completions.create(**once, n=3).choices
assert [c.index for c in choices] == [0, 1, 2]
assert [c.text for c in choices[:2]] == [sampled[0], sampled[2]], (choices, sampled)
parts = ["", "", ""]
for chunk in client.completions.create(**once, n=3, stream=True):
    for c in chunk.choices:
        parts[c.index] += c.text
assert parts == [c.text for c in choices], parts

# Log-probabilities, streamed and whole, as the client reads them.
told = client.chat.completions.create(**ask, logprobs=True, top_logprobs=2).choices[0].logprobs.content
assert bytes(b for t in told for b in t.bytes).decode() == text, told
assert all(t.top_logprobs[0].token == t.token and len(t.top_logprobs) == 2 for t in told), told
pieces = client.chat.completions.create(**ask, logprobs=True, top_logprobs=2, stream=True)
pieces = [t for c in pieces if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
assert [t.logprob for t in pieces] == [t.logprob for t in told], pieces
best = client.completions.create(**once, n=1, best_of=3, logprobs=1).choices[0]
assert best.text in [c.text for c in choices] and len(best.logprobs.tokens) == len(best.logprobs.text_offset), best

# Many at once get what each gets alone; the prompt that they share is computed once.
def colour(number):
    story = "Once upon a time there was a fox who lived in a forest. " * 6
    return client.completions.create(model=model, prompt=f"{story} Its name was {number}", max_tokens=10, temperature=0)

alone = [colour(n).choices[0].text for n in range(12)]
with concurrent.futures.ThreadPoolExecutor(12) as pool:
    together = list(pool.map(colour, range(12)))
assert [c.choices[0].text for c in together] == alone
assert all(c.usage.prompt_tokens_details.cached_tokens >= 64 for c in together)

# Answers in the form that is asked for, many at once, streamed and whole.
city = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "inhabitants": {"type": "integer"}},
        "required": ["name", "inhabitants"], "additionalProperties": False}


def held(number):
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": city, "strict": True}}
    changes = dict(temperature=1, seed=number, max_tokens=200, response_format=form)
    if number % 2:
        return client.chat.completions.create(**{**ask, **changes}).choices[0].message.content
    parts = client.chat.completions.create(**{**ask, **changes}, stream=True)
    return "".join(c.choices[0].delta.content or "" for c in parts)


with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for answer in map(json.loads, pool.map(held, range(8))):
        assert set(answer) == {"name", "inhabitants"} and isinstance(answer["inhabitants"], int), answer
for extra, pattern in [
    ({"structured_outputs": {"regex": "[0-9]{4}-[0-9]{2}"}}, "[0-9]{4}-[0-9]{2}"),
    ({"structured_outputs": {"choice": ["Paris", "London"]}}, "Paris|London"),
    ({"grammar": 'root ::= "<" [a-z]+ ">"'}, "<[a-z]+>"),
]:
    answer = client.chat.completions.create(**ask, extra_body=extra).choices[0]
    assert re.fullmatch(pattern, answer.message.content) and answer.finish_reason == "stop", answer


def refused(status, **changes):
    try:
        client.chat.completions.create(**{**ask, **changes})
    except openai.APIStatusError as error:
        assert error.status_code == status, error
        assert error.body["message"] and error.body["type"] == "invalid_request_error", error.body
        return error.body
    raise AssertionError(f"{changes} was not refused")


assert refused(404, model="other")["code"] == "model_not_found"
assert refused(400, n=0)["param"] == "n"
assert refused(400, tools=[{"type": "function", "function": {"name": "f"}}])["param"] == "tools"
assert refused(400, temperature=9)["param"] == "temperature"
assert refused(400, response_format={"type": "xml"})["param"] == "response_format"
unique = {"name": "x", "schema": {"properties": {"a": {"uniqueItems": True}}}}
error = refused(400, response_format={"type": "json_schema", "json_schema": unique})
assert "#/properties/a/uniqueItems" in error["message"], error
assert refused(400, messages=[])["param"] == "messages"
long = [{"role": "user", "content": "word " * 20000}]
assert refused(400, messages=long)["code"] == "context_length_exceeded"
assert refused(400, messages=long, stream=True)["code"] == "context_length_exceeded"

print("ok:", text.strip())
