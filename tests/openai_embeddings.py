"""Embeds texts with a running server through OpenAI's own client. Usage: openai_embeddings.py BASE_URL MODEL"""

import math
import sys

# The script's own folder must not shadow the package of the same name.
sys.path = [p for p in sys.path if not p.endswith("tests")]
import openai

base_url, model = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)

texts = ["The cat sat on the mat.", "A kitten lay on a rug.", "Interest rates rose by half a percent."]
# The client asks for base64 where nothing is said, and decodes it.
answer = client.embeddings.create(model=model, input=texts)
cat, kitten, rates = (entry.embedding for entry in answer.data)
assert [entry.index for entry in answer.data] == [0, 1, 2]
assert answer.usage.total_tokens == answer.usage.prompt_tokens > 15, answer.usage


def likeness(a, b):
    return sum(x * y for x, y in zip(a, b))


for vector in (cat, kitten, rates):
    assert math.isclose(likeness(vector, vector), 1, abs_tol=1e-5), likeness(vector, vector)
assert likeness(cat, kitten) > likeness(cat, rates) + 0.1, (likeness(cat, kitten), likeness(cat, rates))

plain = client.embeddings.create(model=model, input=texts[1], encoding_format="float")
# Decimal digits of an f32 are read as f64 here.
assert all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(plain.data[0].embedding, kitten, strict=True))

try:
    client.completions.create(model=model, prompt="a")
    sys.exit("a server of embeddings made text")
except openai.BadRequestError as error:
    assert "served for embeddings" in str(error), error

print("ok: embeddings")
