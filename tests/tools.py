"""Calls tools through OpenAI's own client, streamed and whole. Usage: tools.py BASE_URL MODEL

Every call must name a tool of the request and have arguments that its schema accepts (the package `jsonschema`). Without
`tool_choice` a model may answer in words; how many prompts it called for is printed, and must be most of them.
"""

import json
import sys

# The script's own folder must not shadow the package of the same name.
sys.path = [p for p in sys.path if not p.endswith("tests")]
import jsonschema
import openai

base_url, model = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)


def tool(name, description, **properties):
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


city = {"type": "string", "description": "Name of the city"}
weather = tool("get_weather", "Current weather of a city.", city=city, unit={"type": "string", "enum": ["c", "f"]})
price = tool("stock_price", "Price of a share.", symbol={"type": "string", "pattern": "^[A-Z]{1,5}$"})
total = tool("add", "Adds two whole numbers.", a={"type": "integer"}, b={"type": "integer"})
timer = tool("set_timer", "Rings after some minutes.", minutes={"type": "integer", "minimum": 1, "maximum": 600})
prompts = [
    ("Weather in Paris, in celsius?", weather), ("What is the weather like in Tokyo today? Use fahrenheit.", weather),
    ("Is it raining in Köln? Use c.", weather), ("Weather in New York in f", weather),
    ("How warm is it in Madrid (celsius)?", weather), ("Temperature in Oslo in celsius, please.", weather),
    ("What is the share price of AAPL?", price), ("Price of MSFT shares?", price), ("How much is one share of TSLA?", price),
    ("Look up GOOG.", price), ("Quote for AMZN please", price), ("Add 17 and 25.", total), ("What is 1234 plus 4321?", total),
    ("Sum of 5 and -3?", total), ("Compute 999 + 1 with the tool.", total), ("add 3 and 4", total),
    ("Set a timer for 10 minutes.", timer), ("Remind me in 45 minutes.", timer), ("Timer: 5 minutes", timer),
    ("Ring a bell in two hours, that is 120 minutes.", timer),
]


def whole(**request):
    choice = client.chat.completions.create(model=model, temperature=0, max_tokens=200, **request).choices[0]
    calls = [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls or []]
    return choice.message.content or "", calls, choice.finish_reason


def streamed(**request):
    content, calls, finish = "", {}, None
    for chunk in client.chat.completions.create(model=model, temperature=0, max_tokens=200, stream=True, **request):
        choice = chunk.choices[0]
        content += choice.delta.content or ""
        for call in choice.delta.tool_calls or []:
            known = calls.setdefault(call.index, ["", "", ""])
            known[0] += call.id or ""
            known[1] += call.function.name or ""
            known[2] += call.function.arguments or ""
        finish = choice.finish_reason or finish
    return content, [tuple(calls[i]) for i in sorted(calls)], finish


def check(calls, tools):
    by_name = {t["function"]["name"]: t["function"]["parameters"] for t in tools}
    for ident, name, arguments in calls:
        assert ident.startswith("call_"), ident
        jsonschema.validate(json.loads(arguments), by_name[name])


called, valid = 0, 0
for text, wanted in prompts:
    request = dict(messages=[{"role": "user", "content": text}], tools=[weather, price, total, timer])
    content, calls, finish = whole(**request)
    again = streamed(**request)
    assert (content, [c[1:] for c in calls], finish) == (again[0], [c[1:] for c in again[1]], again[2]), (content, again)
    assert finish == ("tool_calls" if calls else "stop"), (text, finish, content)
    called += any(name == wanted["function"]["name"] for _, name, _ in calls)
    try:
        check(calls, request["tools"])
        valid += bool(calls)
    except jsonschema.ValidationError as error:
        print(f"{text}: {calls}: {error.message}")
    # With a choice the arguments can't be other than the schema's.
    for choice in ["required", {"type": "function", "function": {"name": wanted["function"]["name"]}}]:
        content, calls, finish = whole(**request, tool_choice=choice)
        assert calls and not content and finish == "tool_calls", (text, content, calls, finish)
        check(calls, request["tools"])
        if choice != "required":
            assert [name for _, name, _ in calls] == [wanted["function"]["name"]], calls
    assert whole(**request, tool_choice="none")[1] == []

# A call and its result in the conversation.
question = {"role": "user", "content": "Weather in Köln, in celsius?"}
_, [(ident, name, arguments)], _ = whole(messages=[question], tools=[weather], tool_choice="required")
function = {"name": name, "arguments": arguments}
call = {"role": "assistant", "content": None, "tool_calls": [{"id": ident, "type": "function", "function": function}]}
result = {"role": "tool", "tool_call_id": ident, "content": '{"temperature": 7, "sky": "rain"}'}
content, _, _ = whole(messages=[question, call, result], tools=[weather], tool_choice="none")
assert content, "there is an answer to the result"

print(f"ok: {called} of {len(prompts)} prompts called the right tool, {valid} with valid arguments; {content!r}")
assert called * 10 >= len(prompts) * 7 and valid * 10 >= len(prompts) * 7
