"""Sessions, and conversations that the server keeps."""

from typing import Any

from ..registry import scenario
from ..script import call, text
from ..sides import Side
from .approvals import approve_all, decided, gated, pay

SESSION = "Session"
SESSIONS = "Sessions"
SERVER = "Server-managed conversations"


async def kept(side: Side, session: Any) -> None:
    side.note("session", await session.get_items())


@scenario(SESSIONS)
async def two_runs_of_one_session(side: Side) -> None:
    session = side.SQLiteSession("s1")
    agent = side.agent(
        [pay(1)],
        [text("one", "m1")],
        [text("two", "m2")],
        tools=[gated(side, needs_approval=False)],
    )
    await side.run(agent, "hi", session=session)
    await kept(side, session)
    await side.run(agent, "and?", session=session)
    await kept(side, session)


@scenario(SESSIONS)
async def session_of_ones_own(side: Side) -> None:
    class Listed:
        session_id = "s1"
        session_settings = None

        def __init__(self) -> None:
            self.items: list[Any] = []

        async def get_items(self, limit: int | None = None) -> list[Any]:
            side.note("get", limit)
            return list(self.items)

        async def add_items(self, items: list[Any]) -> None:
            side.note("add", items)
            self.items.extend(items)

        async def pop_item(self) -> Any:
            side.note("pop")
            return self.items.pop() if self.items else None

        async def clear_session(self) -> None:
            self.items.clear()

    session = Listed()
    agent = side.agent(
        [pay(1)],
        [text("one", "m1")],
        [text("two", "m2")],
        tools=[gated(side, needs_approval=False)],
    )
    await side.run(agent, "hi", session=session)
    await side.run(agent, "and?", session=session)


@scenario(SESSIONS)
async def methods_of_a_session(side: Side) -> None:
    session = side.SQLiteSession("s1")
    items = [{"role": "user", "content": str(number)} for number in range(4)]
    await session.add_items(items)
    await session.add_items([])
    side.note(await session.get_items(limit=2), await session.get_items(limit=0))
    side.note(await session.pop_item())
    await kept(side, session)
    await session.clear_session()
    side.note(await session.get_items(), await session.pop_item())
    await side.failure(lambda: side.SQLiteSession())


@scenario(SESSIONS)
async def session_in_a_file_is_shared_by_id(side: Side) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sessions.db"
        for session_id in ("s1", "s2", "s1"):
            session = side.SQLiteSession(session_id, path)
            agent = side.agent([text(f"to {session_id}")])
            await side.run(agent, "hi", session=session)
            await kept(side, session)
            session.close()


@scenario(SESSIONS)
async def session_limited(side: Side) -> None:
    settings = side.SessionSettings(limit=2)
    session = side.SQLiteSession("s1", session_settings=settings)
    items = [{"role": "user", "content": str(number)} for number in range(5)]
    await session.add_items(items)
    await side.run(side.agent([text("x")]), "hi", session=session)
    config = side.RunConfig(session_settings=side.SessionSettings(limit=1))
    await side.run(
        side.agent([text("y", "m2")]), "ho", session=session, run_config=config
    )
    side.note(len(await session.get_items(limit=100)))


@scenario(SESSIONS)
async def session_input_joined_by_a_callback(side: Side) -> None:
    def joined(history: Any, new: Any) -> Any:
        side.note("history", history, "new", new)
        return [*history[-1:], *new]

    session = side.SQLiteSession("s1")
    await session.add_items([{"role": "user", "content": str(n)} for n in range(3)])
    config = side.RunConfig(session_input_callback=joined)
    await side.run(side.agent([text("x")]), "hi", session=session, run_config=config)
    await kept(side, session)


@scenario(SESSIONS)
async def session_with_a_list_as_input(side: Side) -> None:
    session = side.SQLiteSession("s1")
    await session.add_items([{"role": "user", "content": "before"}])
    items = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    await side.run(side.agent([text("x")]), items, session=session)
    await kept(side, session)


@scenario(SESSIONS)
async def session_and_a_handoff(side: Side) -> None:
    session = side.SQLiteSession("s1")
    other = side.agent([text("x")], name="other")
    main = side.agent([call("transfer_to_other")], handoffs=[other])
    await side.run(main, "hi", session=session)
    await kept(side, session)


@scenario(SESSIONS)
async def session_when_the_run_fails(side: Side) -> None:
    session = side.SQLiteSession("s1")
    tool = gated(side, needs_approval=False)
    await side.run(
        side.agent([pay(1)], ValueError("no"), tools=[tool]), "hi", session=session
    )
    await kept(side, session)
    other = side.SQLiteSession("s2")
    await side.run(side.agent([pay(1)], tools=[tool]), "hi", session=other, max_turns=1)
    await kept(side, other)


@scenario(SESSIONS)
async def session_when_an_output_guardrail_trips(side: Side) -> None:
    def judge(ctx: Any, agent: Any, output: Any) -> Any:
        return side.GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    session = side.SQLiteSession("s1")
    guard = side.output_guardrail(judge)
    agent = side.agent([text("secret")], output_guardrails=[guard])
    await side.run(agent, "hi", session=session)
    await kept(side, session)


@scenario(SESSIONS)
async def session_beside_a_conversation(side: Side) -> None:
    for options in (
        {"conversation_id": "conv_1"},
        {"previous_response_id": "resp_0"},
        {"auto_previous_response_id": True},
    ):
        session = side.SQLiteSession("s1")
        await side.run(side.agent([text("x")]), "hi", session=session, **options)


@scenario(SESSION)
async def session_over_a_pause(side: Side) -> None:
    session = side.SQLiteSession("s1")
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    result = await side.run(agent, "hi", session=session)
    await kept(side, session)
    await decided(side, agent, result, approve_all, session=session)
    await kept(side, session)


@scenario(SESSION)
async def session_left_out_on_resume(side: Side) -> None:
    session = side.SQLiteSession("s1")
    agent = side.agent([pay(1)], [text("x")], tools=[gated(side)])
    result = await side.run(agent, "hi", session=session)
    await decided(side, agent, result, approve_all)
    await kept(side, session)


@scenario(SESSION)
async def session_over_partial_decisions(side: Side) -> None:
    session = side.SQLiteSession("s1")
    tools = [gated(side), gated(side, "free", needs_approval=False)]
    agent = side.agent(
        [pay(1, "c1"), pay(2, "c2"), pay(3, "c3", "free")], [text("x")], tools=tools
    )
    result = await side.run(agent, "hi", session=session)
    result = await decided(
        side,
        agent,
        result,
        lambda state, items: state.approve(items[1]),
        session=session,
    )
    await kept(side, session)
    await decided(side, agent, result, approve_all, session=session)
    await kept(side, session)


def talk(side: Side) -> Any:
    return side.agent(
        [pay(1, "c1")],
        [pay(2, "c2")],
        [text("x")],
        tools=[gated(side, needs_approval=False)],
    )


@scenario(SERVER)
async def from_a_previous_response(side: Side) -> None:
    await side.run(talk(side), "hi", previous_response_id="resp_0")


@scenario(SERVER)
async def from_the_previous_response_of_this_run(side: Side) -> None:
    await side.run(talk(side), "hi", auto_previous_response_id=True)


@scenario(SERVER)
async def in_a_conversation_of_the_server(side: Side) -> None:
    await side.run(talk(side), "hi", conversation_id="conv_1")


@scenario(SERVER)
async def conversation_and_previous_response(side: Side) -> None:
    await side.run(
        talk(side), "hi", conversation_id="conv_1", previous_response_id="resp_0"
    )


@scenario(SERVER)
async def conversation_over_a_pause(side: Side) -> None:
    for options in (
        {"conversation_id": "conv_1"},
        {"previous_response_id": "resp_0"},
        {"auto_previous_response_id": True},
    ):
        agent = side.agent(
            [pay(1, "c1"), pay(2, "c2")], [text("x")], tools=[gated(side)]
        )
        result = await side.run(agent, "hi", **options)
        result = await decided(
            side, agent, result, lambda state, items: state.approve(items[0])
        )
        await decided(side, agent, result, approve_all)


@scenario(SERVER)
async def conversation_and_a_handoff(side: Side) -> None:
    other = side.agent([text("x")], name="other")
    main = side.agent([call("transfer_to_other")], handoffs=[other])
    await side.run(main, "hi", conversation_id="conv_1")


@scenario(SERVER)
async def conversation_and_a_handoff_filter(side: Side) -> None:
    other = side.agent([text("x")], name="other")
    offered = side.handoff(other, input_filter=lambda data: data)
    main = side.agent([call("transfer_to_other")], handoffs=[offered])
    await side.run(main, "hi", conversation_id="conv_1")
