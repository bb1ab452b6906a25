"""An agent that has a classifier made: "make me a classifier for these messages".

    python examples/agent_with_tool.py

It runs offline, with two stand-ins. The agent's model is a script (`Script`), not a language model; the
teacher is the rehearsal teacher, a look-up in labelled texts. Real ones, whose calls you pay for:

    pip install 'tutelage[providers]'
    OPENAI_API_KEY=... python examples/agent_with_tool.py --agent openai:gpt-5 --teacher openai:gpt-5-mini

The classifier is trained in a process of its own. Kill that process or this one (`kill -9`), and give the
same command again: the agent goes on, and no reply of the teacher is paid for twice.
"""

import argparse
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import tutelage
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command
from tutelage.graph.task.samples import demo_task

LABELS = {
    "order_status": "where an order is, delivery dates, late or lost parcels",
    "return_refund": "sending something back, exchanges and refunds",
    "damaged_faulty": "an item that came broken, incomplete or wrong",
    "payment_invoice": "charges, cards, invoices, vouchers",
    "product_question": "questions about a product before buying or about its use",
    "account_privacy": "login, password, address, newsletter, personal data",
}
REQUEST = f"""Make me a classifier that sorts messages of customers into queues. labelled.jsonl has some with
their queue, unlabelled.jsonl has more. The queues: {json.dumps(LABELS)}.
Then tell me the queues of "where is my parcel?" and "I was charged twice"."""


class Script(BaseChatModel):
    """A stand-in for the agent's model. It makes the calls that a language model would make here."""

    @property
    def _llm_type(self) -> str:
        return "script"

    def bind_tools(self, tools: Any, **options: Any) -> "Script":
        """Do nothing: the script knows the tools."""
        return self

    def _generate(self, messages: list[BaseMessage], *rest: Any, **options: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages[-1]))])

    def _next(self, last: BaseMessage) -> AIMessage:
        if not isinstance(last, ToolMessage):
            labels = [{"name": name, "description": text} for name, text in LABELS.items()]
            files = {"labelled_file": "labelled.jsonl", "unlabelled_file": "unlabelled.jsonl"}
            words = {"name": "queues", "instruction": "Say which queue the message belongs in."}
            return _call("distill_start", **words, labels=labels, **files)
        if last.name == "distill_predict" or last.status == "error":
            return AIMessage(str(last.content))
        found = json.loads(str(last.content))
        match found["state"]:
            case "at work":
                return _call("distill_status", run_id=found["run_id"], wait_seconds=60)
            case "stopped":
                return _call("distill_start", **found["arguments"])
            case "finished":
                texts = ["where is my parcel?", "I was charged twice"]
                return _call("distill_predict", run_id=found["run_id"], texts=texts)
        return AIMessage(f"There is no classifier: {found['next']}")


def _call(tool: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": tool, "args": arguments, "id": tool}])


def agent(
    model: BaseChatModel, toolkit: Any
) -> StateGraph[MessagesState, None, MessagesState, MessagesState]:
    """Return the usual loop: the model calls tools until it answers without a call."""
    tools = toolkit.get_tools()
    with_tools = model.bind_tools(tools)
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [with_tools.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "model").add_conditional_edges("model", tools_condition).add_edge("tools", "model")
    return graph


def main() -> None:
    """Run the agent until it answers; ask a person before it spends anything."""
    options = argparse.ArgumentParser()
    options.add_argument("--agent", help="the agent's model, such as openai:gpt-5; default: the script")
    options.add_argument("--teacher", help="such as openai:gpt-5-mini; default: the rehearsal teacher")
    options.add_argument("--base-url", help="the address of the teacher, a server with OpenAI's protocol")
    options.add_argument("--folder", default="runs/agent", help="where everything is stored")
    given = options.parse_args()
    model: BaseChatModel = Script()
    if given.agent:
        from langchain.chat_models import init_chat_model

        model = init_chat_model(given.agent)
    data = Path(given.folder) / "data"
    if not data.exists():
        demo_task("classification", data)
    offline = {"model": "rehearsal", "corpus": f"{data}/teacher.jsonl", "calibrate": 60}
    toolkit = tutelage.distill_tool(
        f"{given.folder}/classifiers",
        [data / "labelled.jsonl", data / "unlabelled.jsonl"],  # the agent can read nothing else
        teacher={"model": given.teacher, "base_url": given.base_url} if given.teacher else offline,
        budget={"rounds": 1, "calls": 60},
        settings={
            "student": {"mode": "head"},
            "strategy": {"base": "auto", "samples": 16, "control": False},
        },
    )
    config: Any = {"configurable": {"thread_id": "agent"}, "recursion_limit": 100}
    with closing(sqlite3.connect(f"{given.folder}/agent.sqlite", check_same_thread=False)) as database:
        loop = agent(model, toolkit).compile(checkpointer=SqliteSaver(database))
        begun = loop.get_state(config).values
        step: Any = None if begun else {"messages": [("user", REQUEST)]}
        if begun and not loop.get_state(config).next:
            print("this conversation has ended; begin anew with another --folder")
        while True:
            for update in loop.stream(step, config, durability="sync"):
                for part in update.values():
                    for message in part["messages"] if isinstance(part, dict) else ():
                        message.pretty_print()
            if not (questions := loop.get_state(config).interrupts):
                break
            plan = questions[0].value["plan"]
            print(json.dumps(plan, indent=1))
            answer = input("Start this run? yes, or the reason for a refusal: ").strip()
            step = Command(resume=plan["run_id"] if answer == "yes" else answer or "no reason given")


if __name__ == "__main__":
    try:
        main()
    except EOFError:
        raise SystemExit("no answer; give the same command again and answer") from None
