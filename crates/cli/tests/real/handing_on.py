"""The scripted model, and beside its rules one habit: tasks between two lines with a mark are handed on to subagents, one
call of the Agent tool each. A text with FORGOTTEN in it is left out, one with REWORDED is handed on in other words."""
import re

import stub_anthropic as stub

TASK = re.compile(r"<(raddle-[0-9a-f]+-[0-9]+)>\n(.*?)\n</\1>", re.S)
pick, begin = stub.Script.pick, stub.Turn.__init__


def listen(self, model, system, messages, tools):
    begin(self, model, system, messages, tools)
    self.new = ""
    for message in messages:
        self.new = "" if message["role"] == "assistant" else self.new + message["text"]


def hand_on(self, turn):
    calls = []
    for mark, prompt in TASK.findall(turn.new):
        if "FORGOTTEN" in prompt:
            continue
        words = prompt + ", please" if "REWORDED" in prompt else prompt
        calls.append({"tool": "Agent", "input": {"description": mark, "prompt": words,
                                                 "subagent_type": "general-purpose", "run_in_background": False}})
    return ({"reply": calls}, "hands on") if calls else pick(self, turn)


stub.Turn.__init__, stub.Script.pick = listen, hand_on
stub.serve(stub.Handler, stub.parser("").parse_args())
