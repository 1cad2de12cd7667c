"""How the scripted model thinks: from what was said to an answer or to tool calls.

Each skill looks at one step of what the user wants. It gives the calls to make now,
a question, or nothing when its part is done. The next step waits for the one before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .talk import Call, Talk

_ORDER = re.compile(r"\b\d{4,6}\b")
_AMOUNT = re.compile(
    r"(?:€|\bEUR)\s*(\d+(?:[.,]\d{1,2})?)|(\d+(?:[.,]\d{1,2})?)\s*(?:€|(?:EUR|euros?)\b)",
    re.I,
)
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_WORKER = re.compile(r"\b[a-z]{2}-\d+\b", re.I)
_BRANCH = re.compile(r"\bbranch(?:es)?\s+(?:called\s+|named\s+)?([\w./-]+)", re.I)
_QUOTED = re.compile(r"[\"'`“‘]([\w./-]+)[\"'`”’]")  # noqa: RUF001  people paste them
_WRITE = re.compile(
    r"\be-?mail|\bwrite to\b|\bnotify\b|"
    r"\b(tell|inform|let) (the )?(customer|him|her|them)\b",
    re.I,
)
_REFUND = re.compile(r"\b(refund|reimburse|pay back)|money back", re.I)
_OPERATIONS = re.compile(
    r"\b(workers?|servers?|branch(es)?|restart|reboot|bounce)\b", re.I
)
_CHANGED = "The tool's output:\n"
"""Stands before the output of a call that a person changed."""
_BY_A_PERSON = "A person answered instead"
_DONE = {
    "refund": "Refunded ",
    "send_email": "Sent ",
    "restart_worker": "Restarted ",
    "delete_branch": "Deleted ",
}


@dataclass(slots=True, kw_only=True)
class Answer:
    """What the model says, and the calls it makes in the same breath."""

    text: str
    calls: list[Call] = field(default_factory=list)


Skill = Callable[[str, Talk], Answer | None]


def think(talk: Talk, tools: Iterable[str]) -> Answer:
    """Return what comes next, with no other tools than these."""
    skills = _skills(set(tools))
    for step in talk.steps:
        for skill in skills:
            if answer := skill(step, talk):
                answer.calls = answer.calls[:10]
                return answer if answer.calls else _with_report(answer, talk)
    if talk.calls:
        return Answer(text=_report(talk.calls))
    return Answer(text=_introduction(set(tools)))


def _skills(tools: set[str]) -> list[Skill]:
    if "settle_case" in tools:
        return [_settle_case, _hand_over]
    if "refund" in tools:
        return [_refund, _email, _look_up]
    if "restart_worker" in tools:
        return [_restart, _delete, _list]
    return [_research] if "search_handbook" in tools else []


# The front desk


def _settle_case(step: str, talk: Talk) -> Answer | None:
    """Let Support do all that is about customers, in one go."""
    parts = (step for step in talk.steps if not _OPERATIONS.search(step))
    case = ". ".join(part.rstrip(" ,.") for part in parts)
    about_customers = _REFUND.search(case) or _WRITE.search(case) or _ORDER.search(case)
    if not about_customers or talk.made("settle_case", input=case):
        return None
    return Answer(
        text="I let Support settle this.", calls=[_wish("settle_case", input=case)]
    )


def _hand_over(step: str, talk: Talk) -> Answer | None:
    if not _OPERATIONS.search(step):
        return None
    text = "This is for Ops; I hand you over."
    return Answer(text=text, calls=[_wish("transfer_to_ops")])


# Support


def _refund(step: str, talk: Talk) -> Answer | None:
    if not _REFUND.search(step):
        return None
    orders = _orders(step, talk)
    if not orders:
        return Answer(text="Which order, such as 1042, shall I refund?")
    if lookups := _lookups(orders, talk):
        return Answer(text="Let me look that up first.", calls=lookups)
    wanted = [call for order in orders if (call := _refund_call(order, step, talk))]
    if excess := [call for call in wanted if _excess(call, talk)]:
        return Answer(text="\n".join(_excess(call, talk) for call in excess))
    if wanted:
        return Answer(text=_about_to_refund(wanted, talk), calls=wanted)
    return None


def _refund_call(order: str, step: str, talk: Talk) -> Call | None:
    """Return the refund to make for `order`: the first, or one a reviewer suggests."""
    facts = _order_facts(order, talk)
    tried = list(talk.all_made("refund", order_id=order))
    if not facts or len(tried) > 1:
        return None
    if not tried:
        amount = _amount_for(order, step, talk) or _left(facts)
        return _wish("refund", order_id=order, amount_eur=amount) if amount else None
    suggested = _suggestion(tried[0])
    return _wish("refund", order_id=order, amount_eur=suggested) if suggested else None


def _left(facts: dict[str, str]) -> float:
    return round(float(facts["total_eur"]) - float(facts["refunded_eur"]), 2)


def _excess(call: Call, talk: Talk) -> str:
    """Return what is wrong with the amount of a refund; "" when nothing is."""
    order, amount = call.arguments["order_id"], call.arguments["amount_eur"]
    left = _left(_order_facts(order, talk) or {})
    if amount <= left:
        return ""
    return (
        f"Order {order} has {left:.2f} EUR left to refund, not {amount:.2f} EUR. "
        "How much shall it be?"
    )


def _suggestion(call: Call) -> float | None:
    """Return the one other amount that the answer to a refused refund names."""
    if _is_done(call) or call.output is None:
        return None
    amounts = {amount for amount in _amounts(call.output) if amount}
    amounts.discard(call.arguments.get("amount_eur", 0))
    return amounts.pop() if len(amounts) == 1 else None


def _about_to_refund(wanted: list[Call], talk: Talk) -> str:
    lines = []
    for call in wanted:
        order, amount = call.arguments["order_id"], call.arguments["amount_eur"]
        refused = talk.made("refund", order_id=order)
        if refused:
            lines.append(
                f"For order {order} I was told: “{refused.output}” So I ask for "
                f"{amount:.2f} EUR instead."
            )
        else:
            facts = _order_facts(order, talk) or {}
            lines.append(
                f"Order {order} is {facts['customer']}'s {facts['goods']} for "
                f"{facts['total_eur']} EUR, {facts['status']}. I refund "
                f"{amount:.2f} EUR."
            )
    return "\n".join(lines)


def _email(step: str, talk: Talk) -> Answer | None:
    if not _WRITE.search(step):
        return None
    addresses = _ADDRESS.findall(step)
    orders = _named_orders(step) if addresses else _orders(step, talk)
    if not addresses and not orders:
        return Answer(text="Which address, or the customer of which order?")
    if not addresses and (lookups := _lookups(orders, talk)):
        return Answer(text="Let me find the customer's address.", calls=lookups)
    refunds = [call for call in talk.calls if call.name == "refund"]
    if any(map(_REFUND.search, talk.said)) and not any(map(_is_done, refunds)):
        return None  # there is nothing to announce
    wanted = [_letter(to, orders, step, refunds) for to in addresses]
    wanted += [
        _letter(facts["email"], [order], step, refunds)
        for order in orders
        if not addresses and (facts := _order_facts(order, talk))
    ]
    fresh = [call for call in wanted if not talk.made("send_email", **_to(call))]
    return Answer(text="I have written this.", calls=fresh) if fresh else None


def _letter(to: str, orders: list[str], step: str, refunds: list[Call]) -> Call:
    subject = f"Your order {', '.join(orders)}" if orders else "A message from the shop"
    paid = [
        f"We have refunded {call.arguments['amount_eur']:.2f} EUR for order "
        f"{call.arguments['order_id']}."
        for call in refunds
        if _is_done(call) and (call.arguments["order_id"] in orders or not orders)
    ]
    told = re.search(r"(?:\b(?:saying that|saying|that)|:)\s+(.+)", step, re.I)
    said = told.group(1) if told else "is there anything we can do for you?"
    body = " ".join(paid) or said[0].upper() + said[1:]
    return _wish(
        "send_email",
        to=to,
        subject=subject,
        body=f"Hello,\n\n{body}\n\nYour support team",
    )


def _to(call: Call) -> dict[str, str]:
    return {"to": call.arguments["to"]}


def _look_up(step: str, talk: Talk) -> Answer | None:
    orders = _named_orders(step)
    if not orders and re.search(r"\b(order|look up|lookup|status)\b", step, re.I):
        orders = _orders(step, talk)
        if not orders and not talk.calls:
            return Answer(text="Which order do you mean, for example 1042?")
    lookups = _lookups(orders, talk)
    return Answer(text="Let me look.", calls=lookups) if lookups else None


def _orders(step: str, talk: Talk) -> list[str]:
    """Return the orders a step names, else the last ones that were named before it."""
    texts = [step, *reversed(talk.said), *reversed(talk.before)]
    return next((found for text in texts if (found := _named_orders(text))), [])


def _named_orders(text: str) -> list[str]:
    return list(dict.fromkeys(_ORDER.findall(_AMOUNT.sub(" ", text))))


def _lookups(orders: Iterable[str], talk: Talk) -> list[Call]:
    return [
        _wish("lookup_order", order_id=order)
        for order in orders
        if not talk.made("lookup_order", order_id=order)
    ]


def _order_facts(order: str, talk: Talk) -> dict[str, str] | None:
    call = talk.made("lookup_order", order_id=order)
    facts = call.facts if call else None
    return facts if isinstance(facts, dict) else None


def _amount_for(order: str, step: str, talk: Talk) -> float | None:
    """Return the amount named right after `order`, or the only one there is to mean."""
    if (replied := _amounts(talk.reply)) and not _named_orders(talk.reply):
        return replied[0]
    after = step.partition(order)[2]
    following = _ORDER.search(_AMOUNT.sub(lambda m: " " * len(m.group()), after))
    if near := _amounts(after[: following.start()] if following else after):
        return near[0]
    said = _amounts(step) or _amounts(" ; ".join(reversed(talk.said)))
    single = len(_named_orders(step)) < 2 or "each" in step
    return said[0] if said and single else None


def _amounts(text: str) -> list[float]:
    return [
        float((before or after).replace(",", "."))
        for before, after in _AMOUNT.findall(text)
    ]


# Operations


def _restart(step: str, talk: Talk) -> Answer | None:
    if not re.search(r"\b(restart|reboot|bounce)\b", step, re.I):
        return None
    listed = talk.made("list_workers")
    if listed is None:
        return _survey()
    states = listed.facts or {}
    stuck = [name for name, state in states.items() if "stuck" in state]
    names = _WORKER.findall(step) or _WORKER.findall(talk.reply)
    names = [name.lower() for name in names]
    if not names and re.search(r"\b(stuck|all|every|them)\b", step, re.I):
        names = stuck
    if not names and not any(call.name == "restart_worker" for call in talk.calls):
        told = f"Stuck: {', '.join(stuck)}." if stuck else "None is stuck."
        return Answer(text=f"{told} Which worker shall I restart?")
    if unknown := [name for name in names if name not in states]:
        known = ", ".join(states)
        return Answer(
            text=f"There is no worker {', '.join(unknown)}. There are {known}."
        )
    wanted = [_wish("restart_worker", worker=name) for name in names]
    fresh = _not_made(wanted, talk)
    told = "; ".join(f"{name} is {states[name]}" for name in names)
    return Answer(text=f"{told}. I restart it.", calls=fresh) if fresh else None


def _delete(step: str, talk: Talk) -> Answer | None:
    if not re.search(r"\b(delete|remove|drop)\b.*\bbranch", step, re.I):
        return None
    names = _QUOTED.findall(step) or _BRANCH.findall(step) or talk.reply.split()[:1]
    if not names:
        return Answer(text="Which branch, by its whole name, shall I delete?")
    fresh = _not_made([_wish("delete_branch", branch=name) for name in names], talk)
    told = "Deleting a branch cannot be undone, so someone must look at this first."
    return Answer(text=told, calls=fresh) if fresh else None


def _list(step: str, talk: Talk) -> Answer | None:
    asked = re.search(r"\b(workers?|stuck|health|status|servers?)\b", step, re.I)
    return _survey() if asked and not talk.made("list_workers") else None


def _survey() -> Answer:
    return Answer(text="Let me see the workers.", calls=[_wish("list_workers")])


# Research

_SMALL_WORDS = re.compile(
    "about|again|and|are|but|can|compare|does|find|for|from|handbook|has|have|hello|how|into|"
    "its|make|makes|mean|means|not|page|pages|placet|please|question|read|sure|tell|"
    "than|that|the|them|then|there|these|they|this|those|what|when|where|which|who|"
    "why|will|with|would|you|your"
)


def _research(step: str, talk: Talk) -> Answer | None:
    words = re.findall(r"[a-z]{3,}", step.casefold())
    topics = [
        word for word in dict.fromkeys(words) if not _SMALL_WORDS.fullmatch(word)
    ][:4]
    searches = [_wish("search_handbook", query=topic) for topic in topics]
    if fresh := _not_made(searches, talk):
        return Answer(text="Let me search the handbook.", calls=fresh)
    found = [
        title
        for topic in topics
        if (call := talk.made("search_handbook", query=topic))
        for title in call.facts or []
    ]
    pages = [_wish("read_page", title=title) for title in dict.fromkeys(found)][:3]
    fresh = _not_made(pages, talk)
    return Answer(text="These pages may say it.", calls=fresh) if fresh else None


# Answers


def _wish(name: str, **arguments: object) -> Call:
    """Return a call to make; whole amounts are written as 480, not as 480.0."""
    plain = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in arguments.items()
    }
    return Call(name=name, arguments=plain)


def _not_made(wanted: list[Call], talk: Talk) -> list[Call]:
    return [call for call in wanted if not talk.made(call.name, **call.arguments)]


def _is_done(call: Call) -> bool:
    """Say whether it was done: as it was called, as a person changed it, or by them."""
    told = call.output or ""
    by_tool = told.rpartition(_CHANGED)[2].startswith(_DONE[call.name])
    return by_tool or told.startswith(_BY_A_PERSON)


def _with_report(answer: Answer, talk: Talk) -> Answer:
    """Say what was done before asking back."""
    done = [_act(call) for call in talk.calls if call.name in _DONE]
    return Answer(text="\n".join([*done, answer.text]))


def _report(calls: list[Call]) -> str:
    if cases := [call for call in calls if call.name == "settle_case"]:
        # Its last answer goes on with what it had asked back before.
        calls = [*(call for call in calls if call not in cases), cases[-1]]
    acts = [call for call in calls if call.name in _DONE]
    used = {str(call.arguments.get("order_id")) for call in acts}
    found = [
        _finding(call)
        for call in calls
        if call.name in ("lookup_order", "read_page", "settle_case") or not acts
        if call not in acts and call.arguments.get("order_id") not in used
    ]
    lines = [line for line in [*map(_act, acts), *found] if line]
    return "\n".join(lines) or "The handbook says nothing about that."


def _act(call: Call) -> str:
    if call.output is None:
        return f"I do not know what came of {call.name}."
    if _is_done(call):
        return f"Done: {call.output}"
    about = ", ".join(str(value) for value in list(call.arguments.values())[:2])
    return f"Not done: {call.name} ({about}). I was told: “{call.output}”"


def _finding(call: Call) -> str:
    facts = call.facts
    if call.name == "search_handbook":
        return ""
    if call.name == "read_page":
        return f"{call.arguments.get('title')}: “{call.output}”"
    if call.name == "list_workers" and isinstance(facts, dict):
        return "\n".join(f"{name} is {state}." for name, state in facts.items())
    if call.name == "lookup_order" and isinstance(facts, dict):
        refunded = float(facts["refunded_eur"])
        paid = f" Refunded so far: {refunded:.2f} EUR." if refunded else ""
        return (
            f"Order {facts['order_id']}: {facts['goods']} for {facts['customer']}, "
            f"{facts['total_eur']} EUR, {facts['status']}.{paid}"
        )
    return call.output or ""


def _introduction(tools: set[str]) -> str:
    if "settle_case" in tools:
        return (
            "I am the front desk. Support settles customers' cases for me, and what is "
            "about servers I hand over to Ops. Try: “Alan returned order 1043, refund "
            "him.” Support's refund waits for a reviewer."
        )
    if "refund" in tools:
        return (
            "I am the shop's support. I look orders up, pay money back and write to "
            "customers. Try: “Refund order 1042, the machine arrived broken.” "
            "A refund of 50 EUR or more waits for a reviewer."
        )
    if "restart_worker" in tools:
        return (
            "I run the servers. I list workers, restart them and delete branches. Try: "
            "“Restart the stuck workers.” A reviewer must agree first."
        )
    return (
        "I answer questions about Placet from its handbook. Try: “How does Placet make "
        "sure that nothing runs twice?”"
    )
